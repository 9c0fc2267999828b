// The dynamic forward proxy side by side: real Envoy and ours resolve the same names at the same name server, and then
// equal answers, equal access logs and equal cache and cluster stats.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcp, type Server as TcpServer } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type NameServer, startNameServer } from '../../src/proxy/upstream/dns/testing.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })

/** How names become hosts. */
type Variant = 'filter' | 'no filter' | 'sub clusters' | 'sni'

const FORMAT =
  '%REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%\n'

function resolver(dns: number): object {
  return {
    name: 'envoy.network.dns_resolver.cares',
    typed_config: {
      '@type': type('network.dns_resolver.cares.v3.CaresDnsResolverConfig'),
      resolvers: [address(dns)],
      dns_resolver_options: { no_default_search_domain: true },
    },
  }
}

function bootstrap(variant: Variant, ports: Ports, dns: number, upstream: number): object {
  const dns_cache_config = {
    name: 'names',
    dns_lookup_family: 'V4_ONLY',
    max_hosts: 5,
    dns_query_timeout: '0.3s',
    dns_failure_refresh_rate: { base_interval: '10s', max_interval: '20s' },
    typed_dns_resolver_config: resolver(dns),
  }
  const sub = variant === 'sub clusters'
  const perRoute = (config: object): object => ({
    typed_per_filter_config: {
      'envoy.filters.http.dynamic_forward_proxy': {
        '@type': type('filters.http.dynamic_forward_proxy.v3.PerRouteConfig'),
        ...config,
      },
    },
  })
  const access_log = [
    {
      name: 'f',
      typed_config: {
        '@type': type('access_loggers.file.v3.FileAccessLog'),
        path: ports.accessLog,
        log_format: { text_format_source: { inline_string: FORMAT } },
      },
    },
  ]
  const route = { cluster: 'dyn' }
  const http = {
    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 't',
    access_log,
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            { match: { prefix: '/literal' }, route, ...perRoute({ host_rewrite_literal: `good.example:${upstream}` }) },
            { match: { prefix: '/header' }, route, ...perRoute({ host_rewrite_header: 'x-to' }) },
            { match: { prefix: '/' }, route },
          ],
        },
      ],
    },
    http_filters: [
      ...(variant === 'no filter'
        ? []
        : [
            {
              name: 'envoy.filters.http.dynamic_forward_proxy',
              typed_config: {
                '@type': type('filters.http.dynamic_forward_proxy.v3.FilterConfig'),
                ...(sub ? { sub_cluster_config: { cluster_init_timeout: '0.3s' } } : { dns_cache_config }),
              },
            },
          ]),
      { name: 'router', typed_config: { '@type': type('filters.http.router.v3.Router') } },
    ],
  }
  const sni = [
    {
      name: 'sni',
      typed_config: {
        '@type': type('filters.network.sni_dynamic_forward_proxy.v3.FilterConfig'),
        dns_cache_config,
        port_value: upstream,
      },
    },
    {
      name: 'tcp',
      typed_config: {
        '@type': type('filters.network.tcp_proxy.v3.TcpProxy'),
        stat_prefix: 't',
        cluster: 'dyn',
        access_log,
      },
    },
  ]
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: address(ports.listener),
          ...(variant === 'sni'
            ? {
                listener_filters: [
                  {
                    name: 'tls',
                    typed_config: { '@type': type('filters.listener.tls_inspector.v3.TlsInspector') },
                  },
                ],
              }
            : {}),
          filter_chains: [{ filters: variant === 'sni' ? sni : [{ name: 'hcm', typed_config: http }] }],
        },
      ],
      clusters: [
        {
          name: 'dyn',
          lb_policy: 'CLUSTER_PROVIDED',
          connect_timeout: '1s',
          ...(sub ? { dns_lookup_family: 'V4_ONLY', typed_dns_resolver_config: resolver(dns) } : {}),
          cluster_type: {
            name: 'envoy.clusters.dynamic_forward_proxy',
            typed_config: {
              '@type': type('clusters.dynamic_forward_proxy.v3.ClusterConfig'),
              ...(sub ? { sub_clusters_config: { max_sub_clusters: 5 } } : { dns_cache_config }),
            },
          },
        },
      ],
    },
  }
}

async function get(port: number, path: string, headers: Record<string, string>): Promise<string> {
  const sent = httpRequest({ host: '127.0.0.1', port, path, headers, agent: false })
  sent.end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  let body = ''
  for await (const chunk of response) body += chunk
  return `${response.statusCode} ${body}`
}

/** The same requests for every variant: known, unknown and silent names, an address, rewrites, and more than fit. */
const requests = (port: number): [string, Record<string, string>][] => [
  ['/', { host: `good.example:${port}` }],
  ['/', { host: `good.example:${port}` }],
  ['/', { host: `other.example:${port}` }],
  ['/', { host: `missing.example:${port}` }],
  ['/', { host: `missing.example:${port}` }],
  ['/', { host: `silent.example:${port}` }],
  ['/', { host: `127.0.0.1:${port}` }],
  ['/literal', { host: `x.example:${port}` }],
  ['/header', { host: `y.example:${port}`, 'x-to': `good.example:${port}` }],
  ['/', { host: `one-too-many.example:${port}` }],
]

/** Counters and gauges that do not depend on time, bytes or the order of things. */
function comparable(stats: string, variant: Variant): string[] {
  // Sub clusters are STRICT_DNS clusters, which have their own comparison.
  const names = variant === 'sub clusters' ? /^cluster\.dyn\./ : /^(cluster\.dyn|dns_cache)\./
  return stats
    .split('\n')
    .filter((line) => names.test(line) && /: \d+$/.test(line))
    .filter((line) => !/bytes|_ms|destroy|warming_state|version|none_healthy|length|pool/.test(line))
    .sort()
}

/** The first message of a TLS client that asks for `name`. */
async function clientHello(name: string): Promise<Buffer> {
  const { connect: tlsConnect } = await import('node:tls')
  const catcher = createTcp()
  catcher.listen(0, '127.0.0.1')
  await once(catcher, 'listening')
  const client = tlsConnect({ port: (catcher.address() as AddressInfo).port, host: '127.0.0.1', servername: name })
  client.on('error', () => {})
  const [socket] = await once(catcher, 'connection')
  const [hello] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  catcher.close()
  return hello
}

const skip = envoyBinary() === null ? 'real Envoy is not installed' : false

for (const variant of ['filter', 'no filter', 'sub clusters'] as const) {
  describe(`dynamic forward proxy, ${variant}`, { skip }, () => {
    let proxies: RunningProxy[] = []
    let upstream: Server
    let dns: NameServer
    let port = 0

    before(async () => {
      dns = await startNameServer({ 'good.example': ['127.0.0.1'], 'other.example': ['127.0.0.1'] })
      upstream = createServer((request, response) => response.end(`${request.headers.host} ${request.url}`))
      port = await freePort()
      upstream.listen(port)
      await once(upstream, 'listening')
      proxies = await Promise.all(
        (['envoy', 'outrigger'] as const).map((name) =>
          startProxy(name, (ports) => bootstrap(variant, ports, dns.port, port)),
        ),
      )
    })

    after(async () => {
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      upstream.close()
      upstream.closeAllConnections()
      dns.close()
    })

    test('answers, logs and stats are equal', async () => {
      const results = await Promise.all(
        proxies.map(async (proxy) => {
          const answers: string[] = []
          for (const [path, headers] of requests(port)) answers.push(await get(proxy.ports.listener, path, headers))
          await until(() => proxy.logLines().length === answers.length)
          return {
            answers,
            log: proxy.logLines(),
            stats: comparable(await proxy.admin('/stats?usedonly'), variant),
          }
        }),
      )
      const [envoy, ours] = results as [(typeof results)[0], (typeof results)[0]]
      assert.deepEqual(ours.answers, envoy.answers)
      assert.deepEqual(ours.log, envoy.log)
      assert.deepEqual(ours.stats, envoy.stats)
      assert.match(ours.answers[0]!, /^200 /)
    })
  })
}

describe('dynamic forward proxy by server name', { skip }, () => {
  let proxies: RunningProxy[] = []
  let upstream: TcpServer
  let dns: NameServer

  before(async () => {
    dns = await startNameServer({ 'good.example': ['127.0.0.1'] })
    upstream = createTcp((socket) => {
      socket.on('error', () => {})
      socket.once('data', (chunk: Buffer) => socket.end(`got ${chunk.length}`))
    })
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    proxies = await Promise.all(
      (['envoy', 'outrigger'] as const).map((name) =>
        startProxy(name, (ports) => bootstrap('sni', ports, dns.port, port)),
      ),
    )
  })

  after(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    upstream.close()
    dns.close()
  })

  test('the name decides where the bytes go', async () => {
    const hellos = await Promise.all(['good.example', 'missing.example'].map(clientHello))
    const results = await Promise.all(
      proxies.map(async (proxy) => {
        const answers: string[] = []
        for (const hello of hellos) {
          const socket = connect(proxy.ports.listener, '127.0.0.1')
          socket.on('error', () => {})
          socket.write(hello)
          let text = ''
          socket.on('data', (chunk) => (text += chunk))
          await new Promise((resolve) => socket.once('close', resolve))
          answers.push(text)
        }
        await until(() => proxy.logLines().length === answers.length)
        return { answers, log: proxy.logLines(), stats: comparable(await proxy.admin('/stats?usedonly'), 'sni') }
      }),
    )
    const [envoy, ours] = results as [(typeof results)[0], (typeof results)[0]]
    assert.deepEqual(ours.answers, envoy.answers)
    assert.deepEqual(ours.log, envoy.log)
    assert.deepEqual(ours.stats, envoy.stats)
    assert.match(ours.answers[0]!, /^got /)
  })
})

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10))
}
