// happy_eyeballs_config beside real Envoy: which address of a host with both families is tried first.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const at = (address: string, port_value: number): object => ({ socket_address: { address, port_value } })
const CONFIGS: Readonly<Record<string, object | null>> = {
  none: null,
  empty: {},
  v4: { first_address_family_version: 'V4' },
  v6: { first_address_family_version: 'V6' },
  six: { first_address_family_version: 'V6', first_address_family_count: 3 },
}

function bootstrap({ listener, admin, accessLog }: Ports, upstream: number): object {
  return {
    admin: { address: at('127.0.0.1', admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: at('127.0.0.1', listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'h',
                    access_log: [
                      {
                        name: 'file',
                        typed_config: {
                          '@type': type('access_loggers.file.v3.FileAccessLog'),
                          path: accessLog,
                          log_format: {
                            text_format_source: { inline_string: '%REQ(:PATH)% %UPSTREAM_REMOTE_ADDRESS%\n' },
                          },
                        },
                      },
                    ],
                    route_config: {
                      virtual_hosts: [
                        {
                          name: 'v',
                          domains: ['*'],
                          routes: Object.keys(CONFIGS).map((name) => ({
                            match: { prefix: `/${name}` },
                            route: { cluster: name },
                          })),
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
      clusters: Object.entries(CONFIGS).map(([name, happy_eyeballs_config]) => ({
        name,
        type: 'STATIC',
        ...(happy_eyeballs_config && { upstream_connection_options: { happy_eyeballs_config } }),
        load_assignment: {
          cluster_name: name,
          endpoints: [
            {
              lb_endpoints: [
                {
                  endpoint: {
                    address: at('127.0.0.1', upstream),
                    additional_addresses: [{ address: at('127.0.0.2', upstream) }, { address: at('::1', upstream) }],
                  },
                },
              ],
            },
          ],
        },
      })),
    },
  }
}

const noIpv6 = !Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'))
const skip = envoyBinary() === null ? 'real Envoy is not installed' : noIpv6 ? 'there is no IPv6 here' : false

test('the family that is asked for is tried first, as by Envoy', { skip }, async (t) => {
  const upstream = createServer((_request, response) => response.end())
  // Both families.
  upstream.listen(0, '::')
  await once(upstream, 'listening')
  const { port } = upstream.address() as AddressInfo
  const make = (ports: Ports): object => bootstrap(ports, port)
  const proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)] as const
  t.after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    upstream.closeAllConnections()
    upstream.close()
  })
  const reached = async (proxy: RunningProxy): Promise<string[]> => {
    for (const name of Object.keys(CONFIGS)) {
      const sent = request({ host: '127.0.0.1', port: proxy.ports.listener, path: `/${name}`, agent: false })
      sent.end()
      const [response] = await once(sent, 'response')
      response.resume()
      await once(response, 'end')
    }
    while (proxy.logLines().length < Object.keys(CONFIGS).length)
      await new Promise((resolve) => setTimeout(resolve, 20))
    return proxy.logLines().sort()
  }
  const theirs = await reached(proxies[0])
  assert.ok(theirs.some((line) => line.includes('[::1]')))
  assert.deepEqual(await reached(proxies[1]), theirs)
})
