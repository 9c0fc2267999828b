// Differences that generated traffic found (test/interop/generated), each in its smallest form. Real Envoy and ours, the
// same bytes: the same answer, the same forwarded request, the same log line, the same counters.

import type { Socket } from 'node:net'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const GET = 'GET /a HTTP/1.1\r\nhost: a\r\n\r\n'
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const get = (headers: string): string => `GET /a HTTP/1.1\r\nhost: a\r\n${headers}\r\n\r\n`
const echo = (head: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`
/** No request ids: the length of what the upstream echoes must not depend on them. */
const ECHO = { generate_request_id: false }
const http1 = (options: object): object => ({ http_protocol_options: options })
const PRESERVE_CASE = {
  header_key_format: {
    stateful_formatter: {
      name: 'preserve_case',
      typed_config: {
        '@type':
          'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig',
      },
    },
  },
}
const PROPER_CASE = { header_key_format: { proper_case_words: {} } }
const add = (...list: [string, string][]): object[] => list.map(([key, value]) => ({ header: { key, value } }))
const JSON_REPLIES = {
  local_reply_config: { body_format: { json_format: { code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%' } } },
}
const refuse = (_head: string, socket: Socket): null => {
  socket.destroy()
  return null
}
const GRPC = 'POST /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n'
/** Answers once the mirrored request is here, too, and tells what host it names. */
function mirrorHost(): NonNullable<Scenario['upstream']> {
  let waiting: Socket | null = null
  let host = ''
  return (head, socket) => {
    const named = /^host: (.*)\r$/m.exec(head)![1]!
    if (named.includes('-shadow')) host = named
    else waiting = socket
    if (waiting === null || host === '') return host === named ? OK : null
    const answer = `HTTP/1.1 200 OK\r\nx-mirrored: ${host}\r\ncontent-length: 0\r\n\r\n`
    const to = waiting
    waiting = null
    host = ''
    if (to === socket) return answer
    to.write(answer)
    return OK
  }
}
const filter = (name: string, message: string, config: object): { name: string; typed_config: object } => ({
  name: `envoy.filters.http.${name}`,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.http.${name}.v3.${message}`, ...config },
})
const perRoute = {
  'envoy.filters.http.header_mutation': {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute',
    mutations: { response_mutations: [{ append: add(['x-route', 'r'])[0] }] },
  },
}
const ABORT = { abort: { http_status: 418, percentage: { numerator: 100 } } }
const MATCHERS: readonly object[] = [
  { string_match: { exact: 'one' } },
  { string_match: { exact: '5,one' } },
  { string_match: { exact: 'one' }, invert_match: true },
  { range_match: { start: 5, end: 6 } },
]
/** Every second header of a pair is to join the first where Envoy joins them. */
const TWICE = [
  ['x-forwarded-for: 10.0.0.1', 'x-forwarded-for: 10.0.0.2'],
  ['x-envoy-original-path: /a', 'x-envoy-original-path: /b'],
  ['user-agent: a', 'user-agent: b'],
  ['accept: a', 'accept: b'],
  ['authorization: a', 'authorization: b'],
  ['cookie: a=1', 'cookie: b=2'],
  ['x-other: a', 'x-other: b'],
  ['te: trailers', 'te: gzip'],
  ['origin: a', 'origin: b'],
]
const RESPONSE_TWICE = ['server', 'location', 'via', 'vary', 'cache-control', 'set-cookie', 'x-other', 'grpc-status']
/** To an internal redirect's target by way of the first answer. */
const redirecting =
  (location: string) =>
  (head: string): string =>
    head.includes('original-url') ? echo(head) : `HTTP/1.1 302 F\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`
/** Routes of the scenario whose cluster is `cluster`. */
const redirectRoutes = (cluster: string): object => ({
  routes: [
    { name: 'first', match: { path: '/a' }, route: { cluster, internal_redirect_policy: {} } },
    { name: 'next', match: { path: '/next' }, route: { cluster } },
    { name: 'direct', match: { path: '/direct' }, direct_response: { status: 203 } },
  ],
})

/** The same, for a scenario whose weighted cluster has mutations of its own. */
const weightedRoutes = (cluster: string): object => ({
  routes: [
    {
      match: { prefix: '/' },
      request_headers_to_add: add(['x-a', 'route']),
      route: {
        weighted_clusters: {
          clusters: [{ name: cluster, weight: 1, request_headers_to_add: add(['x-a', 'cluster'], ['x-b', 'cluster']) }],
        },
      },
    },
  ],
})

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'headers added to the response come before the attempt count',
    routeEntry: { response_headers_to_add: add(['x-b', '%ROUTE_NAME%']) },
    virtualHost: { include_attempt_count_in_response: true },
    client: [GET],
    upstream: () => OK,
  },
  {
    name: 'one spelling for all headers of a name, added ones too',
    hcm: { ...ECHO, ...http1(PRESERVE_CASE) },
    routeEntry: { request_headers_to_add: add(['x-b', 'added'], ['x-new', 'added']) },
    client: ['GET /a HTTP/1.1\r\nhoST: a\r\nx-A: 1\r\nX-a: 2\r\nX-B: 3\r\n\r\n'],
    upstream: echo,
  },
  {
    name: 'the spelling of a client goes before the format of the cluster',
    hcm: { ...ECHO, ...http1(PRESERVE_CASE) },
    upstreamHttp1: PROPER_CASE,
    client: ['POST /a HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n', '0\r\n\r\n'],
    upstream: echo,
  },
  {
    name: 'framing headers have the format of the cluster',
    hcm: ECHO,
    upstreamHttp1: PROPER_CASE,
    client: [
      'PUT /a HTTP/1.1\r\nhost: a\r\n\r\n',
      'PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    upstream: echo,
  },
  {
    name: 'x-envoy-original-host is suppressed with the others',
    hcm: ECHO,
    route: { host_rewrite_literal: 'b', append_x_forwarded_host: true, prefix_rewrite: '/new' },
    router: { suppress_envoy_headers: true },
    client: [GET],
    upstream: echo,
  },
  ...TWICE.map((pair) => ({
    name: `twice in a request: ${pair[1]}`,
    hcm: ECHO,
    client: [get(pair.join('\r\n'))],
    upstream: echo,
  })),
  ...RESPONSE_TWICE.map((name) => ({
    name: `twice in a response: ${name}`,
    hcm: { server_header_transformation: 'PASS_THROUGH' },
    client: [GET],
    upstream: () => `HTTP/1.1 200 OK\r\n${name}: 1\r\n${name}: 2\r\ncontent-length: 0\r\n\r\n`,
  })),
  {
    name: 'joined headers count once',
    hcm: { common_http_protocol_options: { max_headers_count: 4 } },
    client: [get('via: a\r\nvia: b\r\nvia: c\r\nx-a: 1\r\nx-b: 2')],
    upstream: () => OK,
  },
  {
    name: 'more headers than allowed, some joined',
    hcm: { common_http_protocol_options: { max_headers_count: 4 } },
    client: [get('via: a\r\nvia: b\r\nvia: c\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3')],
    upstream: () => OK,
  },
  {
    name: 'values joined to what is there: user-agent is one header, x-b is not',
    hcm: ECHO,
    routeEntry: {
      request_headers_to_add: add(['user-agent', 'added'], ['x-b', 'added']),
      response_headers_to_add: add(['server', 'added'], ['x-b', 'added']),
    },
    client: [get('user-agent: one\r\nx-b: 1')],
    upstream: echo,
  },
  ...['x-a: 12\r\nx-a: one', 'x-a: one\r\nx-a: 12', 'x-a: 12,one', 'x-a: \r\nx-a: 12', 'x-a: 13\r\nx-a: 14'].flatMap(
    (lines) =>
      [false, true].map((invert) => ({
        name: `range_match${invert ? ' inverted' : ''} of ${JSON.stringify(lines)}`,
        routeEntry: {
          match: { prefix: '/', headers: [{ name: 'x-a', range_match: { start: 12, end: 13 }, invert_match: invert }] },
        },
        client: [get(lines)],
        upstream: () => OK,
      })),
  ),
  {
    name: 'formats in headers of a local reply do not know its status yet',
    hcm: JSON_REPLIES,
    routeEntry: {
      response_headers_to_add: add(['x-code', '%RESPONSE_CODE%'], ['x-details', '%RESPONSE_CODE_DETAILS%']),
    },
    client: [GET],
    upstream: refuse,
  },
  {
    name: 'formats in headers of a response know its details',
    routeEntry: {
      response_headers_to_add: add(['x-code', '%RESPONSE_CODE%'], ['x-details', '%RESPONSE_CODE_DETAILS%']),
    },
    client: [GET],
    upstream: () => OK,
  },
  {
    name: 'the redirect of require_tls has no headers of its virtual host',
    virtualHost: { require_tls: 'ALL', response_headers_to_add: add(['x-details', '%RESPONSE_CODE_DETAILS%']) },
    client: [GET],
  },
  ...[true, false].flatMap((of1) =>
    [true, false].map((ofAll) => ({
      name: `a path with a fragment, then another request: ${of1} for HTTP/1, ${ofAll} for all`,
      hcm: {
        stream_error_on_invalid_http_message: ofAll,
        ...http1({ override_stream_error_on_invalid_http_message: of1 }),
      },
      client: [GET.replace('/a', '/a#f') + GET],
      upstream: () => OK,
    })),
  ),
  {
    name: 'the id of a refused request is told',
    hcm: { always_set_request_id_in_response: true },
    client: [GET.replace('/a', '/a#f').replace('host', 'x-request-id: 1\r\nhost')],
  },
  {
    name: 'a fault in a request of HTTP/1.0 is answered in that version',
    hcm: http1({ accept_http_10: true }),
    client: ['HEAD * HTTP/1.0\r\nhost: a\r\n\r\n'],
  },
  {
    name: '1xx to a client of HTTP/1.0',
    hcm: { proxy_100_continue: true, ...http1({ accept_http_10: true }) },
    client: ['GET /a HTTP/1.0\r\nhost: a\r\n\r\n'],
    upstream: () => `HTTP/1.1 103 E\r\nlink: a\r\n\r\n${OK}`,
  },
  {
    name: 'a bad encoding goes before a low version',
    client: ['CONNECT a:1 HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n'],
  },
  ...[102, 103, 104, 150].map((status) => ({
    name: `${status} from upstream`,
    hcm: { proxy_100_continue: true },
    client: [GET],
    upstream: () => `HTTP/1.1 ${status} X\r\nlink: a\r\n\r\n${OK}`,
  })),
  {
    name: 'reason phrases',
    client: [Array.from({ length: 400 }, (_, i) => GET.replace('/a', `/${i + 200}`)).join('')],
    upstream: (head) => `HTTP/1.1 ${/ \/(\d+)/.exec(head)![1]} X\r\ncontent-length: 0\r\n\r\n`,
  },
  ...[
    { timeout: '9s', max_stream_duration: { max_stream_duration: '9s' } },
    { max_stream_duration: { max_stream_duration: '9s', grpc_timeout_header_max: '7s' } },
    { max_stream_duration: { max_stream_duration: '0s' } },
    { max_grpc_timeout: '4s' },
  ].flatMap((route) => [
    { name: `gRPC, ${JSON.stringify(route)}`, hcm: ECHO, route, client: [GRPC], upstream: echo },
    {
      name: `gRPC with a timeout, ${JSON.stringify(route)}`,
      hcm: ECHO,
      route,
      client: [GRPC.replace('content-length', 'grpc-timeout: 3S\r\ncontent-length')],
      upstream: echo,
    },
  ]),
  {
    name: 'an internal request through a proxy with a via of its own',
    hcm: {
      ...ECHO,
      via: 'hop',
      internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
    },
    client: [get('x-forwarded-for: 10.1.2.3')],
    upstream: echo,
  },
  ...[true, false].map((useRemote) => ({
    name: `x-forwarded-port that came, use_remote_address ${useRemote}`,
    hcm: { ...ECHO, append_x_forwarded_port: true, use_remote_address: useRemote },
    client: [get('x-forwarded-port: 99')],
    upstream: (head: string) =>
      `HTTP/1.1 200 OK\r\nx-kept: ${head.includes('x-forwarded-port: 99')}\r\ncontent-length: 0\r\n\r\n`,
  })),
  ...['/next', '/direct', '/none'].map((target) => ({
    name: `internal redirect to ${target}: what is logged and counted`,
    hcm: { ...ECHO, scheme_header_transformation: { scheme_to_overwrite: 'https' } },
    client: [GET],
    upstream: redirecting(`http://a${target}`),
  })),
  {
    name: 'internal redirects count as requests of the connection',
    hcm: { common_http_protocol_options: { max_requests_per_connection: 2 } },
    route: { internal_redirect_policy: {} },
    client: [GET + GET],
    upstream: (head) =>
      head.includes('original-url') ? OK : 'HTTP/1.1 302 F\r\nlocation: http://a/b\r\ncontent-length: 0\r\n\r\n',
  },
  ...['GET /\r', '/ HTTP/1.1', 'tGET / HTTP/1.1', 'AGET / HTTP/1.1', 'GET /\x7f HTTP/1.1'].map((line) => ({
    name: `too large a head after ${JSON.stringify(line)}`,
    hcm: { max_request_headers_kb: 1 },
    client: [`${line}\r\nhost: a\r\nx: ${'l'.repeat(1500)}\r\n\r\n`],
  })),
  ...['\xe9', '\xc3\xa9', '\xc3\xa9\xe9', 'a\xe9"b\\c\xff', '\xe2\x82', '\xc0\x80'].map((value) => ({
    name: `bytes in JSON: ${JSON.stringify(value)}`,
    hcm: { local_reply_config: { body_format: { json_format: { value: '%REQ(X)%' } } } },
    client: [get(`x: ${value}`).replace('host: a', 'host: nobody')],
  })),
  ...[true, false].map((trailing) => ({
    name: `a joined header with an empty value ${trailing ? 'behind' : 'before'}`,
    hcm: ECHO,
    client: [get(trailing ? 'via: a\r\nvia: ' : 'via: \r\nvia: a')],
    upstream: echo,
  })),
  {
    name: 'an empty value added to a joined header',
    hcm: ECHO,
    routeEntry: {
      request_headers_to_add: [{ header: { key: 'user-agent', value: '' }, keep_empty_value: true }],
    },
    client: [get('user-agent: a')],
    upstream: echo,
  },
  {
    name: 'proxy-connection with close among others',
    client: [get('proxy-connection: close\r\nproxy-connection: keep-alive') + GET],
    upstream: () => OK,
  },
  ...[true, false].map((useRemote) => ({
    name: `a target of https in plain text, use_remote_address ${useRemote}`,
    hcm: { use_remote_address: useRemote },
    client: [GET.replace('/a', 'https://a/x')],
    upstream: () => OK,
  })),
  { name: 'a low version goes before a bad host', client: ['GET / HTTP/1.0\r\nhost: bad host\r\n\r\n'] },
  {
    name: 'header formats are not for trailers',
    hcm: http1({ ...PRESERVE_CASE, enable_trailers: true }),
    upstreamHttp1: { ...PROPER_CASE, enable_trailers: true },
    client: ['POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-TrAiler: t\r\n\r\n'],
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-TrAiler: u\r\n\r\n',
  },
  ...[
    { direct_response: { status: 404, body: { inline_string: 'x' } } },
    { redirect: { path_redirect: '/b' } },
  ].flatMap((action) =>
    [{}, JSON_REPLIES].map((hcm) => ({
      name: `formats in headers of an answer of the route: ${JSON.stringify({ ...action, ...hcm })}`,
      hcm,
      virtualHost: { routes: [{ match: { prefix: '/' }, ...action }] },
      routeConfig: { response_headers_to_add: add(['x-code', '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%']) },
      client: [GET],
    })),
  ),
  {
    name: 'the attempt that finds no host counts',
    cluster: { load_assignment: { cluster_name: 'c', endpoints: [] } },
    virtualHost: { include_attempt_count_in_response: true, include_request_attempt_count: true },
    client: [GET],
  },
  ...['alt', '', 'a:b', 'a.b', '.a.', 'a\r\nx-envoy-upstream-alt-stat-name: b'].flatMap((name) =>
    ['x-forwarded-for: 10.0.0.1\r\n', ''].map((origin) => ({
      name: `responses are counted as ${JSON.stringify(name)}, too${origin ? ', for an internal request' : ''}`,
      client: [get(`${origin}x-envoy-upstream-alt-stat-name: ${name}`)],
      upstream: (head: string) => (head.includes('alt-stat') ? 'HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n' : OK),
    })),
  ),
  ...[false, true].flatMap((suppressed) =>
    ['HEAD', 'POST'].map((method) => ({
      name: `${method} of gRPC that fails, failure stats ${suppressed ? 'suppressed' : 'kept'}`,
      router: { suppress_grpc_request_failure_code_stats: suppressed },
      client: [GRPC.replace('POST', method)],
      upstream: () =>
        'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n',
    })),
  ),
  ...[false, true].map((wins) => ({
    name: `headers of a weighted cluster come first, the most specific wins: ${wins}`,
    hcm: ECHO,
    routeConfig: { most_specific_header_mutations_wins: wins, request_headers_to_add: add(['x-b', 'all']) },
    client: [get('x-a: 1')],
    upstream: echo,
  })),
  ...['a', 'a:1', 'a:b/c', '[::1]:80', '[::1]', 'a:', ':a', 'a:1:2', 'a::b'].map((host) => ({
    name: `mirrored: ${host}`,
    virtualHost: { domains: ['*'] },
    client: [GET.replace('host: a', `host: ${host}`)],
    upstream: mirrorHost(),
  })),
  ...['/next', '/direct'].map((target) => ({
    name: `internal redirect of a request with a body to ${target}`,
    hcm: ECHO,
    client: ['PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'],
    upstream: redirecting(`http://a${target}`),
  })),
  ...MATCHERS.flatMap((matcher) => {
    const header = { name: 'x-a', ...matcher }
    const rules = { policies: { p: { permissions: [{ header }], principals: [{ any: true }] } } }
    const retry_policy = { retry_on: 'retriable-headers', num_retries: 1, retriable_headers: [header] }
    const mapper = { filter: { header_filter: { header } }, headers_to_add: add(['x-mapped', 'yes']) }
    const scenario = {
      client: [get('x-a: 5\r\nx-a: one')],
      upstream: (): string => OK.replace('\r\n', '\r\nx-a: 5\r\nx-a: one\r\n'),
    }
    const name = `two values of a header: ${JSON.stringify(matcher)}`
    return [
      { ...scenario, name: `${name}, route`, routeEntry: { match: { prefix: '/', headers: [header] } } },
      { ...scenario, name: `${name}, RBAC`, filters: [filter('rbac', 'RBAC', { rules })] },
      { ...scenario, name: `${name}, fault`, filters: [filter('fault', 'HTTPFault', { ...ABORT, headers: [header] })] },
      { ...scenario, name: `${name}, retries`, route: { retry_policy } },
      {
        ...scenario,
        name: `${name}, local replies`,
        hcm: { local_reply_config: { mappers: [mapper] } },
        virtualHost: { domains: ['b'] },
      },
    ]
  }),
  ...[
    'GET /a HTTP/1.1\r\nno-colon\r\n\r\n',
    'GET /a HTTP/1.1\r\n\r\n',
    'GET a HTTP/1.1\r\nhost: a\r\n\r\n',
    'GET /a#f HTTP/1.1\r\nhost: a\r\n\r\n',
    'GET /a HTTP/1.0\r\nhost: a\r\n\r\n',
  ].map((request) => ({
    name: `filters see the answer to ${JSON.stringify(request)}`,
    filters: [
      filter('header_mutation', 'HeaderMutation', {
        mutations: { response_mutations: [{ append: add(['x-seen', '%PROTOCOL% %ROUTE_NAME%'])[0] }] },
      }),
    ],
    client: [request],
  })),
  ...[1, 2, 3, 4].map((count) => ({
    name: `${count} requests at once that need no upstream`,
    virtualHost: { routes: [{ match: { prefix: '/' }, direct_response: { status: 203 } }] },
    client: [GET.repeat(count)],
  })),
  {
    name: 'a line end of a text in grpc-message',
    hcm: { local_reply_config: { body_format: { text_format_source: { inline_string: '%RESPONSE_CODE%\n' } } } },
    client: [GRPC.replace('host: a', 'host: b')],
  },
  {
    name: 'a formatted answer to a fault does not know its flag yet',
    hcm: { local_reply_config: { body_format: { text_format_source: { inline_string: '%RESPONSE_FLAGS%|' } } } },
    client: ['GET /a HTTP/1.1\r\nno-colon\r\n\r\n'],
  },
  {
    name: 'internal redirect of the last request of a connection',
    route: { internal_redirect_policy: {} },
    client: [get('connection: close') + GET],
    upstream: redirecting('http://a/b'),
  },
  {
    name: 'the status after 100 Continue, in headers of a local reply',
    routeEntry: { response_headers_to_add: add(['x-code', '%RESPONSE_CODE%']) },
    client: [GET.replace('host', 'expect: 100-continue\r\nhost')],
    upstream: refuse,
  },
  ...[GET, GRPC].map((request) => ({
    name: `an answer cut short: ${JSON.stringify(request)}`,
    client: [request],
    upstream: (_head: string, socket: Socket): null => {
      socket.end('HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 9\r\n\r\nok')
      return null
    },
  })),
  ...[{}, { disabled: true }].flatMap((chain) =>
    [{}, { typed_per_filter_config: perRoute }].map((route) => ({
      name: `a filter of the chain ${JSON.stringify(chain)}, of the route ${JSON.stringify(route)}`,
      filters: [
        {
          ...filter('header_mutation', 'HeaderMutation', {
            mutations: { response_mutations: [{ append: add(['x-chain', '%REQ(:path)%'])[0] }] },
          }),
          ...chain,
        },
      ],
      routeEntry: route,
      client: [GET],
      upstream: () => OK,
    })),
  ),
  {
    name: 'a body too large for its filter',
    filters: [filter('buffer', 'Buffer', { max_request_bytes: 3 })],
    client: [`POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello${GET}`],
  },
  ...['', '\r\n'].flatMap((before) =>
    ['tGET / HTTP/1.1', 'GET / HTTP/1.1'].map((line) => ({
      name: `much too large a head after ${JSON.stringify(before + line)}`,
      hcm: { max_request_headers_kb: 8 },
      client: [`${before}${line}\r\nhost: a\r\nx: ${'l'.repeat(15_000)}\r\n\r\n`],
    })),
  ),
  ...['\x7fGET /', 'tGET /', 'tGET /\x7f', '/GET /\x7f', '\xe9GET /', '"GET /'].flatMap((start) => [
    { name: `a request that begins with ${JSON.stringify(start)}`, client: [`${start} HTTP/1.1\r\nhost: a\r\n\r\n`] },
    {
      name: `half a request that begins with ${JSON.stringify(start)}`,
      client: [`${start} HT`, 'TP/1.1\r\nhost: a\r\n\r\n'],
    },
  ]),
]

const numbered = SCENARIOS.map((scenario, i) => {
  if (scenario.name.startsWith('mirrored'))
    return { ...scenario, route: { request_mirror_policies: [{ cluster: `c${i}` }] } }
  if (scenario.name.startsWith('headers of a weighted')) return { ...scenario, virtualHost: weightedRoutes(`c${i}`) }
  return /^internal redirect (to|of)/.test(scenario.name)
    ? { ...scenario, virtualHost: redirectRoutes(`c${i}`) }
    : scenario
})

describeBeside('found differences', numbered, {
  // Envoy restores the scheme of a redirect that it does not follow as `http,https`.
  logged: (line) => ({ ...(line as object), scheme: String((line as { scheme: unknown }).scheme).replace(/^.*,/, '') }),
  counted: (i) =>
    new RegExp(
      `^(cluster\\.c${i}\\.((\\w+\\.)*upstream_rq_(?!pending_total|time)|upstream_internal|update_|upstream_cx_protocol_error)|http\\.s${i}\\.(downstream_rq|rq_|no_|passthrough|downstream_cx_(max|protocol)))`,
    ),
})
