// Outlier detection of TCP beside real Envoy: connections that cannot be made eject their host, those that can forgive it.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { address, statsOf } from '../harness/situations.ts'

const DETECTION = { interval: '300s', base_ejection_time: '300s', max_ejection_percent: 100 }
/** Name → settings, and whether somebody listens. */
const CASES: Record<string, { detection: object; listens: boolean; connections: number }> = {
  'refused connections': { detection: { consecutive_5xx: 3 }, listens: false, connections: 4 },
  'refused connections as gateway failures': {
    detection: { consecutive_5xx: 9, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100 },
    listens: false,
    connections: 3,
  },
  'refused connections, origins apart': {
    detection: { split_external_local_origin_errors: true, consecutive_local_origin_failure: 2 },
    listens: false,
    connections: 3,
  },
  'connections that are made': { detection: { consecutive_5xx: 1 }, listens: true, connections: 3 },
}
const NAMES = Object.keys(CASES)

function bootstrap(ports: Ports, listeners: readonly number[], upstream: number, closed: number): object {
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: NAMES.map((_, i) => ({
        name: `l${i}`,
        address: address(listeners[i]!),
        filter_chains: [
          {
            filters: [
              {
                name: 't',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
                  stat_prefix: `t${i}`,
                  cluster: `c${i}`,
                },
              },
            ],
          },
        ],
      })),
      clusters: NAMES.map((name, i) => ({
        name: `c${i}`,
        type: 'STATIC',
        common_lb_config: { healthy_panic_threshold: { value: 0 } },
        outlier_detection: { ...DETECTION, ...CASES[name]!.detection },
        load_assignment: {
          cluster_name: `c${i}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(CASES[name]!.listens ? upstream : closed) } }] }],
        },
      })),
    },
  }
}

/** Resolves with the bytes that came when the connection is over. */
async function talk(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('data', (chunk) => {
    received += chunk
  })
  socket.on('error', () => {})
  await once(socket, 'close')
  return received
}

describe('outliers of TCP', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  let upstream: Server
  const sides: { proxy: RunningProxy; listeners: number[] }[] = []
  before(async () => {
    upstream = createServer((socket) => socket.end('hello'))
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    const closed = await freePort()
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(NAMES.map(() => freePort()))
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, port, closed))
      sides.push({ proxy, listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    upstream.close()
  })

  for (const [i, name] of NAMES.entries()) {
    it(name, async () => {
      const outcomes: unknown[] = []
      for (const { proxy, listeners } of sides) {
        const received: string[] = []
        for (let n = 0; n < CASES[name]!.connections; n++) {
          received.push(await talk(listeners[i]!))
          // What the workers have told the main thread is known when it answers.
          await proxy.admin('/ready')
        }
        const names = /outlier_detection|membership_healthy|none_healthy|cx_connect_fail$/
        outcomes.push({ received, stats: await statsOf(proxy, names, `^cluster\\.c${i}\\.`) })
      }
      assert.deepEqual(outcomes[1], outcomes[0])
    })
  }
})
