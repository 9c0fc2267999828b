// What a process does once although it has several workers, side by side with real Envoy: active health checks, name
// resolution, outlier detection and token buckets, each with requests that reach every worker.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type NameServer, startNameServer } from '../../src/proxy/upstream/dns/testing.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number, host = '127.0.0.1'): object => ({ socket_address: { address: host, port_value } })

/** Checked, counted and refilled so seldom that nothing happens twice while a test runs. */
const LONG = '3600s'
const CONCURRENCY = 3
/** Connections enough to reach every worker many times. */
const MANY = 60
const FAILURES = 10
const TOKENS = 7
const FAULTS = 4

interface Upstreams {
  readonly good: number
  readonly bad: number
  readonly leaving: number
  readonly dns: number
}

function cluster(name: string, hosts: readonly object[], more: object = {}): object {
  return {
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: hosts.map((socket) => ({ endpoint: { address: socket } })) }],
    },
    common_lb_config: { healthy_panic_threshold: { value: 0 } },
    ...more,
  }
}

const CHECKS = {
  health_checks: [
    {
      timeout: '5s',
      interval: LONG,
      no_traffic_interval: LONG,
      unhealthy_threshold: 1,
      healthy_threshold: 1,
      http_health_check: { path: '/check' },
    },
  ],
}

function bootstrap(ports: Ports, to: Upstreams): object {
  const everything = { default_value: { numerator: 100 } }
  const bucket = (max_tokens: number): object => ({ max_tokens, tokens_per_fill: 1, fill_interval: LONG })
  const limit = {
    '@type': type('filters.http.local_ratelimit.v3.LocalRateLimit'),
    stat_prefix: 'limit',
    filter_enabled: everything,
    filter_enforced: everything,
  }
  return {
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
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 't',
                    route_config: {
                      name: 'r',
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          routes: [
                            ...['checked', 'leaving', 'outlier', 'named'].map((name) => ({
                              match: { prefix: `/${name}` },
                              route: { cluster: name },
                            })),
                            {
                              match: { prefix: '/slow' },
                              route: { cluster: 'plain' },
                              typed_per_filter_config: {
                                'envoy.filters.http.fault': {
                                  '@type': type('filters.http.fault.v3.HTTPFault'),
                                  max_active_faults: FAULTS,
                                  delay: { fixed_delay: '30s', percentage: { numerator: 100 } },
                                },
                              },
                            },
                            {
                              match: { prefix: '/limited' },
                              route: { cluster: 'plain' },
                              typed_per_filter_config: {
                                'envoy.filters.http.local_ratelimit': { ...limit, token_bucket: bucket(TOKENS) },
                              },
                            },
                            {
                              match: { prefix: '/values' },
                              route: {
                                cluster: 'plain',
                                rate_limits: [
                                  {
                                    actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }],
                                  },
                                ],
                              },
                              typed_per_filter_config: {
                                'envoy.filters.http.local_ratelimit': {
                                  ...limit,
                                  token_bucket: bucket(1000),
                                  descriptors: [{ entries: [{ key: 'user' }], token_bucket: bucket(TOKENS) }],
                                },
                              },
                            },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.fault',
                        typed_config: { '@type': type('filters.http.fault.v3.HTTPFault') },
                      },
                      {
                        name: 'envoy.filters.http.local_ratelimit',
                        typed_config: {
                          '@type': type('filters.http.local_ratelimit.v3.LocalRateLimit'),
                          stat_prefix: 'off',
                        },
                      },
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': type('filters.http.router.v3.Router') },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        cluster('plain', [address(to.good)]),
        cluster('checked', [address(to.good), address(to.bad)], CHECKS),
        cluster('leaving', [address(to.good), address(to.leaving)], CHECKS),
        cluster('outlier', [address(to.good), address(to.bad)], {
          outlier_detection: {
            consecutive_5xx: FAILURES,
            enforcing_consecutive_5xx: 100,
            max_ejection_percent: 100,
            interval: LONG,
            base_ejection_time: LONG,
          },
        }),
        cluster('named', [address(to.good, 'host.example')], {
          type: 'STRICT_DNS',
          dns_refresh_rate: LONG,
          dns_lookup_family: 'V4_ONLY',
          typed_dns_resolver_config: {
            name: 'envoy.network.dns_resolver.cares',
            typed_config: {
              '@type': type('network.dns_resolver.cares.v3.CaresDnsResolverConfig'),
              resolvers: [address(to.dns)],
              dns_resolver_options: { no_default_search_domain: true },
            },
          },
        }),
      ],
    },
  }
}

async function serve(listener: RequestListener): Promise<Server> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port

/** One request on a connection of its own: another one may be another worker's. */
function ask(proxy: RunningProxy, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest(
      {
        host: '127.0.0.1',
        port: proxy.ports.listener,
        path,
        agent: false,
        headers: { ...headers, connection: 'close' },
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0))
      },
    )
      .on('error', reject)
      .end()
  })
}

async function statuses(proxy: RunningProxy, path: string, headers?: Record<string, string>): Promise<number[]> {
  const found: number[] = []
  for (let i = 0; i < MANY; i++) found.push(await ask(proxy, path, headers))
  return found
}

const count = (found: readonly number[], status: number): number => found.filter((one) => one === status).length

async function stats(proxy: RunningProxy, filter: string): Promise<string[]> {
  return (await proxy.admin(`/stats?filter=${encodeURIComponent(filter)}`)).split('\n').filter(Boolean).sort()
}

async function until(proxy: RunningProxy, line: string): Promise<void> {
  const [name] = line.split(': ')
  for (let i = 0; i < 400; i++) {
    if ((await stats(proxy, `^${name}$`)).includes(line)) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error(`${proxy.name}: no ${line}: ${await stats(proxy, `^${name}$`)}`)
}

const skip = envoyBinary() === null ? 'envoy is not installed' : false

describe('one process, several workers', { skip }, () => {
  const proxies: RunningProxy[] = []
  const checks = { good: 0, bad: 0, leaving: 0 }
  let good: Server
  let bad: Server
  let leaving: Server
  let names: NameServer

  before(async () => {
    good = await serve((message, response) => {
      if (message.url === '/check') checks.good++
      response.end('ok')
    })
    bad = await serve((message, response) => {
      if (message.url === '/check') checks.bad++
      response.writeHead(500).end('bad')
    })
    leaving = await serve((message, response) => {
      if (message.url === '/check') checks.leaving++
      else response.setHeader('x-envoy-immediate-health-check-fail', 'true')
      response.end('bye')
    })
    names = await startNameServer({ 'host.example': ['127.0.0.1'] })
  })

  after(async () => {
    for (const proxy of proxies) await proxy.stop()
    for (const server of [good, bad, leaving]) server.close()
    names.close()
  })

  /** What one proxy does, in numbers that must be the other's too. */
  async function observe(name: 'envoy' | 'outrigger'): Promise<Record<string, unknown>> {
    const to = { good: portOf(good), bad: portOf(bad), leaving: portOf(leaving), dns: names.port }
    Object.assign(checks, { good: 0, bad: 0, leaving: 0 })
    names.queries = 0
    const proxy = await startProxy(name, (ports) => bootstrap(ports, to), { concurrency: CONCURRENCY })
    proxies.push(proxy)
    await until(proxy, 'cluster.checked.health_check.attempt: 2')
    await until(proxy, 'cluster.checked.membership_healthy: 1')
    await until(proxy, 'cluster.leaving.membership_healthy: 2')
    const checked = count(await statuses(proxy, '/checked'), 200)

    // The first answer of the leaving host reaches one worker; all of them must leave it alone.
    while ((await stats(proxy, '^cluster.leaving.membership_healthy$'))[0]?.endsWith(': 2'))
      await ask(proxy, '/leaving')
    const left = (await stats(proxy, '^cluster.leaving.upstream_rq_total$'))[0]
    const before = await hostRequests(proxy, 'leaving', to.leaving)
    await statuses(proxy, '/leaving')
    const leavingGotMore = (await hostRequests(proxy, 'leaving', to.leaving)) - before

    const outlier = await statuses(proxy, '/outlier')
    await until(proxy, 'cluster.outlier.outlier_detection.ejections_active: 1')
    const afterEjection = count(await statuses(proxy, '/outlier'), 200)

    const named = count(await statuses(proxy, '/named'), 200)
    const limited = count(await statuses(proxy, '/limited'), 200)
    const slowed = await held(proxy)
    const perUser = [
      count(await statuses(proxy, '/values', { 'x-user': 'a' }), 200),
      count(await statuses(proxy, '/values', { 'x-user': 'b' }), 200),
    ]
    assert.ok(left)
    return {
      checks: { ...checks },
      checked,
      leavingGotMore,
      // Answers on their way while the workers are told may add a few.
      ejectedInTime: count(outlier, 500) >= FAILURES && count(outlier, 500) < 2 * FAILURES,
      afterEjection,
      named,
      queries: names.queries,
      limited,
      slowed,
      perUser,
      stats: [
        ...(await stats(proxy, '^cluster\\.(checked|leaving)\\.health_check\\.')),
        ...(await stats(proxy, '^cluster\\.outlier\\.outlier_detection\\.')),
        ...(await stats(proxy, '^cluster\\.\\w+\\.(update_|membership_|default.total_match_count|assignment)')),
        ...(await stats(proxy, '^limit\\.http_local_rate_limit\\.')),
      ],
      health: (await proxy.admin('/clusters'))
        .split('\n')
        .filter((line) => line.includes('health_flags'))
        .sort(),
    }
  }

  /** Of many requests that would be slowed, how many are at one time. */
  async function held(proxy: RunningProxy): Promise<number> {
    const waiting = new Set(
      Array.from({ length: MANY }, () => {
        const sent = httpRequest({ port: proxy.ports.listener, path: '/slow', agent: false }).on('error', () => {})
        sent.on('response', (response) => {
          response.resume()
          waiting.delete(sent)
        })
        return sent.end()
      }),
    )
    await until(proxy, `http.t.fault.faults_overflow: ${MANY - FAULTS}`)
    while (waiting.size > FAULTS) await new Promise((resolve) => setTimeout(resolve, 10))
    const count = waiting.size
    for (const sent of waiting) sent.destroy()
    await until(proxy, 'http.t.fault.active_faults: 0')
    return count
  }

  /** rq_total of one host, of all workers. */
  async function hostRequests(proxy: RunningProxy, name: string, port: number): Promise<number> {
    const line = (await proxy.admin('/clusters'))
      .split('\n')
      .find((one) => one.startsWith(`${name}::127.0.0.1:${port}::rq_total::`))
    return Number(line?.split('::').at(-1))
  }

  test('checks, names, ejections and tokens are those of the process', async () => {
    const expected = await observe('envoy')
    const got = await observe('outrigger')
    assert.deepEqual(got, expected)
    assert.equal(expected.limited, TOKENS)
    assert.equal(expected.slowed, FAULTS)
    assert.deepEqual(expected.perUser, [TOKENS, TOKENS])
  })
})
