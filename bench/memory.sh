#!/usr/bin/env bash
# Memory and start-up of one data plane: bare Node, `proxy` idle and after load, `agent sidecar` (proxy in-process) with the
# configuration of the Bookinfo sample; from the sources and from dist/. As root: all of it runs in a network namespace of
# its own. Needs nginx, wrk and curl. usage: bash bench/memory.sh [seconds of load, 20]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${IN_NAMESPACE:-}" ]; then exec env IN_NAMESPACE=1 unshare --net bash "$0" "$@"; fi
SECONDS_OF_LOAD=${1:-20}
NODE=$PWD/node_modules/.bin/node
DIR=$(mktemp -d)
PIDS=()
cleanup() {
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$DIR"
}
trap cleanup EXIT
ip link set lo up

report() { # NAME PID [START_MS]
  awk -v name="$1" -v start="${3:-}" '
    /^VmRSS/ {rss=$2} /^RssAnon/ {anon=$2} /^RssFile/ {file=$2}
    END {printf "%-34s RSS %6.1f MB  own %5.1f  file-backed %5.1f%s\n", name, rss/1024, anon/1024, file/1024, start == "" ? "" : "  start " start " ms"}' "/proc/$2/status"
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }
until_ok() { # URL PID: polls until it answers 200
  for _ in $(seq 3000); do
    curl -sf -o /dev/null "$1" && return
    kill -0 "$2" || { echo "ended before $1 answered; its log:" >&2; cat "$DIR"/*.log >&2; exit 1; }
    sleep 0.01
  done
  echo "no answer from $1" >&2
  exit 1
}
stop() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

cat > "$DIR/nginx.conf" <<CONF
worker_processes 1; pid $DIR/nginx.pid; error_log $DIR/nginx.err; daemon off;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; server { listen 127.0.0.1:9000; location / { return 200 ok; } } }
CONF
nginx -c "$DIR/nginx.conf" & PIDS+=($!)
cat > "$DIR/proxy.yaml" <<CONF
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }
static_resources:
  listeners:
    - name: in
      address: { socket_address: { address: 127.0.0.1, port_value: 7100 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: in
                route_config:
                  virtual_hosts: [{ name: all, domains: ['*'], routes: [{ match: { prefix: / }, route: { cluster: up } }] }]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
    - name: up
      type: STATIC
      load_assignment:
        cluster_name: up
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9000 } } } }] }]
CONF

proxy() { # LABEL
  local started pid
  for run in cold warm; do # the first run fills the compile cache
    started=$(now_ms)
    "$NODE" bin/outrigger.js proxy -c "$DIR/proxy.yaml" --concurrency 1 -l error 2> "$DIR/proxy.log" & pid=$!
    PIDS+=("$pid")
    until_ok http://127.0.0.1:9901/ready "$pid"
    started=$(($(now_ms) - started))
    sleep 8
    [ "$run" = warm ] || stop "$pid"
  done
  report "proxy idle, $1" "$pid" "$started"
  wrk -t1 -c64 -d"${SECONDS_OF_LOAD}s" http://127.0.0.1:7100/ > "$DIR/wrk.txt"
  report "proxy after $(awk '/requests in/ {print $1}' "$DIR/wrk.txt") requests, $1" "$pid"
  stop "$pid"
}

agent() { # LABEL
  local started pid
  for run in cold warm; do
    started=$(now_ms)
    env POD_NAME=productpage-v1 POD_NAMESPACE=default SERVICE_ACCOUNT=web INSTANCE_IP=127.0.0.1 CA_ADDR=localhost:15012 \
      PROXY_CONFIG='{"discoveryAddress":"localhost:15010","controlPlaneAuthPolicy":"NONE","concurrency":1}' \
      "$NODE" bin/outrigger.js agent sidecar --workdir "$DIR/agent" > "$DIR/agent.log" 2>&1 & pid=$!
    PIDS+=("$pid")
    until_ok http://127.0.0.1:15021/healthz/ready "$pid"
    started=$(($(now_ms) - started))
    sleep 8
    [ "$run" = warm ] || stop "$pid"
  done
  report "agent sidecar idle, $1" "$pid" "$started"
  stop "$pid"
}

"$NODE" -e 'setInterval(() => {}, 100000)' & bare=$!
PIDS+=("$bare")
sleep 1
report 'bare Node' "$bare"
stop "$bare"

OUTRIGGER_DIST=0 proxy sources
"$NODE" scripts/build.mjs
OUTRIGGER_DIST=1 proxy dist

"$NODE" src/agent/testing/control-plane.ts "$DIR/agent" > "$DIR/ca.log" 2>&1 & PIDS+=($!)
"$NODE" bin/outrigger.js pilot --from samples/bookinfo --log-level error > "$DIR/pilot.log" 2>&1 & pilot=$!
PIDS+=("$pilot")
until_ok http://127.0.0.1:8080/ready "$pilot"
until grep -q ready "$DIR/ca.log"; do sleep 0.1; done
OUTRIGGER_DIST=0 agent sources
OUTRIGGER_DIST=1 agent dist
