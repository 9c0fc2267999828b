// What the filter ext_authz asks a gRPC authorization service, beside real Envoy: the same CheckRequest for the same request.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { Http2Server, IncomingHttpHeaders } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf'
import { CheckRequestSchema, CheckResponseSchema } from '../../src/api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { startGrpcService } from './harness/grpc-service.ts'
import { play, type Scenario } from './harness/play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address, linesOf, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const authz = (more: object = {}) => [
  {
    name: 'envoy.filters.http.ext_authz',
    typed_config: {
      '@type': type('filters.http.ext_authz.v3.ExtAuthz'),
      transport_api_version: 'V3',
      grpc_service: { envoy_grpc: { cluster_name: 'authorizer' }, timeout: '5s' },
      ...more,
    },
  },
]
const request = 'POST /p?q HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: two\r\nx-a: 3\r\ncontent-length: 2\r\n\r\nhi'
const METADATA = { filter_metadata: { 'com.example': { tier: 'gold', n: 3 }, other: { x: 1 } } }
const ok = (): string => 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'

const HTTP_SERVICE = {
  server_uri: { uri: 'http://authz.example/ignored', cluster: 'http-authorizer', timeout: '5s' },
}
const viaHttp = (more: object = {}, fields: object = {}): readonly { readonly name: string }[] =>
  authz({ grpc_service: undefined, http_service: { ...HTTP_SERVICE, ...more }, ...fields })
const GRPC_SERVICE = { envoy_grpc: { cluster_name: 'authorizer', authority: 'other.example' }, timeout: '5s' }
const settings = (check_settings: object): object => ({
  typed_per_filter_config: {
    'envoy.filters.http.ext_authz': { '@type': type('filters.http.ext_authz.v3.ExtAuthzPerRoute'), check_settings },
  },
})
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: 2\r\n\r\n`
const told = (head: string): string => {
  const lines = (head.match(/^(x-(?!request-id|forwarded)[a-z-]+|[a-z-]*host): .*$/gim) ?? []).sort()
  return `HTTP/1.1 200 OK\r\n${lines.map((line) => `x-told: ${line.trim()}\r\n`).join('')}content-length: 0\r\n\r\n`
}

/** A route asks another service than the filter. */
const OVERRIDES: readonly Scenario[] = [
  ['gRPC by gRPC', authz(), { grpc_service: GRPC_SERVICE }],
  ['gRPC by HTTP', authz(), { http_service: { ...HTTP_SERVICE, path_prefix: '/pre' } }],
  [
    'HTTP by gRPC',
    viaHttp({ authorization_request: { allowed_headers: { patterns: [{ exact: 'x-a' }] } } }),
    { grpc_service: GRPC_SERVICE },
  ],
  [
    'HTTP by HTTP',
    viaHttp({ path_prefix: '/filter', authorization_request: { allowed_headers: { patterns: [{ exact: 'x-a' }] } } }),
    {
      http_service: {
        ...HTTP_SERVICE,
        path_override: '/route?own',
        authorization_request: {
          allowed_headers: { patterns: [{ exact: 'x-b' }] },
          headers_to_add: [{ key: 'x-c', value: '3' }],
        },
      },
    },
  ],
].map(([name, filters, check]) => ({
  name: `the route's service: ${name as string}`,
  filters: filters as Scenario['filters'],
  routeEntry: settings({ context_extensions: { of: 'route', both: 'route' }, ...(check as object) }),
  virtualHost: settings({ context_extensions: { of_host: 'host', both: 'host' } }),
  client: [get('/p?q')],
  upstream: told,
}))

const RULES: readonly object[] = [
  {},
  { allow_all_routing: true },
  { allow_envoy: true },
  { allow_all_routing: true, disallow_system: true },
  { disallow_all: true },
  { disallow_all: true, allow_expression: { regex: 'x-s.*' } },
  { disallow_expression: { regex: 'x-s.*' } },
  { disallow_is_error: true },
  { disallow_expression: { regex: 'x-a' }, disallow_is_error: true },
  { allow_all_routing: true, allow_envoy: true, disallow_is_error: true },
]
/** What becomes of the answers. */
const ANSWERS: readonly Scenario[] = [
  { name: 'a path of its own', filters: viaHttp({ path_override: '/own' }), client: [get('/p?q')], upstream: told },
  ...[undefined, true, false].map(
    (enable_dynamic_metadata_ingestion): Scenario => ({
      name: `metadata of the answer, ${enable_dynamic_metadata_ingestion}`,
      filters: authz({ enable_dynamic_metadata_ingestion }),
      log: { metadata: '%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%' },
      client: [get('/metadata')],
      upstream: told,
    }),
  ),
  ...[0, 3, 100].map(
    (max_denied_response_body_bytes): Scenario => ({
      name: `body of a refusal, ${max_denied_response_body_bytes}`,
      filters: authz({ max_denied_response_body_bytes }),
      client: [get('/deny')],
      upstream: told,
    }),
  ),
  ...[undefined, ...RULES].flatMap((decoder_header_mutation_rules) =>
    ['/change', '/change-routing', '/change-envoy', '/remove'].map(
      (path): Scenario => ({
        name: `${path} by ${JSON.stringify(decoder_header_mutation_rules)}`,
        filters: authz({ decoder_header_mutation_rules }),
        client: [get(path)],
        upstream: told,
      }),
    ),
  ),
]

const SCENARIOS: readonly Scenario[] = [
  { name: 'headers as a map', filters: authz(), client: [request], upstream: ok },
  { name: 'raw headers', filters: authz({ encode_raw_headers: true }), client: [request], upstream: ok },
  {
    name: 'raw headers and a body',
    filters: authz({ encode_raw_headers: true, with_request_body: { max_request_bytes: 10 } }),
    client: [request],
    upstream: ok,
  },
  {
    name: 'metadata of the route',
    filters: authz({ route_metadata_context_namespaces: ['com.example', 'nothing'] }),
    routeEntry: { metadata: METADATA },
    client: [request],
    upstream: ok,
  },
  {
    name: 'metadata of the call',
    filters: authz({
      grpc_service: {
        envoy_grpc: { cluster_name: 'authorizer', authority: 'authz.example' },
        timeout: '5s',
        initial_metadata: [
          { key: 'Authorization', value: 'Bearer secret' },
          { key: 'x-from', value: 'one' },
          { key: 'x-from', value: 'two' },
        ],
      },
    }),
    client: [request],
    upstream: ok,
  },
  {
    name: 'metadata of the call by formats',
    filters: authz({
      grpc_service: {
        envoy_grpc: { cluster_name: 'authorizer' },
        timeout: '5s',
        initial_metadata: [
          { key: 'authorization', value: '%REQ(:METHOD)% %REQ(x-none)% %PROTOCOL% 100%%' },
          { key: 'x-from', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' },
        ],
      },
    }),
    client: [request],
    upstream: ok,
  },
  {
    name: 'metadata of the call by formats that give nothing',
    filters: authz({
      grpc_service: {
        envoy_grpc: { cluster_name: 'authorizer' },
        timeout: '5s',
        initial_metadata: [
          { key: 'authorization', value: '%REQ(x-none)%' },
          { key: 'x-from', value: 'first' },
          { key: 'x-from', value: '%REQ(x-none)%' },
        ],
      },
    }),
    client: [request],
    upstream: ok,
  },
  ...[{}, { charge_cluster_response_stats: false }].map(
    (fields): Scenario => ({
      name: `refused, ${JSON.stringify(fields)}`,
      filters: authz(fields),
      client: ['GET /deny HTTP/1.1\r\nhost: a\r\n\r\n'],
      upstream: ok,
    }),
  ),
  ...OVERRIDES,
  ...ANSWERS,
  {
    name: 'metadata of a route that has none',
    filters: authz({ route_metadata_context_namespaces: ['com.example'] }),
    client: [request],
    upstream: ok,
  },
]

const changes = (...pairs: [key: string, value: string][]): JsonObject => ({
  headers: pairs.map(([key, value]) => ({ header: { key, value } })),
})
/** By the path asked about; else the request is allowed. */
const ANSWER_OF: Readonly<Record<string, JsonObject>> = {
  '/deny': { status: { code: 7 }, denied_response: { status: { code: 'Forbidden' }, body: 'no entry' } },
  '/metadata': { dynamic_metadata: { a: 'b', n: 1 } },
  '/change': { ok_response: changes(['x-s', 'set'], ['x-a', 'changed']) },
  '/change-routing': { ok_response: changes(['host', 'other'], [':path', '/other'], ['x-s', 'set']) },
  '/change-envoy': { ok_response: changes(['x-envoy-own', '1'], ['x-s', 'set']) },
  '/remove': { ok_response: { headers_to_remove: ['x-a', ':path', 'host'] } },
}

/** Allows everything but /deny and keeps the questions, and the metadata beside them. */
function startAuthorizer(asked: unknown[]): Promise<Http2Server> {
  return startGrpcService((message, headers) => {
    const question = toJson(CheckRequestSchema, fromBinary(CheckRequestSchema, message))
    asked.push({ question, metadata: metadataOf(headers) })
    const text = JSON.stringify(question)
    const answer = Object.entries(ANSWER_OF).find(([path]) => text.includes(`"${path}"`))?.[1] ?? {}
    return toBinary(CheckResponseSchema, fromJson(CheckResponseSchema, answer))
  })
}

/** Allows everything and keeps what it is asked. */
async function startHttpAuthorizer(asked: unknown[]): Promise<Server> {
  const server = createHttpServer((request, response) => {
    const { date: _date, 'x-request-id': _id, ...headers } = request.headers
    asked.push({ method: request.method, url: request.url, headers })
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const metadataOf = (headers: IncomingHttpHeaders): unknown => [headers.authorization, headers['x-from']]

/** Ids, moments and ports are each proxy's own; a map has no order. */
function comparable(question: unknown): unknown {
  return JSON.parse(JSON.stringify(question), (key, value: unknown) => {
    if (key === 'time' || key === 'id' || key === 'portValue') return key
    if (key === 'x-request-id') return key
    const header = value as { key?: string; rawValue?: string } | null
    if (header?.key === 'x-request-id') return { ...header, rawValue: '' }
    // In the order of their names; those of one name stay in theirs.
    if (key === 'headers' && Array.isArray(value)) {
      const headers = value as { key: string }[]
      return headers.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    }
    return value
  })
}

const comparableAnswer = (text: string): string => text.replace(/^x-envoy-upstream-service-time: .*$/gim, '')

describe('ext_authz', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; asked: unknown[] }[] = []
  const servers: (Server | Http2Server)[] = []
  before(async () => {
    const upstreams: number[] = []
    for (const scenario of SCENARIOS) {
      const server = await startUpstream(scenario)
      servers.push(server)
      upstreams.push((server.address() as AddressInfo).port)
    }
    for (const name of ['envoy', 'outrigger'] as const) {
      const asked: unknown[] = []
      const authorizer = await startAuthorizer(asked)
      servers.push(authorizer)
      const http = await startHttpAuthorizer(asked)
      servers.push(http)
      const plain = {
        name: 'http-authorizer',
        type: 'STATIC',
        load_assignment: {
          cluster_name: 'http-authorizer',
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address((http.address() as AddressInfo).port) } }] }],
        },
      }
      const cluster = {
        name: 'authorizer',
        type: 'STATIC',
        load_assignment: {
          cluster_name: 'authorizer',
          endpoints: [
            { lb_endpoints: [{ endpoint: { address: address((authorizer.address() as AddressInfo).port) } }] },
          ],
        },
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': type('upstreams.http.v3.HttpProtocolOptions'),
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      }
      const listeners = await Promise.all(SCENARIOS.map(() => freePort()))
      const proxy = await startProxy(name, (ports) =>
        situationBootstrap(SCENARIOS, 'HTTP1', ports, listeners, upstreams, [cluster, plain]),
      )
      sides.push({ proxy, listeners, asked })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  for (const [i, scenario] of SCENARIOS.entries()) {
    it(scenario.name, async () => {
      const [theirs, mine] = sides
      const model = await play(theirs!.listeners[i]!, scenario, null)
      const ours = await play(mine!.listeners[i]!, scenario, model)
      assert.equal(comparableAnswer(ours.received), comparableAnswer(model.received))
      assert.equal(theirs!.asked.length, i + 1)
      assert.deepEqual(comparable(mine!.asked[i]), comparable(theirs!.asked[i]))
      const logged = async (side: typeof theirs): Promise<unknown> =>
        JSON.parse(JSON.stringify(await linesOf(side!.proxy, i, 1)).replace(/(ext_authz_duration":)\d+/, '$10'))
      assert.deepEqual(await logged(mine), await logged(theirs))
      const counted = new RegExp(
        `^cluster\\.c${i}\\.(.*upstream_rq_(\\d|completed)|ext_authz)|^http\\.s${i}\\.ext_authz`,
      )
      assert.deepEqual(await statsOf(mine!.proxy, counted), await statsOf(theirs!.proxy, counted))
    })
  }
})
