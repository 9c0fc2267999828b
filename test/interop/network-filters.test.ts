// Network filters side by side: what the client gets and what is counted must be equal in real Envoy and ours.

import assert from 'node:assert/strict'
import type { Http2Server } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type JsonValue, toJson } from '@bufbuild/protobuf'
import { RateLimitRequestSchema } from '../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { startRateLimitService } from './harness/rate-limit-service.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.network.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })

/** A message of the Mongo wire protocol. */
function mongo(operation: number, body = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16)
  head.writeInt32LE(16 + body.length, 0)
  head.writeInt32LE(operation, 12)
  return Buffer.concat([head, body])
}

/** OP_GET_MORE: zero, collection, number, cursor. */
const GET_MORE = mongo(2005, Buffer.concat([Buffer.alloc(4), Buffer.from('db.c\0'), Buffer.alloc(12)]))
/** OP_KILL_CURSORS: zero, no cursors. */
const KILL_CURSORS = mongo(2007, Buffer.alloc(8))

interface Case {
  readonly name: string
  readonly filter: object
  readonly stats: string
  /** Each connection stays open; what it sends, and gets back from the echo. */
  readonly connections: readonly Buffer[]
  /** Counters that differ: Envoy sees the echo's messages as well. */
  readonly ignored?: RegExp
}

const CASES: readonly Case[] = [
  {
    name: 'connection_limit',
    filter: { '@type': type('connection_limit.v3.ConnectionLimit'), stat_prefix: 'a', max_connections: 2 },
    stats: 'connection_limit.a',
    connections: [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')],
  },
  {
    name: 'connection_limit with delay',
    filter: {
      '@type': type('connection_limit.v3.ConnectionLimit'),
      stat_prefix: 'b',
      max_connections: 1,
      delay: '0.1s',
    },
    stats: 'connection_limit.b',
    connections: [Buffer.from('one'), Buffer.from('two')],
  },
  {
    name: 'connection_limit disabled',
    filter: {
      '@type': type('connection_limit.v3.ConnectionLimit'),
      stat_prefix: 'c',
      max_connections: 1,
      runtime_enabled: { default_value: false, runtime_key: 'foo' },
    },
    stats: 'connection_limit.c',
    connections: [Buffer.from('one'), Buffer.from('two')],
  },
  {
    name: 'local_ratelimit',
    filter: {
      '@type': type('local_ratelimit.v3.LocalRateLimit'),
      stat_prefix: 'd',
      token_bucket: { max_tokens: 1, fill_interval: '600s' },
    },
    stats: 'local_rate_limit.d',
    connections: [Buffer.from('one'), Buffer.from('two')],
  },
  {
    name: 'mongo_proxy',
    filter: { '@type': type('mongo_proxy.v3.MongoProxy'), stat_prefix: 'e' },
    stats: 'mongo.e',
    ignored: /op_/,
    connections: [Buffer.concat([GET_MORE, KILL_CURSORS, GET_MORE]), mongo(4711), Buffer.from('ab')],
  },
  ...(['ok', 'over', 'error', '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%', '%UPSTREAM_HOST%'] as const).flatMap(
    (value, i) =>
      [false, true].map(
        (failure_mode_deny): Case => ({
          name: `ratelimit: ${value}${failure_mode_deny ? ', failures deny' : ''}`,
          filter: {
            '@type': type('ratelimit.v3.RateLimit'),
            stat_prefix: `rate${i}${failure_mode_deny}`,
            domain: 'd',
            descriptors: [
              { entries: [{ key: 'k', value }] },
              {
                entries: [{ key: 'l', value: 'own' }],
                limit: { requests_per_unit: 5, unit: 'DAY' },
                hits_addend: 3,
                is_negative_hits: true,
              },
            ],
            timeout: '5s',
            failure_mode_deny,
            rate_limit_service: {
              transport_api_version: 'V3',
              grpc_service: { envoy_grpc: { cluster_name: 'limits', authority: 'limits.example' } },
            },
          },
          stats: `ratelimit.rate${i}${failure_mode_deny}`,
          connections: [Buffer.from('one'), Buffer.from('two')],
        }),
      ),
  ),
]

function bootstrap(ports: Ports, listeners: readonly number[], limits: number): object {
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      clusters: [
        {
          name: 'limits',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'limits',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(limits) } }] }],
          },
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        },
      ],
      listeners: CASES.map((entry, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        filter_chains: [
          {
            filters: [
              { name: 'f', typed_config: entry.filter },
              { name: 'echo', typed_config: { '@type': type('echo.v3.Echo') } },
            ],
          },
        ],
      })),
    },
  }
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('network filters', { skip }, () => {
  const sides: { proxy: RunningProxy; listeners: number[]; questions: JsonValue[] }[] = []

  const services: Http2Server[] = []

  before(async () => {
    for (const name of ['envoy', 'outrigger'] as const) {
      const questions: JsonValue[] = []
      const service = await startRateLimitService((request) => {
        questions.push(toJson(RateLimitRequestSchema, request))
      })
      services.push(service)
      const limits = (service.address() as AddressInfo).port
      const listeners = await Promise.all(CASES.map(() => freePort()))
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, limits))
      sides.push({ proxy, listeners, questions })
    }
  })

  after(async () => {
    await Promise.all(sides.map((side) => side.proxy.stop()))
    for (const service of services) service.close()
  })

  for (const [i, entry] of CASES.entries()) {
    test(entry.name, async () => {
      const results = await Promise.all(
        sides.map(async ({ proxy, listeners, questions }) => {
          const sockets: Socket[] = []
          const answers: string[] = []
          for (const bytes of entry.connections) {
            const socket = connect(listeners[i]!, '127.0.0.1')
            sockets.push(socket)
            answers.push(await echoOf(socket, bytes))
          }
          const stats = (await proxy.admin(`/stats?usedonly&filter=^${entry.stats}`))
            .split('\n')
            .filter((l) => /: \d+$/.test(l) && !entry.ignored?.test(l))
          for (const socket of sockets) socket.destroy()
          return { answers, stats, questions: questions.splice(0) }
        }),
      )
      const [envoy, ours] = results as [(typeof results)[0], (typeof results)[0]]
      assert.deepEqual(ours, envoy)
    })
  }
})

/** What comes back for `bytes`, or `closed`. */
async function echoOf(socket: Socket, bytes: Buffer): Promise<string> {
  let got = Buffer.alloc(0)
  let closed = false
  socket.on('error', () => {})
  socket.on('data', (chunk) => (got = Buffer.concat([got, chunk])))
  socket.on('close', () => (closed = true))
  socket.write(bytes)
  while (!closed && got.length < bytes.length) await new Promise((resolve) => setTimeout(resolve, 5))
  return closed ? 'closed' : got.toString('hex')
}
