#!/usr/bin/env bash
# The project's own measurements. usage: bash bench/run.sh [pilot|propagation|codecs|request|dataplane|profile|connections|memory] [OPTION...]
# pilot: a mesh of a thousand services, 50 and 200 delta-ADS clients; time from a saved file to the last acknowledgement.
# propagation: from a saved file to the first changed response through a sidecar, on the running Bookinfo; as root.
# dataplane: CPU, latency and memory of the proxy beside Envoy under load, gRPC too; options: see bench/dataplane.ts.
# profile: a CPU profile of the proxy under load and the functions that cost most.
# connections: memory of 10,000 idle connections and the time to start, beside Envoy.
# memory: memory and start-up of idle and loaded data planes, as root.
# codecs: CPU of HTTP/1 and HTTP/2 parsing and writing for one request, without sockets.
# request: CPU and garbage of one relayed request inside the process, without sockets; options: see bench/request.ts.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PWD/.envoy/envoy/_bin:$PATH"
case "${1:-pilot}" in
  pilot)
    node bench/pilot.ts --services 1000 --clients 50
    node bench/pilot.ts --services 1000 --clients 200 --rounds 5
    ;;
  propagation)
    node bench/propagation.ts "${@:2}"
    ;;
  codecs)
    node bench/codecs.ts
    ;;
  request)
    node bench/request.ts "${@:2}"
    ;;
  dataplane)
    node bench/dataplane.ts "${@:2}"
    ;;
  profile)
    node bench/profile.ts "${@:2}"
    ;;
  connections)
    node bench/connections.ts "${@:2}"
    ;;
  memory)
    bash bench/memory.sh "${@:2}"
    ;;
  *)
    echo "unknown measurement \"$1\": there are pilot, propagation, codecs, request, dataplane, profile, connections and memory" >&2
    exit 64
    ;;
esac
