// Filters that look at requests and slow bodies, beside real Envoy: header_to_metadata, set_filter_state, bandwidth_limit,
// health_check and grpc_http1_bridge.

import { generateKeyPairSync } from 'node:crypto'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'
import { joinChunks } from './harness/responses.ts'

const filter = (name: string, message: string, config: object = {}) => ({
  name: `envoy.filters.http.${name}`,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.http.${name}.v3.${message}`, ...config },
})
const get = (headers = '', path = '/'): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n${headers}\r\n`
const answer =
  (headers = '', body = '') =>
  (): string =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n${headers}\r\n${body}`
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')

const toMetadata = (config: object) => filter('header_to_metadata', 'Config', config)
const METADATA = {
  own: '%DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)%',
  lb: '%DYNAMIC_METADATA(envoy.lb)%',
}
const onPresent = (header: string, more: object): object => ({ header, on_header_present: { key: header, ...more } })

const state = (key: string, text: string, more: object = {}, format: object = {}): object => ({
  object_key: key,
  format_string: { text_format_source: { inline_string: text }, ...format },
  ...more,
})
const STRING = { factory_key: 'envoy.string' }
const setState = (...values: object[]) => filter('set_filter_state', 'Config', { on_request_headers: values })
const plainState = (...keys: string[]): object =>
  Object.fromEntries(keys.map((key) => [key.replaceAll('.', '_'), `%FILTER_STATE(${key}:PLAIN)%`]))

const JWKS = JSON.stringify({
  keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid: 'k' }],
})

let limits = 0
const bandwidth = (mode: string, config: object = {}) =>
  filter('bandwidth_limit', 'BandwidthLimit', {
    stat_prefix: `limit${limits++}`,
    enable_mode: mode,
    limit_kbps: 10,
    ...config,
  })

const healthCheck = (config: object = {}) =>
  filter('health_check', 'HealthCheck', {
    pass_through_mode: false,
    headers: [{ name: ':path', string_match: { exact: '/healthz' } }],
    ...config,
  })
const HEALTHZ = get('', '/healthz')

const bridge = (config: object = {}) => filter('grpc_http1_bridge', 'Config', config)
const TRAILERS = { upstreamHttp1: { enable_trailers: true } }
const call = (type = 'application/grpc', body = '\0\0\0\0\x02hi', path = '/s/m?x=1'): string =>
  `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
const grpcAnswer =
  (trailers: string) =>
  (head: string): string => {
    const line = head.split('\r\n', 1)[0]
    const type = /content-type: (.*)\r/.exec(head)?.[1]
    return `HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\nx-line: ${line}\r\nx-type: ${type}\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\0\0\0\r\n4\r\n\0\x02ok\r\n0\r\n${trailers}\r\n`
  }

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'header_to_metadata: headers, cookies and kinds of values',
    filters: [
      toMetadata({
        stat_prefix: 'kinds',
        request_rules: [
          {
            header: 'X-A',
            on_header_present: { metadata_namespace: 'envoy.lb', key: 'a' },
            on_header_missing: { key: 'a', value: 'none' },
            remove: true,
          },
          onPresent('x-n', { type: 'NUMBER' }),
          { cookie: 'c', on_header_present: { key: 'c' } },
          { cookie: 'd', on_header_present: { key: 'd', value: 'given' } },
          onPresent('x-b', { encode: 'BASE64' }),
          onPresent('x-p', { type: 'PROTOBUF_VALUE', encode: 'BASE64' }),
          onPresent('x-re', { regex_value_rewrite: { pattern: { regex: '(.*)-(.*)' }, substitution: '\\2' } }),
          { header: 'x-gone', on_header_missing: { key: 'gone', value: '1', type: 'NUMBER' } },
        ],
        response_rules: [{ ...onPresent('x-r', {}), remove: true }],
      }),
    ],
    log: METADATA,
    client: [
      `x-a: 1\r\nx-a: 2\r\nx-n:  12.5\r\ncookie: c=1; d=2\r\nx-b: ${base64('hi')}\r\nx-p: ${base64('\x1a\x02hi')}\r\nx-re: q-w\r\nx-gone: x\r\n`,
      'x-n: abc\r\nx-b: !!\r\nx-p: aaa\r\nx-re: none\r\n',
      'x-a: \r\nx-re: a-\r\n',
      `x-a: ${'y'.repeat(9000)}\r\nx-n: 0x10\r\nx-b: ${base64('hi').replace(/=/g, '')}\r\n`,
      `x-n: 1e3\r\nx-p: ${base64('\x11\0\0\0\0\0\0\xf8\x3f')}\r\n`,
      'x-n: -.5\r\n',
    ].map((headers) => get(headers)),
    upstream: (head) => answer(`x-r: 7\r\nx-got: ${head.includes('x-a')}\r\n`)(),
  },
  {
    name: 'header_to_metadata: rules of the route',
    filters: [toMetadata({ request_rules: [onPresent('x-a', {})] })],
    routeEntry: {
      typed_per_filter_config: {
        'envoy.filters.http.header_to_metadata': toMetadata({ request_rules: [onPresent('x-b', {})] }).typed_config,
      },
    },
    log: METADATA,
    client: [get('x-a: 1\r\nx-b: 2\r\n')],
    upstream: answer(),
  },
  {
    name: 'set_filter_state: strings',
    filters: [
      setState(
        state('my.key', '%REQ(x-a)%-x', STRING),
        state('skipped', '%REQ(x-none)%', { ...STRING, skip_if_empty: true }, { omit_empty_values: true }),
        state('absent', '%REQ(x-none)%', STRING),
        state('empty', '%REQ(x-none)%', STRING, { omit_empty_values: true }),
        state('fixed', 'first', { ...STRING, read_only: true }),
        state('envoy.network.upstream_server_name', 'sni.example'),
      ),
    ],
    log: plainState('my.key', 'skipped', 'absent', 'empty', 'fixed', 'envoy.network.upstream_server_name'),
    client: [get('x-a: v\r\n'), get()],
    upstream: answer(),
  },
  {
    name: 'jwt_authn: filter_state_rules',
    filters: [
      setState(state('tenant', '%REQ(x-a)%', { ...STRING, skip_if_empty: true }, { omit_empty_values: true })),
      {
        name: 'envoy.filters.http.jwt_authn',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
          providers: { p: { issuer: 'i', local_jwks: { inline_string: JWKS } } },
          rules: [{ match: { prefix: '/open' } }, { match: { prefix: '/closed' }, requires: { provider_name: 'p' } }],
          filter_state_rules: {
            name: 'tenant',
            requires: {
              strict: { provider_name: 'p' },
              easy: { allow_missing: {} },
              either: { requires_any: { requirements: [{ provider_name: 'p' }, { allow_missing: {} }] } },
            },
          },
        },
      },
    ],
    client: [
      ...['strict', 'easy', 'either', 'other', 'toString', ''].flatMap((value) => [
        get(`x-a: ${value}\r\n`),
        get(`x-a: ${value}\r\nauthorization: Bearer a.b.c\r\n`),
      ]),
      ...['ab.b.c', 'e30.b.c', 'e30.e30.c', 'eyJhbGciOiJFUzI1NiJ9.b.c', 'eyJhbGciOiJFUzI1NiJ9.e30.c', 'a=.b.c'].map(
        (token) => get(`x-a: strict\r\nauthorization: Bearer ${token}\r\n`),
      ),
      get(),
      ...['/open', '/closed'].map((path) => `GET ${path} HTTP/1.1\r\nhost: a\r\nx-a: strict\r\n\r\n`),
    ],
    quietMs: 200,
    upstream: answer(),
  },
  {
    name: 'set_filter_state: of the route, too',
    filters: [setState(state('a', '1', STRING), state('b', '1', STRING))],
    routeEntry: {
      typed_per_filter_config: {
        'envoy.filters.http.set_filter_state': setState(state('b', '2', STRING)).typed_config,
      },
    },
    virtualHost: {
      typed_per_filter_config: {
        'envoy.filters.http.set_filter_state': setState(state('b', '3', STRING), state('c', '3', STRING)).typed_config,
      },
    },
    log: plainState('a', 'b', 'c'),
    client: [get()],
    upstream: answer(),
  },
  {
    name: 'bandwidth_limit: responses',
    filters: [bandwidth('RESPONSE')],
    client: [get()],
    upstream: answer('', 'x'.repeat(400)),
  },
  {
    name: 'bandwidth_limit: both ways, with trailers',
    filters: [bandwidth('REQUEST_AND_RESPONSE', { enable_response_trailers: true, response_trailer_prefix: 'Test' })],
    hcm: { http_protocol_options: { enable_trailers: true } },
    ...TRAILERS,
    client: [get('te: trailers\r\n')],
    upstream: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2ee0\r\n${'x'.repeat(12_000)}\r\n0\r\n\r\n`,
  },
  {
    name: 'bandwidth_limit: requests',
    filters: [bandwidth('REQUEST')],
    client: [`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 600\r\n\r\n${'y'.repeat(600)}`],
    upstream: (_head, socket) => {
      setTimeout(() => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), 200)
      return null
    },
    quietMs: 600,
  },
  {
    name: 'bandwidth_limit: off',
    filters: [bandwidth('RESPONSE', { runtime_enabled: { default_value: false, runtime_key: 'limit' } })],
    client: [get()],
    upstream: answer('', 'x'.repeat(400)),
  },
  {
    name: 'bandwidth_limit: of the route',
    filters: [bandwidth('DISABLED')],
    routeEntry: {
      typed_per_filter_config: { 'envoy.filters.http.bandwidth_limit': bandwidth('RESPONSE').typed_config },
    },
    client: [get()],
    upstream: answer('', 'x'.repeat(400)),
  },
  {
    name: 'health_check: of the proxy itself',
    filters: [healthCheck()],
    client: [HEALTHZ, get(), 'POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc'],
    upstream: answer('', 'hi'),
  },
  {
    name: 'health_check: passed on and cached',
    filters: [healthCheck({ pass_through_mode: true, cache_time: '600s' })],
    client: [HEALTHZ, HEALTHZ, get()],
    upstream: answer('x-envoy-degraded: 1\r\n', 'hi'),
  },
  {
    name: 'health_check: passed on, a failure',
    filters: [healthCheck({ pass_through_mode: true, cache_time: '600s' })],
    client: [HEALTHZ, HEALTHZ],
    upstream: () => 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n',
  },
  {
    name: 'health_check: a cluster that is not there',
    filters: [healthCheck({ cluster_min_healthy_percentages: { nope: { value: 0 } } })],
    client: [HEALTHZ],
    upstream: answer(),
  },
  ...[0, 10].map(
    (value): Scenario => ({
      name: `health_check: a cluster without hosts, ${value} %`,
      filters: [healthCheck({ cluster_min_healthy_percentages: { empty: { value } } })],
      client: [HEALTHZ],
      upstream: answer(),
    }),
  ),
  ...[50, 51].map(
    (value): Scenario => ({
      name: `health_check: half of a cluster, ${value} %`,
      filters: [healthCheck({ cluster_min_healthy_percentages: { half: { value } } })],
      client: [HEALTHZ],
      upstream: answer(),
    }),
  ),
  {
    name: 'grpc_http1_bridge: success',
    ...TRAILERS,
    filters: [bridge()],
    client: [call()],
    upstream: grpcAnswer('grpc-status: 0\r\n'),
  },
  {
    name: 'grpc_http1_bridge: failure',
    ...TRAILERS,
    filters: [bridge()],
    client: [call()],
    upstream: grpcAnswer('grpc-status: 5\r\ngrpc-message: nope\r\n'),
  },
  {
    name: 'grpc_http1_bridge: trailers only',
    filters: [bridge()],
    client: [call()],
    upstream: answer('content-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: nope\r\n'),
  },
  {
    name: 'grpc_http1_bridge: no trailers',
    filters: [bridge()],
    client: [call()],
    upstream: answer('content-type: application/grpc\r\n', '\0\0\0\0\0'),
  },
  {
    name: 'grpc_http1_bridge: not gRPC',
    ...TRAILERS,
    filters: [bridge({ upgrade_protobuf_to_grpc: true, ignore_query_parameters: true })],
    client: [call('text/plain')],
    upstream: grpcAnswer('grpc-status: 5\r\n'),
  },
  {
    name: 'grpc_http1_bridge: messages without frames',
    ...TRAILERS,
    filters: [bridge({ upgrade_protobuf_to_grpc: true, ignore_query_parameters: true })],
    client: [call('application/x-protobuf', 'hello'), call('application/grpc')],
    upstream: grpcAnswer('grpc-status: 0\r\n'),
  },
  {
    name: 'grpc_http1_bridge: messages without frames, a query that stays',
    ...TRAILERS,
    filters: [bridge({ upgrade_protobuf_to_grpc: true })],
    client: [call('application/x-protobuf', 'hello')],
    upstream: grpcAnswer('grpc-status: 7\r\n'),
  },
]

const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
const cluster = (name: string, statuses: readonly string[]): object => ({
  name,
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: statuses.map((health_status, i) => ({ health_status, endpoint: { address: address(i + 1) } })),
      },
    ],
  },
})

/** Delays are as they happen. */
const told = (received: string): string => joinChunks(received).replace(/(-delay-ms): \d+/g, '$1: N')

describeBeside('filters of requests and bodies', SCENARIOS, {
  counted: (i, { filters }) => {
    const config = filters?.[0]?.typed_config as { stat_prefix?: string }
    const own = config.stat_prefix ?? 'none'
    return new RegExp(
      `^(http_filter_name\\.${own}\\.|${own}\\.http_bandwidth_limit\\.(?!.*(_(allowed|incoming)_size|_enforced))|http\\.s${i}\\.(health_check|tracing|downstream_rq_(completed|\\dxx|total)))`,
    )
  },
  told,
  bootstrap: (made) => {
    const { static_resources } = made as { static_resources: { clusters: object[] } }
    static_resources.clusters.push(cluster('empty', []), cluster('half', ['HEALTHY', 'UNHEALTHY']))
    return made
  },
})
