// TLS side by side: the same bootstrap in real Envoy and in our proxy; clients and servers of every kind; then equal
// answers, equal alerts, equal access logs and equal `ssl.` stats.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { createServer as createHttps, type ServerOptions } from 'node:https'
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type ConnectionOptions, connect } from 'node:tls'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const ACCESS_LOG = (path: string, format: string): object => ({
  name: 'envoy.access_loggers.file',
  typed_config: {
    '@type': type('extensions.access_loggers.file.v3.FileAccessLog'),
    path,
    log_format: { text_format_source: { inline_string: `${format}\n` } },
  },
})
const CONNECTION_FORMAT =
  'C %REQUESTED_SERVER_NAME% [%DOWNSTREAM_TRANSPORT_FAILURE_REASON%] %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%'
const REQUEST_FORMAT =
  'R %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN% ' +
  '%DOWNSTREAM_PEER_IP_SAN% %DOWNSTREAM_PEER_EMAIL_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% ' +
  '%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_FINGERPRINT_1% ' +
  '%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END% %DOWNSTREAM_PEER_CERT% ' +
  '%DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_DNS_SAN% %DOWNSTREAM_LOCAL_SUBJECT% ' +
  '%DOWNSTREAM_PEER_OTHERNAME_SAN% %DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256% %DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1% ' +
  '%DOWNSTREAM_PEER_CHAIN_SERIALS% %DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256% %DOWNSTREAM_PEER_ISSUER_SERIAL% ' +
  '%DOWNSTREAM_LOCAL_IP_SAN% %DOWNSTREAM_LOCAL_EMAIL_SAN% %DOWNSTREAM_LOCAL_OTHERNAME_SAN% %DOWNSTREAM_TLS_GROUP% ' +
  '%UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_PEER_URI_SAN% ' +
  '%UPSTREAM_TLS_GROUP% %UPSTREAM_LOCAL_IP_SAN%'

/** Filter chains by SNI, and what each asks of its clients. */
const CHAINS: Readonly<
  Record<
    string,
    {
      readonly require?: boolean
      readonly validation?: object
      readonly params?: object
      readonly alpn?: readonly string[]
    }
  >
> = {
  'open.example': {},
  'listed.example': { alpn: ['x,http/1.1', 'y'] },
  'old.example': { params: { tls_maximum_protocol_version: 'TLSv1_2' } },
  'new.example': { params: { tls_minimum_protocol_version: 'TLSv1_3' } },
  'required.example': { require: true, validation: {} },
  'optional.example': { validation: {} },
  'san.example': {
    require: true,
    validation: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://good/' } }] },
  },
  'other-name.example': {
    require: true,
    validation: {
      match_typed_subject_alt_names: [{ san_type: 'OTHER_NAME', oid: '1.2.3.4', matcher: { exact: 'other' } }],
    },
  },
  'hash.example': { require: true, validation: { verify_certificate_hash: ['00'.repeat(32)] } },
  'untrusted.example': { require: true, validation: { trust_chain_verification: 'ACCEPT_UNTRUSTED' } },
  'expired.example': { require: true, validation: { allow_expired_certificate: true } },
}

interface Upstreams {
  readonly plain: number
  readonly tls: number
  readonly tls13: number
  readonly asks: number
  readonly asks12: number
  readonly hangsUp: number
}

function bootstrap(ca: TestCa, server: TestCertificate, client: TestCertificate, to: Upstreams) {
  const pair = ({ cert, key }: TestCertificate): object => ({
    certificate_chain: { inline_string: cert },
    private_key: { inline_string: key },
  })
  const trusted = { trusted_ca: { inline_string: ca.cert } }
  const cluster = (name: string, port: number, common: object | null): object => ({
    name,
    type: 'STATIC',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }],
        },
      ],
    },
    ...(common === null
      ? {}
      : {
          transport_socket: {
            name: 'tls',
            typed_config: {
              '@type': type('extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
              sni: 'upstream.example',
              common_tls_context: common,
            },
          },
        }),
  })
  const clusters = (): object[] => [
    cluster('plain', to.plain, null),
    cluster('good', to.tls, {
      validation_context: {
        ...trusted,
        match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'upstream.example' } }],
      },
    }),
    cluster('good13', to.tls13, {
      tls_params: { tls_maximum_protocol_version: 'TLSv1_3' },
      validation_context: trusted,
    }),
    cluster('bad-san', to.tls, {
      validation_context: {
        ...trusted,
        match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'other.example' } }],
      },
    }),
    cluster('bad-hash', to.tls, { validation_context: { ...trusted, verify_certificate_hash: ['00'.repeat(32)] } }),
    cluster('bad-ca', to.tls, { validation_context: { trusted_ca: { inline_string: server.cert } } }),
    cluster('no-tls-there', to.plain, { validation_context: trusted }),
    cluster('version', to.tls13, { validation_context: trusted }),
    cluster('asked', to.asks, {
      tls_params: { tls_maximum_protocol_version: 'TLSv1_3' },
      tls_certificates: [pair(client)],
    }),
    cluster('asked-in-vain', to.asks12, {}),
    cluster('hangs-up', to.hangsUp, { validation_context: trusted }),
  ]
  const names = [
    'plain',
    'good13',
    'good',
    'bad-san',
    'bad-hash',
    'bad-ca',
    'no-tls-there',
    'version',
    'asked-in-vain',
    'asked',
    'hangs-up',
  ]
  const manager = (ports: Ports): object => ({
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
      stat_prefix: 't',
      access_log: [ACCESS_LOG(ports.accessLog, REQUEST_FORMAT)],
      forward_client_cert_details: 'APPEND_FORWARD',
      set_current_client_cert_details: { subject: true, cert: true, chain: true, dns: true, uri: true },
      route_config: {
        name: 'r',
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: names.map((name) => ({ match: { prefix: `/${name}` }, route: { cluster: name } })),
          },
        ],
      },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': type('extensions.filters.http.router.v3.Router') },
        },
      ],
    },
  })
  return (ports: Ports): object => ({
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
    static_resources: {
      listeners: [
        {
          name: 'l',
          stat_prefix: 'l',
          address: { socket_address: { address: '127.0.0.1', port_value: ports.listener } },
          listener_filters: [
            {
              name: 'envoy.filters.listener.tls_inspector',
              typed_config: { '@type': type('extensions.filters.listener.tls_inspector.v3.TlsInspector') },
            },
          ],
          access_log: [ACCESS_LOG(ports.accessLog, CONNECTION_FORMAT)],
          filter_chains: Object.entries(CHAINS).map(([name, { require, validation, params, alpn }]) => ({
            name,
            filter_chain_match: { server_names: [name] },
            filters: [manager(ports)],
            transport_socket: {
              name: 'tls',
              typed_config: {
                '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
                require_client_certificate: require ?? false,
                common_tls_context: {
                  tls_certificates: [pair(server)],
                  alpn_protocols: alpn ?? ['http/1.1'],
                  ...(params ? { tls_params: params } : {}),
                  ...(validation ? { validation_context: { ...trusted, ...validation } } : {}),
                },
              },
            },
          })),
        },
      ],
      clusters: clusters(),
    },
  })
}

/** Sends its CA too. */
function chained({ cert, key }: TestCertificate, ca: TestCa): TestCertificate {
  return { cert: `${cert}${ca.cert}`, key }
}

/** What a client has seen. */
interface Seen {
  readonly answer: string
  /** Node's code of the alert or error; '' = none. */
  readonly error: string
  readonly protocol: string
  readonly alpn: string
}

/** OpenSSL cannot be made to send Envoy's alert for a wrong hash (docs/differences.md). */
const HASH_ALERT = 'ERR_SSL_TLSV1_BAD_CERTIFICATE_HASH_VALUE'
const UNKNOWN_ALERT = 'ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN'

/** One connection with one request; ends with the answer's last byte, an error or the close. */
function ask(port: number, path: string, options: ConnectionOptions): Promise<Seen> {
  return new Promise((resolve) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      ...options,
    })
    let [answer, error, protocol, alpn] = ['', '', '', '']
    socket.on('secureConnect', () => {
      protocol = socket.getProtocol() ?? ''
      alpn = socket.alpnProtocol || ''
      socket.write(`GET ${path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`)
    })
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')))
    socket.on(
      'error',
      (e: NodeJS.ErrnoException) => (error ||= (e.code ?? e.message).replace(HASH_ALERT, UNKNOWN_ALERT)),
    )
    socket.on('close', () => {
      const text = answer
        .replace(/date: .*\r\n/, '')
        .replace(/x-envoy-upstream-service-time: \d+/, 'x-envoy-upstream-service-time: N')
      resolve({ answer: text, error, protocol, alpn })
    })
  })
}

async function sslStats(proxy: RunningProxy): Promise<string[]> {
  const text = await proxy.admin('/stats?filter=%5C.ssl%5C.|ssl_socket_factory')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll(String(proxy.ports.listener), 'PORT'))
    .sort()
}

const ENVOY = envoyBinary()

describe('TLS beside Envoy', { skip: ENVOY === null ? 'no envoy on PATH' : false }, () => {
  const closing: (() => void)[] = []
  const cleanup = { after: (close: () => void) => void closing.push(close) }
  const proxies: RunningProxy[] = []
  const servers: Server[] = []
  /** Each connection logs one line, each request another. */
  let expectedLines = 0
  let certificates: Record<string, TestCertificate>

  const serve = async (server: Server): Promise<number> => {
    servers.push(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  before(async () => {
    const ca = new TestCa(cleanup)
    const upstream = ca.issue('DNS:upstream.example')
    const server = ca.issue('DNS:a.example,URI:spiffe://good/server,IP:10.4.5.6,email:s@b.example')
    certificates = {
      good: ca.issue(
        'URI:spiffe://good/client,DNS:client.example,IP:10.1.2.3,email:a@b.example,otherName:1.2.3.4;UTF8:other',
      ),
      chained: chained(ca.issue('URI:spiffe://good/chained'), ca),
      other: ca.issue('URI:spiffe://other/client'),
      stranger: new TestCa(cleanup).issue('URI:spiffe://good/client'),
      expired: ca.issue('URI:spiffe://good/client', { days: -1 }),
    }
    const https = (options: ServerOptions) =>
      createHttps({ ...upstream, ...options }, (message, response) => {
        const { servername } = message.socket as unknown as { servername: string }
        response.end(
          `sni ${servername} reused ${(message.socket as unknown as { isSessionReused(): boolean }).isSessionReused()}`,
        )
      })
    const plain = createHttp((message, response) =>
      response.end(JSON.stringify(message.headers['x-forwarded-client-cert'] ?? null)),
    )
    const make = bootstrap(ca, server, certificates.good!, {
      plain: await serve(plain),
      tls: await serve(https({ maxVersion: 'TLSv1.2' })),
      tls13: await serve(https({ minVersion: 'TLSv1.3' })),
      asks: await serve(https({ requestCert: true, ca: ca.cert })),
      asks12: await serve(https({ requestCert: true, ca: ca.cert, maxVersion: 'TLSv1.2' })),
      hangsUp: await serve(
        createTcp((socket) => socket.on('error', () => {}).once('data', () => socket.resetAndDestroy())),
      ),
    })
    proxies.push(await startProxy('envoy', make), await startProxy('outrigger', make))
  })

  after(async () => {
    for (const proxy of proxies) await proxy.stop()
    for (const server of servers) server.close()
    for (const close of closing) close()
  })

  const both = async (path: string, options: ConnectionOptions): Promise<Seen> => {
    const [envoy, ours] = [
      await ask(proxies[0]!.ports.listener, path, options),
      await ask(proxies[1]!.ports.listener, path, options),
    ]
    expectedLines += envoy.answer === '' ? 1 : 2
    assert.deepEqual(ours, envoy)
    return envoy
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const chain of Object.keys(CHAINS)) {
      for (const who of ['nobody', 'good', 'chained', 'other', 'stranger', 'expired']) {
        test(`${version} client with certificate ${who} at ${chain}`, async () => {
          const certificate = certificates[who]
          await both('/plain', {
            servername: chain,
            minVersion: version,
            maxVersion: version,
            ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256',
            ...(certificate ?? {}),
          })
        })
      }
    }
  }

  for (const name of [
    'good',
    'good13',
    'bad-san',
    'bad-hash',
    'bad-ca',
    'no-tls-there',
    'version',
    'asked',
    'asked-in-vain',
    'hangs-up',
  ]) {
    test(`upstream ${name}`, async () => {
      await both(`/${name}`, { servername: 'open.example' })
      await both(`/${name}`, { servername: 'open.example' })
    })
  }

  test('access logs agree', async () => {
    const lines = async (proxy: RunningProxy): Promise<string[]> => {
      while (proxy.logLines().length < expectedLines) await new Promise((resolve) => setTimeout(resolve, 10))
      return proxy
        .logLines()
        .map((line) => line.replaceAll(String(proxy.ports.listener), 'PORT'))
        .sort()
    }
    assert.deepEqual(await lines(proxies[1]!), await lines(proxies[0]!))
  })

  test('ssl stats agree', async () => {
    assert.deepEqual(await sslStats(proxies[1]!), await sslStats(proxies[0]!))
  })
})
