// connection_balance_config: long-lived connections on several workers, beside real Envoy.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const WORKERS = 4
const EACH = 6
const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const echo = { name: 'echo', typed_config: { '@type': type('filters.network.echo.v3.Echo') } }
const inspector = {
  name: 'tls_inspector',
  typed_config: { '@type': type('filters.listener.tls_inspector.v3.TlsInspector') },
}

function bootstrap({ listener, admin }: Ports, inspected: number): object {
  const balanced = (name: string, port: number, more: object): object => ({
    name,
    stat_prefix: name,
    address: address(port),
    filter_chains: [{ filters: [echo] }],
    connection_balance_config: { exact_balance: {} },
    max_connections_to_accept_per_socket_event: 1,
    ...more,
  })
  return {
    admin: { address: address(admin) },
    static_resources: {
      listeners: [
        balanced('plain', listener, {}),
        balanced('inspected', inspected, { listener_filters: [inspector], enable_reuse_port: false }),
      ],
    },
  }
}

describe('exact_balance', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  const sides: { proxy: RunningProxy; inspected: number }[] = []
  before(async () => {
    for (const name of ['envoy', 'outrigger'] as const) {
      const inspected = await freePort()
      const options = { concurrency: WORKERS }
      sides.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, inspected), options), inspected })
    }
  })
  after(() => Promise.all(sides.map(({ proxy }) => proxy.stop())))

  /** Active connections of a listener by worker. */
  async function active(proxy: RunningProxy, listener: string, connections: number): Promise<number[]> {
    for (let tries = 0; ; tries++) {
      const stats = await proxy.admin(`/stats?filter=${listener}.worker_.*downstream_cx_active`)
      const counts = [...stats.matchAll(/downstream_cx_active: (\d+)/g)].map((match) => Number(match[1]))
      if (counts.reduce((sum, count) => sum + count, 0) === connections || tries === 80) return counts
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }

  for (const [listener, port] of [
    ['plain', (side: (typeof sides)[0]) => side.proxy.ports.listener],
    ['inspected', (side: (typeof sides)[0]) => side.inspected],
  ] as const) {
    it(`each worker has as many connections: ${listener}`, async () => {
      for (const side of sides) {
        const sockets: Socket[] = []
        for (let i = 0; i < WORKERS * EACH; i++) {
          const socket = connect(port(side))
          sockets.push(socket)
          socket.write(`hello ${i}`)
          const [bytes] = (await once(socket, 'data')) as [Buffer]
          assert.equal(bytes.toString(), `hello ${i}`)
        }
        const { proxy } = side
        assert.deepEqual(await active(proxy, listener, WORKERS * EACH), Array(WORKERS).fill(EACH), proxy.name)
        // Those that end make room: the next ones go where there is.
        for (const socket of sockets.slice(0, EACH)) socket.end()
        await Promise.all(sockets.slice(0, EACH).map((socket) => once(socket, 'close')))
        await active(proxy, listener, (WORKERS - 1) * EACH)
        for (let i = 0; i < EACH; i++) {
          const socket = connect(port(side))
          sockets.push(socket)
          socket.write('again')
          await once(socket, 'data')
        }
        assert.deepEqual(await active(proxy, listener, WORKERS * EACH), Array(WORKERS).fill(EACH), proxy.name)
        for (const socket of sockets) socket.destroy()
      }
    })
  }
})
