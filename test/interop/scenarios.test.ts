// What the connection manager and the HTTP/1 codec do in situations that random requests do not reach: timeouts, limits,
// upgrades, odd upstreams. Real Envoy and ours, the same bytes: the same answer, the same end, the same log line.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
/** Upstreams that end the connection, before or after some bytes. */
const closeAtOnce = (_head: string, socket: Socket): null => {
  socket.destroy()
  return null
}
const endAfter =
  (text: string) =>
  (_head: string, socket: Socket): null => {
    socket.end(text)
    return null
  }
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const POST_CUT = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc'
const http1 = (options: object): object => ({ http_protocol_options: options })
const common = (options: object): object => ({ common_http_protocol_options: options })
const WEBSOCKET = 'GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n'

const detection = (name: string, message: string, config: object): object => ({
  name: `envoy.http.original_ip_detection.${name}`,
  typed_config: {
    '@type': `type.googleapis.com/envoy.extensions.http.original_ip_detection.${name}.v3.${message}`,
    ...config,
  },
})
const xff = (hops: number): object => detection('xff', 'XffConfig', { xff_num_trusted_hops: hops })
const customHeader = (config: object): object =>
  detection('custom_header', 'CustomHeaderConfig', { header_name: 'X-Real-Ip', ...config })
/** Shows who the client is taken for, and what the upstream is told of it. */
const CLIENT_ADDRESS = {
  routeConfig: {
    response_headers_to_add: [
      { header: { key: 'x-client', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } },
      { header: { key: 'x-peer', value: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%' } },
    ],
  },
  upstream: (head: string): string => {
    const seen = head.split('\r\n').filter((line) => /^x-(envoy-internal|forwarded-for|real-ip|early)/.test(line))
    return `HTTP/1.1 200 OK\r\nx-seen: ${seen.join(' | ')}\r\ncontent-length: 0\r\n\r\n`
  },
}
const from = (...lines: string[]): string => ['GET / HTTP/1.1', 'host: a', ...lines, '', ''].join('\r\n')
const detecting = (...extensions: object[]): object => ({
  internal_address_config: {},
  original_ip_detection_extensions: extensions,
})

const SCENARIOS: readonly Scenario[] = [
  {
    ...CLIENT_ADDRESS,
    name: 'client address by xff with a trusted hop, else by a trusted header',
    hcm: detecting(xff(1), customHeader({ allow_extension_to_set_address_as_trusted: true })),
    client: [
      from('x-forwarded-for: 1.2.3.4, 5.6.7.8', 'x-real-ip: 10.0.0.1'),
      from('x-forwarded-for: 1.2.3.4', 'x-real-ip: 10.0.0.1'),
      from('x-real-ip: 10.0.0.1', 'x-real-ip: 10.0.0.2'),
      from('x-real-ip: 2001:db8::1'),
      from('x-real-ip: 10.0.0.1:80'),
      from('x-real-ip: [::1]'),
      from(),
    ],
  },
  {
    ...CLIENT_ADDRESS,
    name: 'client address by a header that is not trusted, required',
    hcm: detecting(customHeader({ reject_with_status: { code: 401 } })),
    client: [from('x-real-ip: 10.0.0.1'), from('x-real-ip: nobody'), from()],
  },
  {
    ...CLIENT_ADDRESS,
    name: 'client address required, status out of range',
    hcm: detecting(customHeader({ reject_with_status: { code: 200 } }), xff(0)),
    client: [from('x-forwarded-for: 10.0.0.7')],
  },
  {
    ...CLIENT_ADDRESS,
    name: 'early header mutations come before the client address is looked for',
    hcm: {
      ...detecting(customHeader({ allow_extension_to_set_address_as_trusted: true })),
      early_header_mutation_extensions: [
        {
          name: 'envoy.http.early_header_mutation.header_mutation',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
            mutations: [
              { append: { header: { key: 'x-real-ip', value: '%REQ(x-claimed)%' } } },
              {
                append: { header: { key: 'x-early', value: '%REQ(:path)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } },
              },
              { remove: 'x-forwarded-for' },
            ],
          },
        },
      ],
    },
    client: [from('x-claimed: 10.1.1.1', 'x-forwarded-for: 9.9.9.9'), from('x-early: before')],
  },
  {
    name: 'stream idle timeout, request incomplete',
    hcm: { stream_idle_timeout: '0.3s' },
    client: [POST_CUT],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'stream idle timeout, upstream silent',
    hcm: { stream_idle_timeout: '0.3s' },
    client: [GET],
    upstream: () => null,
    quietMs: 900,
  },
  {
    name: 'stream idle timeout, response begun',
    hcm: { stream_idle_timeout: '0.3s' },
    client: [GET],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
    quietMs: 900,
  },
  { name: 'request timeout', hcm: { request_timeout: '0.3s' }, client: [POST_CUT], upstream: () => null, quietMs: 900 },
  {
    name: 'request headers timeout',
    hcm: { request_headers_timeout: '0.3s' },
    client: ['GET / HTTP/1.1\r\nhost'],
    quietMs: 900,
  },
  {
    name: 'max stream duration',
    hcm: common({ max_stream_duration: '0.3s' }),
    client: [GET],
    upstream: () => null,
    quietMs: 900,
  },
  { name: 'route timeout', route: { timeout: '0.3s' }, client: [GET], upstream: () => null, quietMs: 900 },
  { name: 'route idle timeout', route: { idle_timeout: '0.3s' }, client: [GET], upstream: () => null, quietMs: 900 },
  {
    name: 'connection idle timeout',
    hcm: common({ idle_timeout: '0.3s' }),
    client: [GET],
    upstream: () => OK,
    quietMs: 900,
  },
  {
    name: 'max connection duration, idle',
    hcm: common({ max_connection_duration: '0.3s' }),
    client: [GET],
    upstream: () => OK,
    quietMs: 900,
  },
  {
    name: 'max requests per connection',
    hcm: common({ max_requests_per_connection: 2 }),
    client: [GET + GET + GET],
    upstream: () => OK,
  },
  {
    name: 'local reply mapped to JSON',
    hcm: {
      local_reply_config: {
        mappers: [
          {
            filter: {
              status_code_filter: { comparison: { op: 'EQ', value: { default_value: 503, runtime_key: 'x' } } },
            },
            status_code: 418,
            headers_to_add: [{ header: { key: 'x-mapped', value: 'yes' } }],
            body: { inline_string: 'teapot' },
          },
        ],
        body_format: { json_format: { body: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%', path: '%REQ(:path)%' } },
      },
    },
    client: [GET],
    upstream: closeAtOnce,
  },
  {
    name: 'local reply mapped to text',
    hcm: {
      local_reply_config: {
        body_format: {
          text_format_source: { inline_string: '%RESPONSE_CODE% %LOCAL_REPLY_BODY%\n' },
          content_type: 'text/html; charset=UTF-8',
        },
      },
    },
    client: ['GET /no-route HTTP/1.1\r\nhost: b\r\n\r\n'],
  },
  {
    name: 'expect 100-continue is answered',
    client: ['POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n', 'hi'],
    upstream: () => OK,
  },
  {
    name: 'expect 100-continue is passed on',
    hcm: { proxy_100_continue: true },
    client: ['POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n', 'hi'],
    upstream: () => 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
  },
  { name: '103 from upstream', client: [GET], upstream: () => `HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${OK}` },
  {
    name: 'HTTP/1.0 allowed, no host',
    hcm: http1({ accept_http_10: true, default_host_for_http_10: 'default.example' }),
    client: ['GET / HTTP/1.0\r\n\r\n'],
    upstream: () => OK,
  },
  {
    name: 'HTTP/1.0 allowed, keep-alive',
    hcm: http1({ accept_http_10: true }),
    client: ['GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n'],
    upstream: () => OK,
  },
  {
    name: 'HTTP/1.0 allowed, chunked upstream',
    hcm: http1({ accept_http_10: true }),
    client: ['GET / HTTP/1.0\r\nhost: a\r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  },
  {
    name: 'length and chunked allowed',
    hcm: http1({ allow_chunked_length: true }),
    client: [
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
    ],
    upstream: () => OK,
  },
  {
    name: 'proper case header names',
    hcm: http1({ header_key_format: { proper_case_words: {} } }),
    upstreamHttp1: { header_key_format: { proper_case_words: {} } },
    client: ['GET / HTTP/1.1\r\nHOST: a\r\nx-my-header: 1\r\n\r\n'],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-seen: ${head.includes('X-My-Header: 1')}\r\ncontent-length: 0\r\n\r\n`,
  },
  { name: 'header block too large', client: [`GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(62 * 1024)}\r\n\r\n`] },
  {
    name: 'too many headers',
    client: [`GET / HTTP/1.1\r\nhost: a\r\n${Array.from({ length: 120 }, (_, i) => `x-${i}: 1\r\n`).join('')}\r\n`],
  },
  {
    name: 'underscores refused',
    hcm: common({ headers_with_underscores_action: 'REJECT_REQUEST' }),
    client: ['GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n'],
  },
  {
    name: 'underscores dropped',
    hcm: common({ headers_with_underscores_action: 'DROP_HEADER' }),
    client: ['GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n'],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-seen: ${head.includes('x_y')}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'websocket accepted',
    hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
    client: [WEBSOCKET, 'ping', 'pong'],
    upstream: (head, socket) => {
      socket.on('data', (d) => socket.write(`echo:${d}`))
      return head.includes('upgrade: websocket')
        ? 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello'
        : OK
    },
  },
  {
    name: 'websocket answered otherwise',
    hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
    client: [WEBSOCKET],
    upstream: () => 'HTTP/1.1 426 Upgrade Required\r\nx-why: no\r\ncontent-length: 2\r\n\r\nno',
  },
  {
    name: 'websocket refused by route',
    hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
    route: { upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] },
    client: [WEBSOCKET],
  },
  { name: 'answer before the request is complete', client: [POST_CUT], upstream: () => OK },
  {
    name: 'HEAD, 204 and 304',
    client: [
      'HEAD / HTTP/1.1\r\nhost: a\r\n\r\n',
      'GET /204 HTTP/1.1\r\nhost: a\r\n\r\n',
      'GET /304 HTTP/1.1\r\nhost: a\r\n\r\n',
    ],
    upstream: (head) =>
      head.startsWith('HEAD')
        ? 'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n'
        : `HTTP/1.1 ${head.slice(5, 8)} X\r\n\r\n`,
  },
  {
    name: 'trailers both ways',
    hcm: http1({ enable_trailers: true }),
    upstreamHttp1: { enable_trailers: true },
    client: ['POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-r: 2\r\n\r\n',
  },
  {
    name: 'trailers dropped',
    client: [GET],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-r: 2\r\n\r\n',
  },
  {
    name: 'body until close',
    client: [GET],
    upstream: endAfter('HTTP/1.1 200 OK\r\n\r\nall of it'),
  },
  {
    name: 'upstream closes within the body',
    client: [GET],
    upstream: endAfter('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'),
  },
  { name: 'upstream speaks nonsense', client: [GET], upstream: () => 'NONSENSE\r\n\r\n' },
  { name: 'upstream closes at once', client: [GET], upstream: closeAtOnce },
  {
    name: 'upstream sends length and chunked',
    client: [GET],
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  },
  {
    name: 'upstream sends a bad header',
    client: [GET],
    upstream: () => 'HTTP/1.1 200 OK\r\nbad header: 1\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'upstream sends too many headers',
    client: [GET],
    upstream: () =>
      `HTTP/1.1 200 OK\r\n${Array.from({ length: 120 }, (_, i) => `x-${i}: 1\r\n`).join('')}content-length: 0\r\n\r\n`,
  },
  {
    name: 'upstream sends a huge header',
    client: [GET],
    upstream: () => `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100 * 1024)}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'server header appended if absent',
    hcm: { server_header_transformation: 'APPEND_IF_ABSENT', server_name: 'us' },
    client: [GET],
    upstream: () => 'HTTP/1.1 200 OK\r\nserver: them\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'server header passed',
    hcm: { server_header_transformation: 'PASS_THROUGH' },
    client: [GET],
    upstream: () => OK,
  },
  {
    name: 'request id in the response',
    hcm: { always_set_request_id_in_response: true },
    client: ['GET / HTTP/1.1\r\nhost: a\r\nx-request-id: 11111111-2222-4333-8444-555555555555\r\n\r\n'],
    upstream: () => OK,
  },
  {
    name: 'host without its dot and port',
    hcm: { strip_any_host_port: true, strip_trailing_host_dot: true },
    client: ['GET / HTTP/1.1\r\nhost: a.:8080\r\n\r\n'],
    upstream: (head) =>
      `HTTP/1.1 200 OK\r\nx-host: ${/host: (.*)/.exec(head)?.[1]?.trim()}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'edge request',
    hcm: { use_remote_address: true, append_x_forwarded_port: false, add_user_agent: true },
    client: [
      'GET / HTTP/1.1\r\nhost: a\r\nx-envoy-external-address: 9.9.9.9\r\nx-envoy-downstream-service-cluster: me\r\n\r\n',
    ],
    upstream: (head) =>
      `HTTP/1.1 200 OK\r\nx-names: ${[...head.matchAll(/\r\n([a-z-]+):/g)]
        .map((m) => m[1])
        .sort()
        .join(' ')}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'scheme overwritten',
    hcm: { scheme_header_transformation: { scheme_to_overwrite: 'https' } },
    client: ['GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n'],
    upstream: (head) =>
      `HTTP/1.1 200 OK\r\nx-seen: ${/x-forwarded-proto: (.*)/.exec(head)?.[1]?.trim()}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'logs at the start and from time to time',
    hcm: { access_log_options: { flush_access_log_on_new_request: true, access_log_flush_interval: '0.5s' } },
    route: { timeout: '0.8s' },
    client: [GET],
    upstream: () => null,
    quietMs: 1200,
  },
  {
    name: 'websocket closed by upstream',
    hcm: {
      upgrade_configs: [{ upgrade_type: 'websocket' }],
      access_log_options: { flush_log_on_tunnel_successfully_established: true },
    },
    client: [WEBSOCKET, 'ping'],
    upstream: (_, socket) => {
      socket.on('data', () => socket.end('bye'))
      return 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n'
    },
  },
  {
    name: 'websocket closed by client',
    hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
    client: [WEBSOCKET, 'END'],
    upstream: () => 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n',
  },
  {
    name: 'CONNECT to a TCP upstream',
    hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }] },
    route: { upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
    connect: true,
    client: ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n', GET, GET],
    upstream: () => OK,
  },
  {
    name: 'CONNECT passed on',
    hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }] },
    connect: true,
    client: ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n', 'hello'],
    upstream: (head, socket) => {
      socket.on('data', (d) => socket.write(`echo:${d}`))
      return head.startsWith('CONNECT') ? 'HTTP/1.1 200 OK\r\n\r\n' : OK
    },
  },
  { name: 'absolute URL with another scheme', client: ['GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n'] },
  { name: 'absolute URL of https', client: ['GET https://a/x HTTP/1.1\r\nhost: b\r\n\r\n'], upstream: () => OK },
  { name: 'CONNECT without permission', client: ['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n'] },
  {
    name: 'Connection header with a forbidden name',
    client: ['GET / HTTP/1.1\r\nhost: a\r\nconnection: x-forwarded-for\r\nx-forwarded-for: 1.2.3.4\r\n\r\n'],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-seen: ${head.includes('1.2.3.4')}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'Connection header names others',
    client: ['GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-drop\r\nx-drop: 1\r\n\r\n'],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-seen: ${head.includes('x-drop')}\r\ncontent-length: 0\r\n\r\n`,
  },
  {
    name: 'Connection: close from client',
    client: ['GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'],
    upstream: () => OK,
  },
  { name: 'client goes away', client: [GET, 'END'], upstream: () => null },
  { name: 'client goes away, a request pipelined', client: [GET + GET, 'END'], upstream: () => null },
  { name: 'client goes away, part of a request pipelined', client: [GET, 'POST / HT', 'END'], upstream: () => null },
  {
    name: 'gRPC request without a route',
    client: ['POST /s/m HTTP/1.1\r\nhost: b\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n'],
  },
  {
    name: 'Host as a header of route matches and formats',
    routeConfig: { response_headers_to_add: [{ header: { key: 'x-host', value: '%REQ(Host)% %REQ(x?host)%' } }] },
    routeEntry: {
      match: {
        prefix: '/',
        headers: [
          { name: 'host', string_match: { exact: 'a' } },
          { name: 'Host', present_match: true },
        ],
      },
    },
    client: [GET],
    upstream: () => OK,
  },
  {
    name: 'blanks in the request line',
    client: ['GET \t / \rHTTP/1.1 \r\nhost: a\r\n\r\n'],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-line: ${head.split('\r\n')[0]}\r\ncontent-length: 0\r\n\r\n`,
  },
  { name: 'control character in the request line', client: ['GET /\0 HTTP/1.1\r\n', 'host: a\r\n\r\n'] },
  { name: 'bad request line, control character behind it', client: ['GET /a b HTTP/1.1\r\n', 'x: \0\r\n\r\n'] },
  { name: 'bad request line and a control character at once', client: ['GET /a b HTTP/1.1\r\nx: \0\r\n\r\n'] },
  { name: 'HTTP/0.9', client: ['GET /\r\n'] },
  {
    name: 'pipelined requests',
    client: [GET + GET.replace('/ ', '/two ') + GET.replace('/ ', '/three ')],
    upstream: (head) => `HTTP/1.1 200 OK\r\nx-line: ${head.split('\r\n')[0]}\r\ncontent-length: 0\r\n\r\n`,
  },
]

describeBeside('scenarios', SCENARIOS)
