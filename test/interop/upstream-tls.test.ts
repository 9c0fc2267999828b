// TLS in combinations, beside real Envoy: a PROXY header ahead of TLS to the upstream, the dynamic forward proxy over TLS
// with names of its own, secrets that never come, how long a handshake took.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls'
import { type NameServer, startNameServer } from '../../src/proxy/upstream/dns/testing.ts'
import { Pki } from './harness/pki.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const FORMAT =
  '%REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_HANDSHAKE_DURATION%\n'
const skip = envoyBinary() ? false : 'real Envoy is not installed'

interface Around {
  readonly tls: number
  readonly proxied: number
  readonly dns: number
  readonly silent: number
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly secure: number
  readonly waiting: number
}

const upstreamTls = (ca: string, fields: object = {}): object => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': type('transport_sockets.tls.v3.UpstreamTlsContext'),
    common_tls_context: { validation_context: { trusted_ca: { inline_string: ca } } },
    ...fields,
  },
})
const proxied = (version: string, inner: object): object => ({
  name: 'envoy.transport_sockets.upstream_proxy_protocol',
  typed_config: {
    '@type': type('transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
    config: { version },
    transport_socket: inner,
  },
})
const cluster = (name: string, port: number, fields: object): object => ({
  name,
  type: 'STATIC',
  connect_timeout: '2s',
  load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
  ...fields,
})
const named = (auto_san_validation: boolean): object => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': type('upstreams.http.v3.HttpProtocolOptions'),
      upstream_http_protocol_options: { auto_sni: true, auto_san_validation },
      explicit_http_config: { http_protocol_options: {} },
    },
  },
})

function bootstrap(ports: Ports, around: Around): object {
  const dns_cache_config = {
    name: 'names',
    dns_lookup_family: 'V4_ONLY',
    typed_dns_resolver_config: {
      name: 'envoy.network.dns_resolver.cares',
      typed_config: {
        '@type': type('network.dns_resolver.cares.v3.CaresDnsResolverConfig'),
        resolvers: [address(around.dns)],
        dns_resolver_options: { no_default_search_domain: true },
      },
    },
  }
  const dynamic = (name: string, fields: object): object => ({
    name,
    connect_timeout: '2s',
    lb_policy: 'CLUSTER_PROVIDED',
    cluster_type: {
      name: 'envoy.clusters.dynamic_forward_proxy',
      typed_config: {
        '@type': type('clusters.dynamic_forward_proxy.v3.ClusterConfig'),
        dns_cache_config,
        allow_insecure_cluster_options: true,
      },
    },
    ...fields,
  })
  const { ca } = around
  const clusters = [
    cluster('v1', around.proxied, { transport_socket: proxied('V1', upstreamTls(ca, { sni: 'good.example' })) }),
    cluster('v2', around.proxied, { transport_socket: proxied('V2', upstreamTls(ca, { sni: 'good.example' })) }),
    dynamic('dynamic', { transport_socket: upstreamTls(ca), ...named(true) }),
    dynamic('unchecked', { transport_socket: upstreamTls(ca), ...named(false) }),
    dynamic('plain-options', { transport_socket: upstreamTls(ca) }),
    cluster('silent', around.silent, {
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': type('upstreams.http.v3.HttpProtocolOptions'),
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    }),
  ]
  const names = ['v1', 'v2', 'dynamic', 'unchecked', 'plain-options']
  const manager = {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
      stat_prefix: 't',
      access_log: [
        {
          name: 'f',
          typed_config: {
            '@type': type('access_loggers.file.v3.FileAccessLog'),
            path: ports.accessLog,
            log_format: { text_format_source: { inline_string: FORMAT } },
          },
        },
      ],
      route_config: {
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: names.map((name) => ({ match: { path: `/${name}` }, route: { cluster: name } })),
          },
        ],
      },
      http_filters: [
        {
          name: 'dfp',
          typed_config: { '@type': type('filters.http.dynamic_forward_proxy.v3.FilterConfig'), dns_cache_config },
        },
        { name: 'router', typed_config: { '@type': type('filters.http.router.v3.Router') } },
      ],
    },
  }
  const downstream = (common_tls_context: object): object => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: { '@type': type('transport_sockets.tls.v3.DownstreamTlsContext'), common_tls_context },
  })
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(ports.admin) },
    static_resources: {
      clusters,
      listeners: [
        { name: 'plain', address: address(ports.listener), filter_chains: [{ filters: [manager] }] },
        {
          name: 'secure',
          address: address(around.secure),
          filter_chains: [
            {
              filters: [manager],
              transport_socket: downstream({
                tls_certificates: [
                  { certificate_chain: { inline_string: around.cert }, private_key: { inline_string: around.key } },
                ],
              }),
            },
          ],
        },
        {
          name: 'waiting',
          stat_prefix: 'waiting',
          address: address(around.waiting),
          filter_chains: [
            {
              filters: [manager],
              transport_socket: downstream({
                tls_certificate_sds_secret_configs: [
                  {
                    name: 'never',
                    sds_config: {
                      initial_fetch_timeout: '0.3s',
                      resource_api_version: 'V3',
                      api_config_source: {
                        api_type: 'GRPC',
                        transport_api_version: 'V3',
                        grpc_services: [{ envoy_grpc: { cluster_name: 'silent' } }],
                      },
                    },
                  },
                ],
              }),
            },
          ],
        },
      ],
    },
  }
}

/** Status and body of the answer to one request on a connection of its own. */
async function ask(port: number, request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('error', () => {}).on('data', (chunk) => (text += chunk))
  socket.write(request)
  await new Promise((resolve) => socket.on('close', resolve))
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  return `${text.slice(9, 12)} ${/^[0-9a-f]+\r\n/.test(body) ? body.split('\r\n')[1] : body}`
}

describe('TLS in combinations', { skip }, () => {
  const pki = new Pki()
  const sides: { proxy: RunningProxy; secure: number; waiting: number }[] = []
  const servers: Server[] = []
  let names: NameServer
  let dns = 0

  before(async () => {
    const ca = pki.authority(null, 'ca')
    const good = ca.issue('DNS:good.example')
    const context = createSecureContext(good)
    const http = createHttp((message, response) => {
      const { servername, header } = message.socket as TLSSocket & { header?: string }
      response.end(`${servername || '-'} ${header ?? 'no header'}`)
    })
    const secured = (socket: TLSSocket, header: string): void => {
      socket.on('error', () => {})
      http.emit('connection', Object.assign(socket, { header }))
    }
    const tls = createServer((socket) => {
      socket.on('error', () => {})
      const over = new TLSSocket(socket, {
        isServer: true,
        secureContext: context,
        SNICallback: (_, done) => done(null, context),
      })
      secured(over, '')
    })
    const behind = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (bytes) => {
        const text = bytes.subarray(0, 5).toString() === 'PROXY'
        const length = text ? bytes.indexOf('\r\n') + 2 : 16 + bytes.readUInt16BE(14)
        const header = bytes.subarray(0, length)
        // The client's port is chance.
        const told = text
          ? header.toString().trim().split(' ').slice(0, 4).join(' ')
          : header.subarray(0, 24).toString('hex')
        socket.pause()
        if (bytes.length > length) socket.unshift(bytes.subarray(length))
        secured(
          new TLSSocket(socket, {
            isServer: true,
            secureContext: context,
            SNICallback: (_, done) => done(null, context),
          }),
          told,
        )
      })
    })
    const silent = createServer((socket) => socket.on('error', () => {}).resume())
    names = await startNameServer({ 'good.example': ['127.0.0.1'], 'other.example': ['127.0.0.1'] })
    dns = names.port
    for (const server of [tls, behind, silent]) {
      servers.push(server.listen(0, '127.0.0.1'))
      await once(server, 'listening')
    }
    const [tlsPort, proxiedPort, silentPort] = servers.map((server) => (server.address() as AddressInfo).port)
    for (const name of ['envoy', 'outrigger'] as const) {
      const [secure, waiting] = [await freePort(), await freePort()]
      const around = {
        tls: tlsPort!,
        proxied: proxiedPort!,
        silent: silentPort!,
        dns,
        ca: ca.pair.cert,
        ...good,
        secure,
        waiting,
      }
      sides.push({ proxy: await startProxy(name, (ports) => bootstrap(ports, around)), secure, waiting })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
    names.close()
    pki.remove()
  })

  async function both<T>(play: (side: (typeof sides)[0]) => Promise<T>): Promise<T> {
    const [envoy, ours] = [await play(sides[0]!), await play(sides[1]!)]
    assert.deepEqual(ours, envoy)
    return envoy
  }
  const get = (path: string, host: string): string =>
    `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`

  test('a PROXY header goes ahead of TLS', async () => {
    for (const version of ['v1', 'v2']) {
      const seen = await both(async ({ proxy }) => ask(proxy.ports.listener, get(`/${version}`, 'a')))
      assert.match(
        seen,
        version === 'v1' ? /^200 good\.example PROXY TCP4 127\.0\.0\.1/ : /^200 good\.example 0d0a0d0a/,
      )
    }
  })

  test('the dynamic forward proxy names and checks the host that was asked for', async () => {
    const port = (servers[0]!.address() as AddressInfo).port
    for (const path of ['/dynamic', '/unchecked', '/plain-options']) {
      for (const host of [`good.example:${port}`, `other.example:${port}`]) {
        await both(async ({ proxy }) => ask(proxy.ports.listener, get(path, host)))
      }
    }
  })

  test('a handshake takes time, and there is none without TLS', async () => {
    const logged = async ({ proxy, secure }: (typeof sides)[0]): Promise<string[]> => {
      const socket = connectTls({ port: secure, host: '127.0.0.1', rejectUnauthorized: false })
      socket.write(get('/v1', 'handshake'))
      socket.resume()
      await once(socket, 'close')
      await ask(proxy.ports.listener, get('/v1', 'handshake'))
      for (;;) {
        const lines = proxy.logLines().filter((line) => line.includes('handshake'))
        if (lines.length === 2) return lines.map((line) => line.replace(/ \d+$/, ' MS')).sort()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    const lines = await both(logged)
    assert.deepEqual(
      lines.map((line) => line.slice(-2)),
      [' -', 'MS'],
    )
  })

  test('a listener whose secret does not come in time is there and takes nobody', async () => {
    await both(async ({ proxy, waiting }) => {
      const socket = connect(waiting, '127.0.0.1')
      let bytes = 0
      socket.on('error', () => {}).on('data', (chunk) => (bytes += chunk.length))
      socket.write('hello')
      await new Promise((resolve) => socket.on('close', resolve))
      const stats = await proxy.admin(
        '/stats?filter=waiting.*(secrets_not_ready|no_filter_chain)|sds.never.(init_fetch_timeout|update_(attempt|failure|rejected|success)|version|control_plane.identifier)',
      )
      return [bytes, stats]
    })
  })

  test('log lines agree', async () => {
    await both(async ({ proxy }) =>
      proxy
        .logLines()
        .map((line) => line.replace(/ \d+$/, ' MS').replace(/example:\d+/, 'example:PORT'))
        .sort(),
    )
  })
})
