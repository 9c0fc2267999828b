// Which of several certificates a client gets: every name, kind of client and order of certificates, as in real Envoy.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { connect } from 'node:tls'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { envoyBinary, type Ports, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`

/** Chains by the last two labels of the name asked for; several certificates in each. */
function bootstrap(certificates: readonly TestCertificate[]) {
  const chain = (suffix: string, list: readonly TestCertificate[], fullScan: boolean): object => ({
    name: suffix,
    filter_chain_match: suffix === '' ? {} : { server_names: [`*.${suffix}`] },
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
          stat_prefix: 't',
          route_config: {},
          http_filters: [
            {
              name: 'envoy.filters.http.router',
              typed_config: { '@type': type('extensions.filters.http.router.v3.Router') },
            },
          ],
        },
      },
    ],
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
        full_scan_certs_on_sni_mismatch: fullScan,
        common_tls_context: {
          tls_certificates: list.map(({ cert, key }) => ({
            certificate_chain: { inline_string: cert },
            private_key: { inline_string: key },
          })),
        },
      },
    },
  })
  const reversed = [...certificates].reverse()
  return ({ listener, admin }: Ports): object => ({
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: admin } } },
    static_resources: {
      listeners: [
        {
          name: 'l',
          address: { socket_address: { address: '127.0.0.1', port_value: listener } },
          listener_filters: [
            {
              name: 'envoy.filters.listener.tls_inspector',
              typed_config: { '@type': type('extensions.filters.listener.tls_inspector.v3.TlsInspector') },
            },
          ],
          filter_chains: [
            chain('', certificates, false),
            chain('first.example', certificates, false),
            chain('scan.example', certificates, true),
            chain('last.example', reversed, false),
            chain('scanlast.example', reversed, true),
          ],
        },
      ],
    },
  })
}

/** Alternative names and kind of key of the certificate that `port` shows, or the error. */
function shown(port: number, servername: string, ciphers: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      servername,
      ciphers,
      maxVersion: 'TLSv1.2',
    })
    socket.on('secureConnect', () => {
      const { subjectaltname, asn1Curve } = socket.getPeerCertificate()
      resolve(`${subjectaltname} ${asn1Curve ?? 'rsa'}`)
      socket.destroy()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}

describe('certificates of a chain', { skip: envoyBinary() === null ? 'no envoy on PATH' : false }, () => {
  test('the one chosen is Envoy’s', async (t) => {
    const ca = new TestCa(t)
    const suffixes = ['first.example', 'scan.example', 'last.example', 'scanlast.example']
    const names = (label: string): string => suffixes.map((suffix) => `DNS:${label}.${suffix}`).join(',')
    const make = bootstrap([
      ca.issue(names('rsa'), { rsa: true }),
      ca.issue(names('ec')),
      ca.issue(names('both'), { rsa: true }),
      ca.issue(names('both')),
      ca.issue(names('*.wild')),
      ca.issue(names('a.wild'), { rsa: true }),
      ca.issue(names('ec2')),
    ])
    const proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)] as const
    t.after(() => Promise.all(proxies.map((proxy) => proxy.stop())))
    const asked = [
      '',
      ...suffixes.flatMap((suffix) =>
        ['rsa', 'ec', 'both', 'nobody', 'a.wild', 'b.wild', 'c.b.wild'].map((label) => `${label}.${suffix}`),
      ),
    ]
    const seen = [new Map<string, string>(), new Map<string, string>()]
    const ecdsa = 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256'
    for (const ciphers of ['ECDHE-RSA-AES128-GCM-SHA256', ecdsa])
      for (const name of asked)
        for (const [i, proxy] of proxies.entries())
          seen[i]!.set(`${name} ${ciphers}`, await shown(proxy.ports.listener, name, ciphers))
    assert.deepEqual(seen[1], seen[0])
    assert.match(seen[0]!.get(`nobody.first.example ${ecdsa}`)!, /rsa$/)
    assert.match(seen[0]!.get(`nobody.scan.example ${ecdsa}`)!, /prime256v1$/)
  })
})
