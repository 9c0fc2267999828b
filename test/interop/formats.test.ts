// Commands of log formats that tell of bytes, moments and ends, beside real Envoy.

import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const SIDES = ['UPSTREAM', 'DOWNSTREAM'] as const
const BYTES = Object.fromEntries(
  SIDES.flatMap((side) =>
    ['WIRE', 'HEADER', 'DECOMPRESSED_HEADER'].flatMap((kind) =>
      ['RECEIVED', 'SENT'].map((way) => [`${side}_${kind}_${way}`, `%${side}_${kind}_BYTES_${way}%`]),
    ),
  ),
)
const ENDS = {
  downstream_close: '%DOWNSTREAM_DETECTED_CLOSE_TYPE%',
  upstream_close: '%UPSTREAM_DETECTED_CLOSE_TYPE%',
  downstream_reason: '%DOWNSTREAM_LOCAL_CLOSE_REASON%',
  upstream_reason: '%UPSTREAM_LOCAL_CLOSE_REASON%',
  state: '%UPSTREAM_FILTER_STATE(nothing:PLAIN)%',
  handshake: '%DOWNSTREAM_HANDSHAKE_DURATION%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  attempts: '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  hosts: '%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%',
}
const POINTS = ['DS_RX_BEG', 'DS_RX_END', 'US_CX_BEG', 'US_CX_END', 'US_HS_END', 'US_TX_BEG', 'US_TX_END', 'US_RX_BEG']
const MOMENTS = Object.fromEntries(
  [...POINTS, 'US_RX_END', 'DS_TX_BEG', 'DS_TX_END'].map((point) => [
    `moment_${point}`,
    `%COMMON_DURATION(${point}:${point}:ms)%`,
  ]),
)
const log = {
  ...BYTES,
  ...ENDS,
  ...MOMENTS,
  ready: '%UPSTREAM_CONNECTION_POOL_READY_DURATION%',
  tx: '%REQUEST_TX_DURATION%',
}

const get = (headers = ''): string => `GET / HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const ok = (): string => 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
const TRAILERS = {
  hcm: { http_protocol_options: { enable_trailers: true } },
  upstreamHttp1: { enable_trailers: true },
}
const POST = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc'
const NO_HOSTS = { endpoints: [] }

const SCENARIOS: readonly Scenario[] = [
  { name: 'two on one connection', log, client: [get(), get('x-a: bbbb\r\nX-Empty:\r\n')], upstream: ok },
  {
    name: 'blanks around values',
    log,
    client: ['GET / HTTP/1.1\r\nhost:a\r\nX-Abc:   d  \r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-w:    ab  \r\n\r\n',
  },
  {
    name: 'chunks',
    log,
    client: ['POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  },
  {
    name: 'trailers',
    log,
    ...TRAILERS,
    client: [
      'POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nq: 12\r\n\r\n',
    ],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n',
  },
  {
    name: 'a direct response',
    log,
    routeEntry: { direct_response: { status: 200, body: { inline_string: 'hi' } }, route: undefined },
    client: [get()],
  },
  { name: 'no route', log, client: ['GET / HTTP/1.1\r\nhost: b\r\n\r\n'] },
  {
    name: 'no host',
    log,
    cluster: { load_assignment: { cluster_name: 'none', ...NO_HOSTS } },
    client: [get()],
  },
  {
    name: 'nobody listens',
    log,
    cluster: {
      load_assignment: {
        cluster_name: 'none',
        endpoints: [
          {
            lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } } }],
          },
        ],
      },
    },
    client: [get()],
  },
  {
    name: 'the upstream closes',
    log,
    client: [POST],
    upstream: (_head, socket) => {
      socket.destroy()
      return null
    },
  },
  {
    name: 'the upstream resets',
    log,
    client: [get()],
    upstream: (_head, socket) => {
      socket.resetAndDestroy()
      return null
    },
  },
  { name: 'the upstream is silent', log, route: { timeout: '0.1s' }, client: [get()], upstream: () => null },
  {
    name: 'the client leaves',
    log,
    client: [get(), 'END'],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc',
  },
  { name: 'the client closes after one', log, client: [get('connection: close\r\n')], upstream: ok },
  { name: 'no request', log, client: ['GET / HTTP/1.1\r\nhost: a\r\nbad\0: x\r\n\r\n'] },
  {
    name: 'a retry',
    // Of these Envoy counts those of earlier attempts twice.
    log: { ...log, UPSTREAM_DECOMPRESSED_HEADER_RECEIVED: '-' },
    route: { retry_policy: { retry_on: '5xx', num_retries: 1 } },
    client: [get()],
    upstream: () => 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n',
  },
]

/** Expressions whose values have texts of their own. */
const CEL = [
  ...['duration("1.5s")', 'duration("0s")', 'duration("3723s")', 'duration("0.000707441s")', 'duration("-90s")'],
  ...['timestamp("2026-01-01T00:00:00Z")', 'timestamp("2026-01-01T00:00:00.25Z")', 'metadata', 'xds.cluster_metadata'],
  ...['b"abc"', 'null', '[1, 2]', '{"b": 1, "a": 2}', 'request.headers["x-a"]', 'response.trailers', '2u', '1.5'],
]
const CEL_LOG = Object.fromEntries(
  CEL.flatMap((expression, i) => [
    [`cel_${i}`, `%CEL(${expression})%`],
    [`typed_${i}`, expression === 'metadata' ? '-' : `%TYPED_CEL(${expression})%`],
  ]),
)

/** How long a thing took is not the same; that it was measured is. */
const logged = (line: unknown): unknown => {
  const fields = { ...(line as Record<string, unknown>) }
  for (const name of ['ready', 'tx']) if (name in fields) fields[name] = fields[name] !== null
  return fields
}

/** The upstream's time has more digits on a busy machine. */
const suppressed = [...SCENARIOS, { name: 'CEL', log: CEL_LOG, client: [get('x-a: 1\r\n')], upstream: ok }].map(
  (scenario) => ({ ...scenario, router: { suppress_envoy_headers: true } }),
)

describeBeside('commands of log formats', suppressed, { counted: () => /^nothing$/, logged })
