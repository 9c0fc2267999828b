// track_cluster_stats side by side: the same requests fill the same histograms in real Envoy and ours.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })

function bootstrap(ports: Ports, upstream: number): object {
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
                    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 't',
                    generate_request_id: false,
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          routes: [
                            { match: { prefix: '/slow' }, route: { cluster: 'a', timeout: '0.1s' } },
                            { match: { prefix: '/resets' }, route: { cluster: 'a', timeout: '600s' } },
                            {
                              match: { prefix: '/late' },
                              route: { cluster: 'a', timeout: '600s', retry_policy: { per_try_timeout: '0.1s' } },
                            },
                            {
                              match: { prefix: '/' },
                              route: {
                                cluster: 'a',
                                timeout: '600s',
                                retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '300s' },
                              },
                            },
                          ],
                        },
                      ],
                    },
                    http_filters: [
                      { name: 'router', typed_config: { '@type': type('filters.http.router.v3.Router') } },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'a',
          type: 'STATIC',
          track_cluster_stats: { timeout_budgets: true, request_response_sizes: true },
          load_assignment: {
            cluster_name: 'a',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
          },
        },
      ],
    },
  }
}

async function send(port: number, method: string, path: string, body: string): Promise<number> {
  const sent = httpRequest({
    host: '127.0.0.1',
    port,
    method,
    path,
    headers: { host: 'a', 'x-one': 'two' },
    agent: false,
  })
  sent.end(body)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
  return response.statusCode ?? 0
}

/** Sums and counts of the tracked histograms; what depends on time is only counted. */
function tracked(prometheus: string): string[] {
  return prometheus
    .split('\n')
    .filter((line) => /^envoy_cluster_upstream_(rq|rs)_(headers|body|timeout_budget)\w*_(sum|count)\{/.test(line))
    .filter((line) => !/budget\w*_sum/.test(line))
    .map((line) => line.replace(/\{.*\}/, ''))
    .sort()
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

describe('track_cluster_stats', { skip }, () => {
  let proxies: RunningProxy[] = []
  let upstream: Server

  before(async () => {
    upstream = createServer((request, response) => {
      if (request.url === '/slow' || request.url === '/late') return
      if (request.url === '/resets') {
        request.socket.destroy()
        return
      }
      response.sendDate = false
      response.removeHeader('connection')
      response.statusCode = request.url === '/fails' ? 500 : 200
      response.setHeader('x-answer', 'yes')
      response.end('some answer')
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    proxies = await Promise.all(
      (['envoy', 'outrigger'] as const).map((name) => startProxy(name, (ports) => bootstrap(ports, port))),
    )
  })

  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    upstream.close()
    upstream.closeAllConnections()
  })

  test('sizes and used timeouts', async () => {
    const [envoy, ours] = await Promise.all(
      proxies.map(async (proxy) => {
        const { listener } = proxy.ports
        const statuses = [
          await send(listener, 'GET', '/', ''),
          await send(listener, 'POST', '/post', 'x'.repeat(1000)),
          await send(listener, 'GET', '/fails', ''),
          await send(listener, 'GET', '/slow', ''),
          await send(listener, 'GET', '/late', ''),
          await send(listener, 'GET', '/resets', ''),
        ]
        for (let i = 0; i < 1000; i++) {
          // Histograms are merged now and then.
          const lines = tracked(await proxy.admin('/stats/prometheus'))
          if (lines.some((line) => /rq_headers_size_count 7/.test(line))) return { statuses, lines }
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
        return { statuses, lines: tracked(await proxy.admin('/stats/prometheus')) }
      }),
    )
    assert.deepEqual(ours, envoy)
  })
})
