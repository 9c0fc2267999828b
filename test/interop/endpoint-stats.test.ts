// per_endpoint_stats beside real Envoy: what each host has counted, in text, JSON and Prometheus form.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`

function bootstrap({ listener, admin }: Ports, upstream: number): object {
  const cluster = (name: string, tracked: object, lb_endpoints: object[]): object => ({
    name,
    type: 'STATIC',
    common_lb_config: { healthy_panic_threshold: {} },
    alt_stat_name: `stat.${name}`,
    track_cluster_stats: tracked,
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints }] },
  })
  const up = { endpoint: { address: address(upstream), hostname: 'host.example' } }
  const none = { endpoint: { address: address(1) } }
  return {
    admin: { address: address(admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'h',
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          routes: ['up', 'gone', 'quiet'].map((name) => ({
                            match: { prefix: `/${name}` },
                            route: { cluster: name },
                          })),
                        },
                      ],
                    },
                    http_filters: [{ name: 'router', typed_config: { '@type': type('http.router.v3.Router') } }],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        cluster('up', { per_endpoint_stats: true }, [
          up,
          { endpoint: { address: { pipe: { path: '/tmp/no.sock' } } }, health_status: 'UNHEALTHY' },
          { endpoint: { address: { socket_address: { address: '::1', port_value: 1 } } }, health_status: 'UNHEALTHY' },
        ]),
        cluster('gone', { per_endpoint_stats: true }, [
          { endpoint: { ...none.endpoint, observability_name: 'obs.name:1' } },
        ]),
        cluster('quiet', { timeout_budgets: true }, [up]),
      ],
    },
  }
}

/** One answered request; a connection of its own. */
async function get(port: number, path: string): Promise<void> {
  const sent = request({ host: '127.0.0.1', port, path, agent: false })
  sent.end()
  const [response] = await once(sent, 'response')
  response.resume()
  await once(response, 'end')
}

describe('per_endpoint_stats', { skip: envoyBinary() === null ? 'real Envoy is not installed' : false }, () => {
  test('are those of Envoy', async (t) => {
    const upstream = createServer((request, response) => {
      response.statusCode = request.url === '/up/error' ? 500 : 200
      response.end('ok')
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    const make = (ports: Ports): object => bootstrap(ports, port)
    const proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)] as const
    t.after(async () => {
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      upstream.closeAllConnections()
      upstream.close()
    })
    for (const proxy of proxies)
      for (const path of ['/up', '/up/error', '/gone', '/quiet', '/up']) await get(proxy.ports.listener, path)
    const queries = [
      '/stats?filter=endpoint',
      '/stats?filter=endpoint&usedonly&type=Gauges',
      '/stats?filter=endpoint&type=Counters&format=json',
      '/stats?filter=endpoint&type=Histograms',
      '/stats?filter=rq_total&format=json',
      '/stats/prometheus?filter=endpoint',
      '/stats/prometheus?filter=endpoint&type=Gauges',
    ]
    for (const query of queries) {
      // Clusters stand in no order.
      const page = async (proxy: RunningProxy): Promise<string[]> =>
        (await proxy.admin(query))
          .split(/(?<=\n|\},)/)
          .filter((line) => line.includes('endpoint'))
          .map((line) => line.replace(/^{"stats":\[/, '').replace(/[\]},\n]*$/, ''))
          .sort()
      assert.deepEqual(await page(proxies[1]), await page(proxies[0]), query)
    }
  })
})
