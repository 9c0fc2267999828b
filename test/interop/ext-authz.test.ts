// What the filter ext_authz asks a gRPC authorization service, beside real Envoy: the same CheckRequest for the same request.

import assert from 'node:assert/strict'
import type { Http2Server, IncomingHttpHeaders } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf'
import { CheckRequestSchema, CheckResponseSchema } from '../../src/api/gen/envoy/service/auth/v3/external_auth_pb.js'
import { startGrpcService } from './harness/grpc-service.ts'
import { play, type Scenario } from './harness/play.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

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
  {
    name: 'metadata of a route that has none',
    filters: authz({ route_metadata_context_namespaces: ['com.example'] }),
    client: [request],
    upstream: ok,
  },
]

/** Allows everything but /deny and keeps the questions, and the metadata beside them. */
function startAuthorizer(asked: unknown[]): Promise<Http2Server> {
  return startGrpcService((message, headers) => {
    const question = toJson(CheckRequestSchema, fromBinary(CheckRequestSchema, message))
    asked.push({ question, metadata: metadataOf(headers) })
    const denied = JSON.stringify(question).includes('/deny')
    return toBinary(CheckResponseSchema, create(CheckResponseSchema, { status: { code: denied ? 7 : 0 } }))
  })
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
        situationBootstrap(SCENARIOS, 'HTTP1', ports, listeners, upstreams, [cluster]),
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
      await play(mine!.listeners[i]!, scenario, model)
      assert.equal(theirs!.asked.length, i + 1)
      assert.deepEqual(comparable(mine!.asked[i]), comparable(theirs!.asked[i]))
      const counted = new RegExp(`^cluster\\.c${i}\\.(.*upstream_rq_(\\d|completed)|ext_authz)`)
      assert.deepEqual(await statsOf(mine!.proxy, counted), await statsOf(theirs!.proxy, counted))
    })
  }
})
