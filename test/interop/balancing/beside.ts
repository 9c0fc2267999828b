// Load balancing side by side: real Envoy and our proxy choose among the same hosts, which are addresses of one upstream
// (127.0.0.n). Where the choice is determined (a hash, a weight, health) each request must find the same host in both;
// where chance decides, the same hosts must be in use; stats must be equal in either case.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { assertAgree } from '../harness/agree.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from '../harness/proxies.ts'
import { address, statsOf } from '../harness/situations.ts'

/** The host 127.0.0.`n`. */
export interface HostOf {
  readonly n: number
  readonly health?: 'HEALTHY' | 'UNHEALTHY' | 'DEGRADED' | 'DRAINING'
  readonly weight?: number
  /** Of the namespace envoy.lb. */
  readonly labels?: object
  readonly hostname?: string
  /** Nobody listens there. */
  readonly refuses?: boolean
}

export interface LocalityOf {
  readonly priority?: number
  readonly zone?: string
  readonly weight?: number
  readonly hosts: readonly HostOf[]
}

export interface Ask {
  readonly path?: string
  readonly headers?: Record<string, string | string[]>
  /** The upstream keeps the request until all others have been asked. */
  readonly held?: boolean
  /** The proxy's threads first agree on what the requests before have led to. */
  readonly settled?: boolean
}

/** What a request met: status and the hosts of its attempts. */
export type Met = readonly [status: number, hosts: string]

export interface BalancingCase {
  readonly name: string
  readonly endpoints: readonly LocalityOf[]
  /** Of the cluster's assignment. */
  readonly policy?: object
  /** Added to the cluster. */
  readonly cluster?: object
  /** Added to the route's action. */
  readonly route?: object
  /** Routes ahead of that one. */
  readonly routes?: readonly { readonly match: object; readonly route: object }[]
  readonly asks: readonly Ask[]
  /** What of the answers must be equal: each of them (default), or what this makes of them. */
  readonly told?: (met: readonly Met[]) => unknown
  /** Stats of the cluster that must be equal. */
  readonly counted?: RegExp
  /** Time for detectors with an interval, after all requests, ms. Their interval may end midway: what differs is tried again. */
  readonly settleMs?: number
}

/** How often a case with an interval may be played, each time on a cluster of its own: its end may come in the middle. */
const TRIES = 8

/** `times` requests without anything that sets them apart. */
export const plain = (times: number, ask: Ask = {}): Ask[] => Array.from({ length: times }, () => ask)
/** `times` requests whose header x-key differs. */
export const keyed = (times: number, headers: Record<string, string> = {}): Ask[] =>
  Array.from({ length: times }, (_, i) => ({ headers: { ...headers, 'x-key': `key-${i}` } }))
export const HASH_KEY = { hash_policy: [{ header: { header_name: 'x-key' } }] }
/** Hosts from `first` to `last`. */
export const hosts = (first: number, last: number, more: Omit<HostOf, 'n'> = {}): HostOf[] =>
  Array.from({ length: last - first + 1 }, (_, i) => ({ n: first + i, ...more }))
/** Which hosts were met at all, and with which statuses. */
export const together = (met: readonly Met[]): unknown =>
  [...new Set(met.map(([status, where]) => `${status} ${where}`))].sort()
/** The same with how often, for choices that are even without being in step. */
export const counts = (met: readonly Met[]): unknown => {
  const out: Record<string, number> = {}
  for (const [status, where] of met) out[`${status} ${where}`] = (out[`${status} ${where}`] ?? 0) + 1
  return Object.fromEntries(Object.entries(out).sort())
}

interface Upstream {
  readonly port: number
  /** Addresses at which request `id` has arrived so far. */
  hostsOf(id: string): readonly string[]
  /** Resolves when request `id` has arrived. */
  arrived(id: string): Promise<void>
  release(): void
  close(): void
}

/**
 * Listens on all of 127.0.0.0/8. `x-fail: 3,4=502` lets those hosts answer 503, or the status that stands there; `x-drop: 3`
 * lets them close the connection.
 */
async function startUpstream(): Promise<Upstream> {
  const met = new Map<string, string[]>()
  const waiting = new Map<string, () => void>()
  let held: ServerResponse[] = []
  const server: Server = createServer((incoming: IncomingMessage, response: ServerResponse) => {
    const at = incoming.socket.localAddress?.split('.').at(-1) ?? ''
    const id = String(incoming.headers['x-id'])
    met.set(id, [...(met.get(id) ?? []), at])
    waiting.get(id)?.()
    const listed = (name: string): string | undefined =>
      String(incoming.headers[name] ?? '')
        .split(',')
        .find((entry) => entry.split('=')[0] === at)
    if (listed('x-drop') !== undefined) {
      incoming.socket.destroy()
      return
    }
    const failure = listed('x-fail')
    response.statusCode = failure === undefined ? 200 : Number(failure.split('=')[1] ?? 503)
    if (incoming.headers['x-held'] === undefined) response.end()
    else held.push(response)
  })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    hostsOf: (id) => met.get(id) ?? [],
    arrived: (id) => (met.has(id) ? Promise.resolve() : new Promise((resolve) => waiting.set(id, resolve))),
    release: () => {
      for (const response of held) response.end()
      held = []
    },
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const REFUSING_PORT = 1

function clusterOf(name: string, scenario: BalancingCase, port: number): object {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    ...scenario.cluster,
    load_assignment: {
      cluster_name: name,
      ...(scenario.policy && { policy: scenario.policy }),
      endpoints: scenario.endpoints.map(({ priority, zone, weight, hosts: list }) => ({
        ...(priority && { priority }),
        ...(zone && { locality: { zone } }),
        ...(weight !== undefined && { load_balancing_weight: weight }),
        lb_endpoints: list.map((host) => ({
          endpoint: {
            address: {
              socket_address: { address: `127.0.0.${host.n}`, port_value: host.refuses ? REFUSING_PORT : port },
            },
            ...(host.hostname && { hostname: host.hostname }),
          },
          ...(host.health && { health_status: host.health }),
          ...(host.weight && { load_balancing_weight: host.weight }),
          ...(host.labels && { metadata: { filter_metadata: { 'envoy.lb': host.labels } } }),
        })),
      })),
    },
  }
}

function bootstrapOf(scenarios: readonly BalancingCase[], ports: Ports, upstream: number): object {
  const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`
  const plays = scenarios.flatMap((scenario, i) =>
    Array.from({ length: scenario.settleMs === undefined ? 1 : TRIES }, (_, k) => ({ scenario, name: `${i}x${k}` })),
  )
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 's',
                    route_config: {
                      virtual_hosts: plays.map(({ scenario, name }) => ({
                        name: `v${name}`,
                        domains: [`case-${name}`],
                        routes: [...(scenario.routes ?? []), { match: { prefix: '/' }, route: scenario.route }].map(
                          ({ match, route }) => ({ match, route: { cluster: `c${name}`, ...route } }),
                        ),
                      })),
                    },
                    http_filters: [{ name: 'router', typed_config: { '@type': type('http.router.v3.Router') } }],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: plays.map(({ scenario, name }) => clusterOf(`c${name}`, scenario, upstream)),
    },
  }
}

let made = 0

function ask(
  proxy: RunningProxy,
  name: string,
  { path = '/', headers = {}, held = false }: Ask,
  id: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: proxy.ports.listener,
        path,
        headers: { ...headers, host: `case-${name}`, 'x-id': id, ...(held && { 'x-held': '1' }) },
        agent: false,
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0))
      },
    )
    outgoing.on('error', reject)
    outgoing.end()
  })
}

async function meet(proxy: RunningProxy, name: string, scenario: BalancingCase, upstream: Upstream): Promise<Met[]> {
  const asked: { id: string; status: Promise<number> }[] = []
  for (const one of scenario.asks) {
    const id = String(made++)
    // An answer of the main thread comes after what workers told it before.
    if (one.settled) await proxy.admin('/ready')
    const status = ask(proxy, name, one, id)
    asked.push({ id, status })
    // A request that found no host is answered instead.
    if (one.held) await Promise.race([upstream.arrived(id), status])
    else await status
  }
  upstream.release()
  const met: Met[] = []
  for (const { id, status } of asked) met.push([await status, upstream.hostsOf(id).join('>')])
  return met
}

const COUNTED_MS = 3000

async function assertCounted(envoy: RunningProxy, ours: RunningProxy, name: string, counted: RegExp): Promise<void> {
  const among = `^cluster\\.c${name}\\.`
  const of = (proxy: RunningProxy): Promise<unknown> => statsOf(proxy, counted, among)
  await assertAgree(() => Promise.all([of(envoy), of(ours)]), COUNTED_MS)
}

const SKIP = envoyBinary() ? false : 'real Envoy is not installed'

/** One test for each case. `bootstrap`: what to make of the bootstrap. */
export function describeBalancing(
  title: string,
  scenarios: readonly BalancingCase[],
  bootstrap: (made: object) => object = (same) => same,
): void {
  describe(title, { skip: SKIP }, () => {
    let upstream: Upstream
    let envoy: RunningProxy
    let ours: RunningProxy
    before(async () => {
      upstream = await startUpstream()
      const make = (ports: Ports): object => bootstrap(bootstrapOf(scenarios, ports, upstream.port))
      envoy = await startProxy('envoy', make)
      ours = await startProxy('outrigger', make)
    })
    after(async () => {
      await Promise.all([envoy?.stop(), ours?.stop()])
      upstream?.close()
    })
    async function compare(name: string, scenario: BalancingCase): Promise<void> {
      const { told = (met) => met, counted, settleMs = 0 } = scenario
      const theirs = told(await meet(envoy, name, scenario, upstream))
      const mine = told(await meet(ours, name, scenario, upstream))
      if (settleMs > 0) await new Promise((resolve) => setTimeout(resolve, settleMs))
      assert.deepEqual(mine, theirs)
      if (counted) await assertCounted(envoy, ours, name, counted)
    }
    for (const [i, scenario] of scenarios.entries()) {
      it(scenario.name, async (context) => {
        const last = scenario.settleMs === undefined ? 0 : TRIES - 1
        for (let k = 0; k < last; k++) {
          try {
            await compare(`${i}x${k}`, scenario)
            return
          } catch (error) {
            if (!(error instanceof assert.AssertionError)) throw error
            context.diagnostic(`played again: ${error.message}`)
          }
        }
        await compare(`${i}x${last}`, scenario)
      })
    }
  })
}
