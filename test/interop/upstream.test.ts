// Upstream failures side by side: the same bootstrap in real Envoy and in our proxy, upstreams that answer badly in every
// way, and then equal answers, equal access logs and equal cluster stats.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp, request as httpRequest, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const RETRY_FAST = { retry_back_off: { base_interval: '0.001s' } }

interface Upstreams {
  readonly http: number
  readonly failing: number
  readonly garbage: number
  readonly closed: number
}

function cluster(name: string, ports: readonly number[], more: object = {}): object {
  const endpoints = ports.map((port_value) => ({
    endpoint: { address: { socket_address: { address: '127.0.0.1', port_value } } },
  }))
  return {
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: endpoints }] },
    ...more,
  }
}

function bootstrap(ports: Ports, to: Upstreams): object {
  const route = (prefix: string, action: object): object => ({
    match: { prefix },
    route: { cluster: prefix.slice(1), ...action },
  })
  return {
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: { socket_address: { address: '127.0.0.1', port_value: ports.listener } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type':
                      'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    stat_prefix: 't',
                    access_log: [
                      {
                        name: 'envoy.access_loggers.file',
                        typed_config: {
                          '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
                          path: ports.accessLog,
                          log_format: {
                            text_format_source: {
                              inline_string:
                                '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_CLUSTER%\n',
                            },
                          },
                        },
                      },
                    ],
                    route_config: {
                      name: 'r',
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          include_request_attempt_count: true,
                          include_attempt_count_in_response: true,
                          routes: [
                            route('/recovers', { retry_policy: { retry_on: '5xx', num_retries: 3, ...RETRY_FAST } }),
                            route('/fails', { retry_policy: { retry_on: '5xx', num_retries: 2, ...RETRY_FAST } }),
                            route('/hangs', {
                              timeout: '1s',
                              retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.1s', ...RETRY_FAST },
                            }),
                            route('/slow', { timeout: '0.1s' }),
                            route('/refused', {
                              retry_policy: { retry_on: 'connect-failure', num_retries: 2, ...RETRY_FAST },
                            }),
                            route('/resets', {}),
                            route('/garbage', {}),
                            route('/limited', {}),
                            route('/outlier', {}),
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
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
        ...['recovers', 'fails', 'hangs', 'slow', 'resets'].map((name) => cluster(name, [to.http])),
        cluster('refused', [to.closed]),
        cluster('garbage', [to.garbage]),
        cluster('limited', [to.http], {
          circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 1 }] },
        }),
        cluster('outlier', [to.http, to.failing], {
          outlier_detection: { consecutive_5xx: 3, max_ejection_percent: 50, base_ejection_time: '300s' },
        }),
      ],
    },
  }
}

/** Answers `/limited` requests only when both that can be let in are there or waiting: `release()`. */
class BadUpstream {
  private readonly seen = new Map<string, number>()
  private readonly held: (() => void)[] = []

  readonly listener: RequestListener = (message, response) => {
    const path = message.url ?? ''
    if (path.startsWith('/recovers')) {
      const count = (this.seen.get(path) ?? 0) + 1
      this.seen.set(path, count)
      response.statusCode = count < 3 ? 503 : 200
      response.end(`attempt ${count}`)
    } else if (path.startsWith('/fails')) response.writeHead(500).end('bad')
    else if (path.startsWith('/resets')) message.socket.destroy()
    else if (path.startsWith('/limited')) this.held.push(() => response.end('ok'))
    else if (!path.startsWith('/hangs') && !path.startsWith('/slow')) response.end()
  }

  release(): void {
    this.held.shift()?.()
  }
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, unknown>
  readonly body: string
}

async function get(port: number, path: string): Promise<Answer> {
  const sent = httpRequest({ host: '127.0.0.1', port, path, agent: false })
  sent.end()
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  let body = ''
  for await (const chunk of response) body += chunk
  const {
    date: _,
    'x-envoy-upstream-service-time': __,
    connection: ___,
    'keep-alive': ____,
    ...headers
  } = response.headers
  return { status: response.statusCode ?? 0, headers, body }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Counters and gauges of clusters, without those that depend on time or on bytes. */
function comparable(stats: string): string[] {
  return stats
    .split('\n')
    .filter((line) => line.startsWith('cluster.') && /: \d+$/.test(line))
    .filter(
      (line) =>
        !/bytes|length|destroy|warming|http1\.|update_|version|assignment|default\.total|lb_recalc|max_host_weight|pool/.test(
          line,
        ),
    )
    .sort()
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('upstream failures', { skip }, () => {
  const servers: Server[] = []
  const proxies: RunningProxy[] = []
  const upstreams = new Map<RunningProxy, BadUpstream>()

  before(async () => {
    for (const name of ['envoy', 'outrigger'] as const) {
      const upstream = new BadUpstream()
      const http = createHttp(upstream.listener)
      const failing = createHttp((_, response) => response.writeHead(500).end())
      const garbage = createTcp((socket) => {
        socket.on('error', () => {})
        socket.on('data', () => socket.end('garbage\r\n\r\n'))
      })
      servers.push(http, failing, garbage)
      const to: Upstreams = {
        http: await listen(http),
        failing: await listen(failing),
        garbage: await listen(garbage),
        closed: await freePort(),
      }
      const proxy = await startProxy(name, (ports) => bootstrap(ports, to))
      proxies.push(proxy)
      upstreams.set(proxy, upstream)
    }
  })

  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    for (const server of servers) server.close()
  })

  async function both<T>(run: (proxy: RunningProxy) => Promise<T>): Promise<[T, T]> {
    return (await Promise.all(proxies.map(run))) as [T, T]
  }

  for (const path of ['/recovers', '/fails', '/hangs', '/slow', '/refused', '/resets', '/garbage']) {
    test(path, async () => {
      const [envoy, ours] = await both((proxy) => get(proxy.ports.listener, path))
      assert.deepEqual(ours, envoy)
    })
  }

  test('requests beyond the circuit breakers', async () => {
    const [envoy, ours] = await both(async (proxy) => {
      const { listener } = proxy.ports
      const pending = (count: string): Promise<unknown> =>
        until(async () => (await proxy.admin('/stats?filter=cluster.limited')).includes(count))
      const first = get(listener, '/limited')
      await pending('cluster.limited.upstream_rq_active: 1')
      const second = get(listener, '/limited')
      await pending('cluster.limited.upstream_rq_pending_active: 1')
      const refused = await get(listener, '/limited')
      const upstream = upstreams.get(proxy)!
      upstream.release()
      const answers = [await first]
      await pending('cluster.limited.upstream_rq_pending_active: 0')
      await until(async () => {
        upstream.release()
        return (await proxy.admin('/stats?filter=cluster.limited')).includes('cluster.limited.upstream_rq_active: 0')
      })
      answers.push(await second, refused)
      return answers
    })
    assert.deepEqual(ours, envoy)
    assert.equal(ours[2]!.status, 503)
  })

  test('an outlier is ejected after three errors', async () => {
    const [envoy, ours] = await both(async (proxy) => {
      const statuses: number[] = []
      for (let i = 0; i < 12; i++) {
        statuses.push((await get(proxy.ports.listener, '/outlier')).status)
        // The main thread ejects, and answers after what workers told it before.
        await proxy.admin('/ready')
      }
      return statuses.sort()
    })
    assert.deepEqual(ours, envoy)
    assert.equal(ours.filter((status) => status === 500).length, 3)
  })

  test('logs and cluster stats are equal', async () => {
    const [envoy, ours] = await both(async (proxy) => {
      await until(async () => proxy.logLines().length >= 22)
      return { log: proxy.logLines().sort(), stats: comparable(await proxy.admin('/stats?usedonly')) }
    })
    assert.deepEqual(ours.log, envoy.log)
    const without = (list: readonly string[], other: readonly string[]) => list.filter((line) => !other.includes(line))
    assert.deepEqual(without(ours.stats, envoy.stats), without(envoy.stats, ours.stats))
  })
})

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('condition not reached')
}
