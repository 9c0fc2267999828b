// How connections through tcp_proxy end, as its log tells: resets, timeouts, upstreams that nobody reaches. Beside Envoy.

import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const FORMAT = {
  downstream: '%DOWNSTREAM_DETECTED_CLOSE_TYPE%',
  upstream: '%UPSTREAM_DETECTED_CLOSE_TYPE%',
  downstream_reason: '%DOWNSTREAM_LOCAL_CLOSE_REASON%',
  upstream_reason: '%UPSTREAM_LOCAL_CLOSE_REASON%',
  flags: '%RESPONSE_FLAGS%',
  bytes: '%DOWNSTREAM_WIRE_BYTES_RECEIVED%/%DOWNSTREAM_WIRE_BYTES_SENT%',
  upstream_bytes: '%UPSTREAM_WIRE_BYTES_RECEIVED%/%UPSTREAM_WIRE_BYTES_SENT%',
}

/** What each upstream does with the first bytes. */
const UPSTREAMS: Readonly<Record<string, (socket: Socket) => void>> = {
  echo: (socket) => socket.pipe(socket),
  resets: (socket) => socket.once('data', () => socket.resetAndDestroy()),
  closes: (socket) => socket.once('data', () => socket.end()),
  silent: (socket) => socket.resume(),
}
type Leave = 'fin' | 'reset' | 'wait'
/** Upstream, how the client leaves once it got what there is (`echoed`), options of tcp_proxy. */
const CASES: readonly { name: string; cluster: string; leave: Leave; more?: object }[] = [
  { name: 'the client ends', cluster: 'echo', leave: 'fin' },
  { name: 'the client resets', cluster: 'echo', leave: 'reset' },
  { name: 'the upstream resets', cluster: 'resets', leave: 'wait' },
  { name: 'the upstream ends', cluster: 'closes', leave: 'wait' },
  { name: 'nobody says a thing', cluster: 'silent', leave: 'wait', more: { idle_timeout: '0.3s' } },
  {
    name: 'it takes too long',
    cluster: 'silent',
    leave: 'wait',
    more: { max_downstream_connection_duration: '0.3s' },
  },
  { name: 'nobody listens', cluster: 'refused', leave: 'wait' },
  { name: 'no such cluster', cluster: 'nowhere', leave: 'wait' },
  { name: 'a cluster without hosts', cluster: 'empty', leave: 'wait' },
  { name: 'a cluster that takes no connections', cluster: 'full', leave: 'wait' },
]

const extension = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const SKIP = envoyBinary() ? false : 'real Envoy is not installed'

describe('ends of TCP connections', { skip: SKIP }, () => {
  const servers: Server[] = []
  const sides: { proxy: RunningProxy; ports: number[] }[] = []

  before(async () => {
    const upstreams = new Map<string, number>([['refused', 1]])
    for (const [name, serve] of Object.entries(UPSTREAMS)) {
      const server = createServer((socket) => {
        socket.on('error', () => {})
        serve(socket)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      servers.push(server)
      upstreams.set(name, (server.address() as AddressInfo).port)
    }
    const cluster = (name: string, port: number | undefined, more: object = {}): object => ({
      name,
      type: 'STATIC',
      load_assignment: {
        cluster_name: name,
        endpoints: port === undefined ? [] : [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
      },
      ...more,
    })
    const clusters = [
      ...[...upstreams].map(([name, port]) => cluster(name, port)),
      cluster('empty', undefined),
      cluster('full', upstreams.get('silent'), { circuit_breakers: { thresholds: [{ max_connections: 0 }] } }),
    ]
    for (const name of ['envoy', 'outrigger'] as const) {
      const ports = await Promise.all(CASES.map(() => freePort()))
      const proxy = await startProxy(name, ({ admin, accessLog }) => ({
        admin: { address: address(admin) },
        static_resources: {
          clusters,
          listeners: CASES.map((one, i) => ({
            name: `l${i}`,
            address: address(ports[i]!),
            filter_chains: [
              {
                filters: [
                  {
                    name: 'tcp',
                    typed_config: {
                      '@type': extension('filters.network.tcp_proxy.v3.TcpProxy'),
                      stat_prefix: `t${i}`,
                      cluster: one.cluster,
                      access_log: [
                        {
                          name: 'file',
                          typed_config: {
                            '@type': extension('access_loggers.file.v3.FileAccessLog'),
                            path: accessLog,
                            log_format: { json_format: { case: one.name, ...FORMAT } },
                          },
                        },
                      ],
                      ...one.more,
                    },
                  },
                ],
              },
            ],
          })),
        },
      }))
      sides.push({ proxy, ports })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  /** Until the connection is over for the client. */
  function visit(port: number, leave: Leave): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.on('error', () => {})
      socket.on('close', () => resolve())
      socket.on('data', () => {
        if (leave === 'fin') socket.end()
        else if (leave === 'reset') socket.resetAndDestroy()
      })
      socket.write('hello')
    })
  }

  async function logOf(proxy: RunningProxy, name: string): Promise<unknown> {
    for (;;) {
      const line = proxy.logLines().find((text) => text.includes(`"case":"${name}"`))
      if (line !== undefined) return JSON.parse(line)
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }

  describe('in parallel', { concurrency: 16 }, () => {
    for (const [i, { name, leave }] of CASES.entries()) {
      it(name, { timeout: 20_000 }, async () => {
        const [envoy, ours] = await Promise.all(
          sides.map(async ({ proxy, ports }) => {
            await visit(ports[i]!, leave)
            return logOf(proxy, name)
          }),
        )
        assert.deepEqual(ours, envoy)
      })
    }
  })
})
