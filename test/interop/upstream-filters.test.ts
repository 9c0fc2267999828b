// Upstream HTTP filters beside real Envoy: of the router and of clusters, with retries, bodies, answers of their own.

import { type Case, describeCases, filter, http1, http2 } from './generated/cases.ts'
import { describeBeside } from './harness/beside.ts'
import type { Scenario } from './harness/play.ts'

const CODEC = filter('upstream_codec', 'UpstreamCodec')
const router = (...upstream_http_filters: object[]): object => ({
  http_filters: [filter('router', 'Router', { upstream_http_filters: [...upstream_http_filters, CODEC] })],
})
type Mutation = readonly [name: string, value: string, action?: string]
const set = (list: readonly Mutation[]): object[] =>
  list.map(([key, value, append_action = 'OVERWRITE_IF_EXISTS_OR_ADD']) => ({
    append: { header: { key, value }, append_action },
  }))
const mutation = (request: readonly Mutation[], response: readonly Mutation[] = []): object =>
  filter('header_mutation', 'HeaderMutation', {
    mutations: { request_mutations: set(request), response_mutations: set(response) },
  })
const named = (name: string, one: object): object => ({ ...one, name })
const buffer = (max_request_bytes: number): object => filter('buffer', 'Buffer', { max_request_bytes })
const retry = { retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' } } }
const T = 'type.googleapis.com/envoy.extensions.filters.http.'
const perRoute = (name: string, message: string, fields: object): object => ({
  typed_per_filter_config: { [name]: { '@type': `${T}${message}`, ...fields } },
})
const off = (name: string, disabled: boolean): object => ({
  typed_per_filter_config: {
    [name]: {
      '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
      disabled,
      config: { '@type': `${T}header_mutation.v3.HeaderMutationPerRoute` },
    },
  },
})

const MUTATES = mutation(
  [
    ['x-up', '%REQ(:path)% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_CLUSTER%'],
    ['x-more', 'm', 'APPEND_IF_EXISTS_OR_ADD'],
  ],
  [['x-down', '%RESPONSE_CODE% %RESP(x-answered)%']],
)
const both = (
  name: string,
  fields: Omit<Case, 'name' | 'client'>,
  headers = {},
  body: string[] | null = null,
): Case[] => [
  { name: `${name}, HTTP/1`, ...fields, client: http1(headers, body) },
  { name: `${name}, HTTP/2`, ...fields, client: [http2(headers, body)] },
  { name: `${name}, to HTTP/2`, ...fields, route: { ...fields.route, cluster: 'up2' }, client: [http2(headers, body)] },
]

const CASES: readonly Case[] = [
  ...both('the codec alone', { manager: router() }),
  ...both('mutations', { manager: router(MUTATES) }),
  ...both('mutations, of a body', { manager: router(MUTATES) }, {}, ['123', '456']),
  ...both('mutations, of what the client sends', { manager: router(MUTATES) }, { 'x-up': 'c', 'x-more': 'c' }),
  ...both('two of them', {
    manager: router(
      mutation([['x-a', '1']], [['x-b', '1']]),
      named('second', mutation([['x-a', '2', 'APPEND_IF_EXISTS_OR_ADD']], [['x-b', '2', 'APPEND_IF_EXISTS_OR_ADD']])),
    ),
  }),
  ...both('retries', { manager: router(MUTATES), route: retry }, { 'x-answer': '503;503;200' }),
  ...both('retries of a body', { manager: router(MUTATES), route: retry }, { 'x-answer': '503;200' }, ['123', '456']),
  ...both(
    'a header that asks for a retry',
    { manager: router(mutation([['x-envoy-retry-on', '5xx']])) },
    { 'x-answer': '503;200' },
  ),
  ...both('an answer without a body', { manager: router(MUTATES) }, { 'x-answer': '204' }),
  ...both('100', { manager: { ...router(MUTATES), proxy_100_continue: true } }, { 'x-answer': '100,200' }),
  ...both('upstream resets', { manager: router(MUTATES), route: retry }, { 'x-answer': 'reset;200' }),
  ...[4, 6, 7].flatMap((limit) => [
    ...both(`buffer, limit ${limit}`, { manager: router(buffer(limit)) }, {}, ['123', '456']),
    ...both(`buffer, limit ${limit}, one piece`, { manager: router(buffer(limit)) }, {}, ['123456']),
    ...both(
      `buffer, limit ${limit}, retries`,
      { manager: router(buffer(limit)), route: retry },
      { 'x-answer': '503;200' },
      ['123', '456'],
    ),
  ]),
  ...both('buffer, no body', { manager: router(buffer(5)) }),
  ...both(
    'buffer, off for the route',
    {
      manager: router(buffer(5)),
      routeEntry: perRoute('envoy.filters.http.buffer', 'buffer.v3.BufferPerRoute', { disabled: true }),
    },
    {},
    ['123', '456'],
  ),
  ...both(
    'buffer, larger for the route',
    {
      manager: router(buffer(5)),
      routeEntry: perRoute('envoy.filters.http.buffer', 'buffer.v3.BufferPerRoute', {
        buffer: { max_request_bytes: 10 },
      }),
    },
    {},
    ['123', '456'],
  ),
  ...both('mutations of the route', {
    manager: router(mutation([['x-a', 'filter']])),
    routeEntry: perRoute('envoy.filters.http.header_mutation', 'header_mutation.v3.HeaderMutationPerRoute', {
      mutations: { request_mutations: set([['x-a', 'route', 'APPEND_IF_EXISTS_OR_ADD']]) },
    }),
  }),
  ...both('disabled', { manager: router({ ...(mutation([['x-a', '1']]) as object), disabled: true }) }),
  ...both('disabled, on for the route', {
    manager: router({ ...(mutation([['x-a', '1']]) as object), disabled: true }),
    routeEntry: off('envoy.filters.http.header_mutation', false),
  }),
  ...both('disabled for the route', {
    manager: router(mutation([['x-a', '1']])),
    routeEntry: off('envoy.filters.http.header_mutation', true),
  }),
  ...both('mirrored', { manager: router(MUTATES), route: { request_mirror_policies: [{ cluster: 'mirror' }] } }, {}, [
    '12',
  ]),
]

describeCases('upstream HTTP filters of the router', CASES)

const PROTOCOL = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const cluster = (...http_filters: object[]): object => ({
  typed_extension_protocol_options: {
    [PROTOCOL]: {
      '@type': `type.googleapis.com/${PROTOCOL}`,
      explicit_http_config: { http_protocol_options: {} },
      http_filters,
    },
  },
})
const get = 'GET /p HTTP/1.1\r\nhost: a\r\nx-in: 1\r\n\r\n'
const tells = (head: string): string => {
  const told = head.match(/^x-[a-z]+: .*$/gim) ?? []
  return `HTTP/1.1 200 OK\r\n${told.map((line) => `x-told: ${line.trim()}\r\n`).join('')}content-length: 0\r\n\r\n`
}
const upgrade = 'GET /p HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n'
const websocket = { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] } }
const agrees = (head: string): string =>
  /upgrade: websocket/i.test(head)
    ? 'HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello'
    : tells(head)

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'compressed for the upstream',
    hcm: { generate_request_id: false },
    cluster: cluster(
      filter('compressor', 'Compressor', {
        request_direction_config: { common_config: { min_content_length: 30 } },
        compressor_library: {
          name: 'gzip',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip' },
        },
      }),
      CODEC,
    ),
    client: [
      `POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\n${'a'.repeat(1000)}`,
    ],
    upstream: (head) =>
      tells(
        head
          .replaceAll(/^(content|transfer|accept|vary)/gim, 'x-$1')
          .replaceAll(/^x-[a-z]+-/gim, (name) => name.replaceAll('-', '').replace('x', 'x-')),
      ),
  },
  { name: 'of a cluster', cluster: cluster(MUTATES, CODEC), client: [get], upstream: tells },
  {
    name: 'of a cluster and of the router: the cluster’s',
    cluster: cluster(mutation([['x-up', 'cluster']]), CODEC),
    router: { upstream_http_filters: [mutation([['x-other', 'router']]), CODEC] },
    client: [get],
    upstream: tells,
  },
  {
    name: 'a cluster with the codec alone: no others',
    cluster: cluster(CODEC),
    router: { upstream_http_filters: [mutation([['x-other', 'router']]), CODEC] },
    client: [get],
    upstream: tells,
  },
  {
    name: 'WebSocket',
    ...websocket,
    cluster: cluster(MUTATES, CODEC),
    client: [upgrade, 'bytes'],
    upstream: agrees,
  },
  {
    name: 'WebSocket, refused',
    ...websocket,
    cluster: cluster(MUTATES, CODEC),
    client: [upgrade],
    upstream: tells,
  },
  {
    name: 'WebSocket, buffered',
    ...websocket,
    cluster: cluster(buffer(100), CODEC),
    client: [upgrade, 'bytes'],
    upstream: agrees,
  },
  {
    name: 'an answer before the end of the request',
    cluster: cluster(buffer(100), CODEC),
    client: ['POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345', '67890'],
    upstream: tells,
  },
  {
    name: 'nobody there',
    cluster: { ...cluster(MUTATES, CODEC), load_assignment: { cluster_name: 'none', endpoints: [] } },
    client: [get],
  },
]

describeBeside('upstream HTTP filters of clusters', SCENARIOS, {
  counted: () => /^(cluster|http).*_r[qs]_|[.]compressed$/,
})
