// Circuit breakers beside real Envoy: gauges while requests are held, answers over the limit, and limits from the runtime.

import assert from 'node:assert/strict'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { type Situation, situationBootstrap, startUpstream, statsOf } from '../harness/situations.ts'
import { ask, get } from './beside.ts'

interface Held extends Situation {
  /** Requests that get no answer before the gauges are read. */
  readonly held: number
  /** A request on top of them, whose answer must be the same. */
  readonly over: boolean
  /** Below `circuit_breakers.<cluster>.`. */
  readonly runtime?: Readonly<Record<string, number>>
}

const answer = (status: number): string => `HTTP/1.1 ${status} X\r\ncontent-length: 0\r\n\r\n`
const thresholds = (...of: object[]): object => ({ circuit_breakers: { thresholds: of } })
const tracked = { track_remaining: true }
const retried = { retry_policy: { retry_on: '5xx', num_retries: 2 } }
const slowly = {
  retry_policy: { ...retried.retry_policy, retry_back_off: { base_interval: '1000s', max_interval: '1000s' } },
}
const perHost = { per_host_thresholds: [{ max_connections: 1 }] }

const SITUATIONS: readonly Held[] = [
  { name: 'remaining of unlimited use', cluster: thresholds(tracked), held: 2, over: true },
  {
    name: 'max_requests by the runtime',
    cluster: thresholds(tracked),
    runtime: { 'default.max_requests': 1 },
    held: 1,
    over: true,
  },
  {
    name: 'the runtime raises max_requests',
    cluster: thresholds({ ...tracked, max_requests: 1 }),
    runtime: { 'default.max_requests': 3 },
    held: 1,
    over: true,
  },
  {
    name: 'max_connections and max_pending_requests by the runtime',
    cluster: thresholds(tracked),
    runtime: { 'default.max_connections': 1, 'default.max_pending_requests': 1 },
    held: 2,
    over: true,
  },
  { name: 'max_connections', cluster: thresholds({ ...tracked, max_connections: 1 }), held: 3, over: false },
  {
    name: 'max_connection_pools',
    cluster: thresholds({ ...tracked, max_connection_pools: 0 }),
    held: 0,
    over: true,
  },
  {
    name: 'max_connection_pools by the runtime',
    cluster: thresholds(tracked),
    runtime: { 'default.max_connection_pools': 0 },
    held: 0,
    over: true,
  },
  {
    name: 'a priority of its own',
    cluster: thresholds({ priority: 'HIGH', ...tracked, max_requests: 1 }),
    route: { priority: 'HIGH' },
    held: 1,
    over: true,
  },
  {
    name: 'a priority of its own by the runtime',
    route: { priority: 'HIGH' },
    runtime: { 'high.max_pending_requests': 0 },
    held: 0,
    over: true,
  },
  { name: 'per_host_thresholds', cluster: { circuit_breakers: perHost }, held: 2, over: false },
  {
    name: 'suppress_envoy_headers',
    cluster: thresholds({ max_pending_requests: 0 }),
    router: { suppress_envoy_headers: true },
    held: 0,
    over: true,
  },
  {
    name: 'max_retries',
    cluster: thresholds({ ...tracked, max_retries: 1 }),
    route: slowly,
    upstream: () => answer(503),
    held: 1,
    over: true,
  },
  {
    name: 'max_retries by the runtime',
    cluster: thresholds(tracked),
    route: slowly,
    upstream: () => answer(503),
    runtime: { 'default.max_retries': 1 },
    held: 1,
    over: true,
  },
  {
    name: 'a retry budget hides what remains',
    cluster: thresholds({ ...tracked, max_retries: 2, retry_budget: {} }),
    route: slowly,
    upstream: () => answer(503),
    held: 3,
    over: true,
  },
  {
    name: 'a retry budget by the runtime alone',
    cluster: thresholds(tracked),
    route: retried,
    upstream: () => answer(503),
    runtime: { 'default.retry_budget.min_retry_concurrency': 0 },
    held: 0,
    over: true,
  },
  {
    name: 'the runtime raises a retry budget',
    cluster: thresholds({ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 0 } }),
    route: retried,
    upstream: () => answer(503),
    runtime: { 'default.retry_budget.min_retry_concurrency': 1 },
    held: 0,
    over: true,
  },
  {
    name: 'budget_percent by the runtime',
    cluster: thresholds({ retry_budget: { min_retry_concurrency: 0 } }),
    route: slowly,
    upstream: () => answer(503),
    runtime: { 'default.retry_budget.budget_percent': 0.5 },
    held: 0,
    over: true,
  },
]

const UNLIMITED = 2 ** 32 - 1000
const COUNTED =
  /^cluster\.c\d+\.(circuit_breakers\.|upstream_cx_(active|overflow|pool_overflow)|upstream_rq_(active|pending_active|.*overflow|retry$))/

/** What the stats tell, but not how many pools remain of those without a limit: 2^64 - 1 is no number of ours. */
async function told(proxy: RunningProxy, i: number): Promise<Record<string, string>> {
  const stats = await statsOf(proxy, COUNTED, `^cluster.c${i}[.]`)
  const pools = Object.keys(stats).filter((name) => name.endsWith('remaining_cx_pools'))
  for (const name of pools) if (Number(stats[name]) >= UNLIMITED) stats[name] = 'UNLIMITED'
  return stats
}

/** Until the proxy has taken as many requests as are held: each waits for the upstream, or, with one that answers, for a retry. */
async function settled(proxy: RunningProxy, i: number, held: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const stats = await statsOf(proxy, /./, `^cluster.c${i}[.]`)
    const of = (name: string): number => Number(stats[`cluster.c${i}.upstream_${name}`] ?? 0)
    const underWay = of('rq_active') + of('rq_pending_active')
    if (SITUATIONS[i]!.upstream ? of('rq_total') >= held && underWay === 0 : underWay >= held) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

describe('circuit breakers', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  let servers: Server[] = []
  const sides: { readonly proxy: RunningProxy; readonly listeners: readonly number[] }[] = []
  before(async () => {
    const runtime = Object.fromEntries(
      SITUATIONS.flatMap(({ runtime = {} }, i) =>
        Object.entries(runtime).map(([key, value]) => [`circuit_breakers.c${i}.${key}`, value]),
      ),
    )
    const upstream = (head: string): string | null => (head.startsWith('GET /hold') ? null : answer(200))
    const situations = SITUATIONS.map((situation) => ({ upstream, ...situation }))
    servers = await Promise.all(situations.map(startUpstream))
    const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners = await Promise.all(situations.map(() => freePort()))
      const proxy = await startProxy(name, (ports) => ({
        ...situationBootstrap(situations, 'HTTP1', ports, listeners, upstreams),
        layered_runtime: { layers: [{ name: 's', static_layer: runtime }] },
      }))
      sides.push({ proxy, listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })
  for (const [i, { name, held, over }] of SITUATIONS.entries()) {
    it(name, async () => {
      const sidesTold: unknown[] = []
      for (const { proxy, listeners } of sides) {
        const sockets: Socket[] = []
        for (let n = 1; n <= held; n++) {
          const socket = connect(listeners[i]!, '127.0.0.1')
          socket.on('error', () => {})
          socket.write(get('/hold'))
          sockets.push(socket)
          await settled(proxy, i, n)
        }
        const during = await told(proxy, i)
        const response = over ? await ask(listeners[i]!, get('/')) : ''
        await settled(proxy, i, held)
        sidesTold.push({ during, response, behind: await told(proxy, i) })
        for (const socket of sockets) socket.destroy()
      }
      assert.deepEqual(sidesTold[1], sidesTold[0])
    })
  }
})
