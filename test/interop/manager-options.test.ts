// Options of the connection manager beside real Envoy: proxy_status_config, the scheme of the upstream, connections that are
// too old.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const get = (headers = '', host = 'a'): string => `GET / HTTP/1.1\r\nhost: ${host}\r\n${headers}\r\n`
const ok = (): string => 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const status = (config: object = {}, more: object = {}): object => ({ hcm: { proxy_status_config: config, ...more } })
const RECOMMENDED = { set_recommended_response_code: true }
const REFUSED = {
  cluster: {
    load_assignment: {
      cluster_name: 'none',
      endpoints: [
        { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } } }] },
      ],
    },
  },
}

const SCENARIOS: readonly Scenario[] = [
  { name: 'proxy-status: nothing to say', ...status(), client: [get()], upstream: ok },
  {
    name: 'proxy-status: a direct response',
    ...status(),
    routeEntry: { direct_response: { status: 418 }, route: undefined },
    client: [get()],
  },
  { name: 'proxy-status: no route', ...status(), client: [get('', 'b')], upstream: ok },
  { name: 'proxy-status: no route, code', ...status(RECOMMENDED), client: [get('', 'b')], upstream: ok },
  ...[{}, RECOMMENDED, { remove_details: true }, { remove_response_flags: true, use_node_id: true }].map(
    (config, i): Scenario => ({ name: `proxy-status: refused ${i}`, ...status(config), ...REFUSED, client: [get()] }),
  ),
  {
    name: 'proxy-status: a name of its own',
    ...status({ literal_proxy_name: 'my "proxy"' }),
    ...REFUSED,
    client: [get()],
  },
  {
    name: 'proxy-status: timeout',
    ...status(RECOMMENDED),
    route: { timeout: '0.1s' },
    client: [get()],
    upstream: () => null,
  },
  {
    name: 'proxy-status: per-try timeout',
    ...status(RECOMMENDED),
    route: { retry_policy: { retry_on: 'reset', num_retries: 0, per_try_timeout: '0.1s' } },
    client: [get()],
    upstream: () => null,
  },
  {
    name: 'proxy-status: stream duration',
    ...status(RECOMMENDED),
    route: { max_stream_duration: { max_stream_duration: '0.1s' } },
    client: [get()],
    upstream: () => null,
  },
  {
    name: 'proxy-status: upstream closes',
    ...status(RECOMMENDED),
    client: [get()],
    upstream: (_head, socket) => {
      socket.destroy()
      return null
    },
  },
  { name: 'proxy-status: no response', ...status(RECOMMENDED), client: [get()], upstream: () => 'BAD\r\n\r\n' },
  {
    name: 'proxy-status: no host',
    ...status(RECOMMENDED),
    cluster: { load_assignment: { cluster_name: 'none', endpoints: [] } },
    client: [get()],
  },
  {
    name: 'proxy-status: no cluster',
    ...status(RECOMMENDED),
    route: { cluster: undefined, cluster_header: 'x-c' },
    client: [get('x-c: nowhere\r\n')],
  },
  { name: 'proxy-status: no request', ...status(), client: ['GET / HTTP/1.1\r\nhost: a\r\nbad\0: x\r\n\r\n'] },
  {
    name: 'proxy-status: the upstream has one',
    ...status(),
    client: [get()],
    upstream: () => 'HTTP/1.1 200 OK\r\nproxy-status: other; error=x\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'proxy-status: the upstream has one, retries are used up',
    ...status(RECOMMENDED),
    route: { retry_policy: { retry_on: '5xx', num_retries: 1 } },
    client: [get()],
    upstream: () => 'HTTP/1.1 500 No\r\nproxy-status: other; error=x\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'proxy-status: silence',
    ...status(RECOMMENDED, { stream_idle_timeout: '0.2s' }),
    client: [get()],
    upstream: () => null,
  },
  {
    name: 'proxy-status: a strict header',
    ...status(RECOMMENDED),
    router: { strict_check_headers: ['x-envoy-max-retries'] },
    client: [get('x-envoy-max-retries: x\r\n')],
    upstream: ok,
  },
  {
    name: 'proxy-status: overflow',
    ...status(RECOMMENDED),
    cluster: { circuit_breakers: { thresholds: [{ max_connections: 0, max_pending_requests: 0 }] } },
    client: [get()],
    upstream: ok,
  },
  { name: 'proxy-status: an old version', ...status(), client: ['GET / HTTP/1.0\r\n\r\n'], upstream: ok },
  {
    name: 'the scheme of the upstream',
    hcm: { scheme_header_transformation: { match_upstream: true } },
    upstreamHttp1: { send_fully_qualified_url: true },
    client: [get('x-forwarded-proto: https\r\n')],
    upstream: (head) => `HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-line: ${head.split('\r\n')[0]}\r\n\r\n`,
  },
  {
    name: 'a connection that is too old stays while nothing is asked',
    hcm: {
      common_http_protocol_options: { max_connection_duration: '0.1s' },
      http1_safe_max_connection_duration: true,
      drain_timeout: '0.1s',
    },
    client: [get()],
    upstream: ok,
    quietMs: 600,
  },
  {
    name: 'a connection that is too old ends with its next request',
    hcm: {
      common_http_protocol_options: { max_connection_duration: '0.2s' },
      http1_safe_max_connection_duration: true,
      drain_timeout: '0.1s',
    },
    client: [get(), get('x-second: 1\r\n')],
    upstream: (head, socket) => {
      if (head.includes('x-second')) return ok()
      setTimeout(() => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), 500)
      return null
    },
    quietMs: 900,
  },
]

describeBeside('options of the connection manager', SCENARIOS, {
  counted: (i) => new RegExp(`^http\\.s${i}\\.downstream_(rq_\\dxx|cx_(max_duration|drain_close))`),
})
