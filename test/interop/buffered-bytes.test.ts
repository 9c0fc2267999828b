// The gauges *_bytes_buffered beside real Envoy: what the last read has brought, as long as its connection is open.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`

function bootstrap({ listener, admin }: Ports, tcp: number, upstream: number): object {
  const cluster = (name: string): object => ({
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
    },
  })
  return {
    admin: { address: address(admin) },
    static_resources: {
      listeners: [
        {
          name: 'http',
          address: address(listener),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
                    stat_prefix: 'h',
                    generate_request_id: false,
                    route_config: {
                      virtual_hosts: [
                        { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up' } }] },
                      ],
                    },
                    http_filters: [
                      {
                        name: 'router',
                        typed_config: { '@type': type('http.router.v3.Router'), suppress_envoy_headers: true },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
        {
          name: 'tcp',
          address: address(tcp),
          filter_chains: [
            {
              filters: [
                {
                  name: 'tcp',
                  typed_config: { '@type': type('network.tcp_proxy.v3.TcpProxy'), stat_prefix: 't', cluster: 'raw' },
                },
              ],
            },
          ],
        },
      ],
      clusters: [cluster('up'), cluster('raw')],
    },
  }
}

describe('buffered bytes', { skip: envoyBinary() === null ? 'real Envoy is not installed' : false }, () => {
  let upstream: Server
  const proxies: { proxy: RunningProxy; tcp: number }[] = []
  const clients: Socket[] = []
  before(async () => {
    upstream = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'))
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    for (const name of ['envoy', 'outrigger'] as const) {
      const tcp = await freePort()
      proxies.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, tcp, port)), tcp })
    }
  })
  after(async () => {
    for (const client of clients) client.destroy()
    await Promise.all(proxies.map(({ proxy }) => proxy.stop()))
    upstream.close()
  })

  const seen = async (proxy: RunningProxy, until: RegExp): Promise<string[]> => {
    for (let i = 0; ; i++) {
      const page = await proxy.admin('/stats?filter=^(http.h|tcp.t|cluster).*bytes_(buffered|total)')
      if (until.test(page) || i > 200) return page.split('\n')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const exchange = async (port: number, ...requests: string[]): Promise<void> => {
    const client = connect(port, '127.0.0.1')
    clients.push(client)
    for (const request of requests) {
      client.write(request)
      for (let got = ''; !got.endsWith('hello'); ) got += String((await once(client, 'data'))[0])
    }
  }

  test('while connections are open, and when they are closed', async () => {
    for (const { proxy, tcp } of proxies) {
      await exchange(
        proxy.ports.listener,
        'GET / HTTP/1.1\r\nhost: a\r\n\r\n',
        'GET /longer HTTP/1.1\r\nhost: a\r\n\r\n',
      )
      await exchange(proxy.ports.listener, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      await exchange(tcp, 'some bytes', 'more')
    }
    const [theirs, mine] = proxies
    const open = /up.upstream_cx_rx_bytes_total: 1[0-9][0-9]/
    assert.deepEqual(await seen(mine!.proxy, open), await seen(theirs!.proxy, open))
    for (const client of clients) client.destroy()
    const closed = /http.h.downstream_cx_rx_bytes_buffered: 0[\s\S]*tcp.t.downstream_cx_rx_bytes_buffered: 0/
    assert.deepEqual(await seen(mine!.proxy, closed), await seen(theirs!.proxy, closed))
  })
})
