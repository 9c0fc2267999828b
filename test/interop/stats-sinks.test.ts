// stats_sinks beside real Envoy: what statsd, DogStatsD and Graphite servers are told over UDP and TCP.

import assert from 'node:assert/strict'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer as createHttpServer, request, type Server } from 'node:http'
import { type AddressInfo, createServer, type Server as TcpServer } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const udp = (port_value: number): object => ({
  socket_address: { address: '127.0.0.1', port_value, protocol: 'UDP' },
})
const sink = (message: string, fields: object): object => ({
  name: message,
  typed_config: { '@type': type(message), ...fields },
})

/** What was told to one server. */
interface Collector {
  readonly port: number
  readonly lines: string[]
  /** Lengths of datagrams. */
  readonly sizes: number[]
  close(): void
}

async function udpCollector(): Promise<Collector> {
  const socket: UdpSocket = createSocket('udp4')
  const lines: string[] = []
  const sizes: number[] = []
  socket.on('message', (message) => {
    sizes.push(message.length)
    lines.push(...message.toString('latin1').split('\n'))
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { port: socket.address().port, lines, sizes, close: () => socket.close() }
}

async function tcpCollector(): Promise<Collector> {
  const lines: string[] = []
  const server: TcpServer = createServer((socket) => {
    let pending = ''
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      const parts = (pending + chunk.toString('latin1')).split('\n')
      pending = parts.pop()!
      lines.push(...parts)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, lines, sizes: [], close: () => server.close() }
}

interface Side {
  readonly proxy: RunningProxy
  readonly statsd: Collector
  readonly dog: Collector
  readonly graphite: Collector
  readonly tcp: Collector
}

const MAX_BYTES = 512

function bootstrap({ listener, admin }: Ports, upstream: number, to: Omit<Side, 'proxy'>): object {
  const cluster = (name: string, port: number): object => ({
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
  })
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(admin) },
    stats_flush_interval: '0.1s',
    stats_server_version_override: 17,
    stats_sinks: [
      sink('config.metrics.v3.StatsdSink', { address: udp(to.statsd.port) }),
      sink('config.metrics.v3.DogStatsdSink', {
        address: udp(to.dog.port),
        prefix: 'dog',
        max_bytes_per_datagram: MAX_BYTES,
      }),
      sink('extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink', { address: udp(to.graphite.port) }),
      sink('config.metrics.v3.StatsdSink', { tcp_cluster_name: 'statsd', prefix: 'tcp.prefix' }),
    ],
    static_resources: {
      listeners: [
        {
          name: 'l',
          stat_prefix: 'front',
          address: address(listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'h',
                    route_config: {
                      virtual_hosts: [
                        { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up' } }] },
                      ],
                    },
                    http_filters: [
                      { name: 'router', typed_config: { '@type': type('extensions.filters.http.router.v3.Router') } },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [cluster('up', upstream), cluster('statsd', to.tcp.port)],
    },
  }
}

/** Counters as sums, gauges as they are last, timers by name; of the parts that both proxies have. */
function summary(lines: readonly string[], prefix: string): Record<string, string> {
  const sums: Record<string, string> = {}
  for (const line of lines) {
    const match = /^([^:]+):(-?\d+)\|(c|g|ms)(?:\|@[\d.]+)?(\|#.*)?$/.exec(line)
    assert.ok(match, line)
    const [, name, value, kind, tags = ''] = match
    if (!name!.startsWith(`${prefix}.`) || !COMPARED.test(name!)) continue
    const key = `${name}|${kind}${tags}`
    if (kind === 'c') sums[key] = String(Number(sums[key] ?? 0) + Number(value))
    else sums[key] = kind === 'g' ? value! : 'a time'
  }
  return sums
}
const COMPARED =
  /\.(cluster|http|listener|listener_manager|thread_local_cluster_manager)\.(?!.*(bytes_total|connections_accepted|statsd|async-client|admin|front\.main|http1|_buffered|circuit|assignment|(cx|rq)_(active|pending|length)))/

describe('stats_sinks', { skip: envoyBinary() === null ? 'real Envoy is not installed' : false }, () => {
  const sides: Side[] = []
  let upstream: Server
  before(async () => {
    upstream = createHttpServer((_request, response) => response.end('ok'))
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    for (const name of ['envoy', 'outrigger'] as const) {
      const [statsd, dog, graphite, tcp] = [
        await udpCollector(),
        await udpCollector(),
        await udpCollector(),
        await tcpCollector(),
      ]
      const to = { statsd, dog, graphite, tcp }
      sides.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, port, to)), ...to })
    }
    for (const { proxy } of sides)
      for (let i = 0; i < 3; i++) {
        const sent = request({ host: '127.0.0.1', port: proxy.ports.listener, agent: false })
        sent.end()
        const [response] = await once(sent, 'response')
        response.resume()
        await once(response, 'end')
      }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const { statsd, dog, graphite, tcp } of sides) for (const one of [statsd, dog, graphite, tcp]) one.close()
    upstream.close()
    upstream.closeAllConnections()
  })

  const kinds = [
    ['statsd', 'envoy'],
    ['dog', 'dog'],
    ['graphite', 'envoy'],
    ['tcp', 'tcp.prefix'],
  ] as const
  for (const [kind, prefix] of kinds) {
    test(`${kind}: counters, gauges and times are those of Envoy`, async () => {
      const [envoy, ours] = sides as [Side, Side]
      for (let i = 0; i < 100; i++) {
        const equal =
          JSON.stringify(sorted(summary(envoy[kind].lines, prefix))) ===
          JSON.stringify(sorted(summary(ours[kind].lines, prefix)))
        if (equal && envoy[kind].lines.some((line) => line.includes('upstream_rq_total'))) break
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      assert.deepEqual(sorted(summary(ours[kind].lines, prefix)), sorted(summary(envoy[kind].lines, prefix)))
    })
  }

  test('datagrams are as large as they may be', () => {
    for (const { dog, statsd } of sides) {
      assert.ok(dog.sizes.some((size) => size > MAX_BYTES / 2) && dog.sizes.every((size) => size <= MAX_BYTES))
      assert.equal(statsd.sizes.length, statsd.lines.length)
    }
  })

  test('the version is the one that was given', async () => {
    for (const { proxy } of sides)
      assert.equal(await proxy.admin('/stats?filter=server.version'), 'server.version: 17\n')
  })
})

function sorted(record: Record<string, string>): [string, string][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1))
}
