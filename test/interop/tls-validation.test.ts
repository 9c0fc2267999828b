// Certificate validation, OCSP staples and client fingerprints beside Envoy: revocation lists, depth of chains, the SPIFFE
// validator. Equal answers, equal alerts, equal access logs, equal `ssl.` stats.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type ConnectionOptions, connect } from 'node:tls'
import { type Authority, type Pair, Pki } from './harness/pki.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`
const FORMAT =
  '%REQUESTED_SERVER_NAME% [%DOWNSTREAM_TRANSPORT_FAILURE_REASON%] ' + '%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%'

const inline = (text: string): object => ({ inline_string: text })
const bytes = (value: Buffer): object => ({ inline_bytes: value.toString('base64') })
const pairOf = ({ cert, key }: Pair): object => ({ certificate_chain: inline(cert), private_key: inline(key) })

interface Chain {
  readonly certificate?: object
  readonly validation?: object
  readonly more?: object
}

/** Everything signed by someone. */
interface World {
  readonly chains: Readonly<Record<string, Chain>>
  readonly clients: Readonly<Record<string, Pair>>
}

function world(pki: Pki): World {
  const root = pki.authority(null, 'root')
  const middle = pki.authority(root, 'middle')
  const revokedMiddle = pki.authority(root, 'revoked middle')
  const stranger = pki.authority(null, 'stranger')
  const server = root.issue('DNS:*.example')
  const mustStaple = root.issue('DNS:must.example', ['tlsfeature=status_request'])
  const under = (pair: Pair, authority: Authority): Pair => ({ cert: pair.cert + authority.cert, key: pair.key })
  const usage = ['keyUsage=critical,digitalSignature']
  const good = middle.issue('URI:spiffe://one/good', usage)
  const revoked = middle.issue('URI:spiffe://one/revoked')
  const trusted = { trusted_ca: inline(root.cert) }
  const middleList = middle.revocationList([revoked])
  const rootList = root.revocationList([revokedMiddle.pair])
  const lists = inline(middleList + rootList)
  const spiffe = (more: object): object => ({
    custom_validator_config: {
      name: 'envoy.tls.cert_validator.spiffe',
      typed_config: {
        '@type': type('transport_sockets.tls.v3.SPIFFECertValidatorConfig'),
        trust_domains: [
          { name: 'one', trust_bundle: inline(root.cert) },
          { name: 'two', trust_bundle: inline(stranger.cert) },
        ],
      },
    },
    ...more,
  })
  const staple = (response: Buffer): object => ({ ...pairOf(server), ocsp_staple: bytes(response) })
  return {
    chains: {
      'lists.example': { validation: { ...trusted, crl: lists } },
      'leaf-list.example': { validation: { ...trusted, crl: inline(middleList), only_verify_leaf_cert_crl: true } },
      'list-missing.example': { validation: { ...trusted, crl: inline(rootList) } },
      'depth-0.example': { validation: { ...trusted, max_verify_depth: 0 } },
      'depth-1.example': { validation: { ...trusted, max_verify_depth: 1 } },
      'depth-2.example': { validation: { ...trusted, max_verify_depth: 2 } },
      'spiffe.example': { validation: spiffe({}) },
      'spiffe-names.example': {
        validation: spiffe({
          match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: 'spiffe://two/good' } }],
        }),
      },
      'staple.example': { certificate: staple(root.ocsp(server)) },
      'no-staple.example': {},
      'strict-no-staple.example': { more: { ocsp_staple_policy: 'STRICT_STAPLING' } },
      'expired-staple.example': { certificate: staple(root.ocsp(server, 'expired')) },
      'strict-expired.example': {
        certificate: staple(root.ocsp(server, 'expired')),
        more: { ocsp_staple_policy: 'STRICT_STAPLING' },
      },
      'must-staple.example': {
        certificate: { ...pairOf(mustStaple), ocsp_staple: bytes(root.ocsp(mustStaple)) },
        more: { ocsp_staple_policy: 'MUST_STAPLE' },
      },
      'must-expired.example': {
        certificate: { ...pairOf(mustStaple), ocsp_staple: bytes(root.ocsp(mustStaple, 'expired')) },
      },
    },
    clients: {
      nobody: { cert: '', key: '' },
      direct: root.issue('URI:spiffe://one/direct', usage),
      good: under(good, middle),
      revoked: under(revoked, middle),
      'under revoked': under(revokedMiddle.issue('URI:spiffe://one/orphan'), revokedMiddle),
      two: stranger.issue('URI:spiffe://two/good', usage),
      'of two as one': stranger.issue('URI:spiffe://one/forged', usage),
      'of no domain': root.issue('DNS:client.example', usage),
      'of a third domain': root.issue('URI:spiffe://three/good', usage),
      'may sign': root.issue('URI:spiffe://one/signer', ['keyUsage=critical,keyCertSign,digitalSignature']),
      authority: root.issue('URI:spiffe://one/ca', ['basicConstraints=critical,CA:TRUE']),
      'of any use': root.issue('URI:spiffe://one/any'),
      server,
    },
  }
}

function bootstrap({ chains, clients }: World): (ports: Ports) => object {
  return (ports) => ({
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
              typed_config: {
                '@type': type('filters.listener.tls_inspector.v3.TlsInspector'),
                enable_ja3_fingerprinting: true,
                enable_ja4_fingerprinting: true,
              },
            },
          ],
          access_log: [
            {
              name: 'f',
              typed_config: {
                '@type': type('access_loggers.file.v3.FileAccessLog'),
                path: ports.accessLog,
                log_format: { text_format_source: inline(`${FORMAT}\n`) },
              },
            },
          ],
          filter_chains: Object.entries(chains).map(([name, { certificate, validation, more }]) => ({
            name,
            filter_chain_match: { server_names: [name] },
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
                  stat_prefix: 't',
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'v',
                        domains: ['*'],
                        routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: inline('in') } }],
                      },
                    ],
                  },
                  http_filters: [
                    {
                      name: 'envoy.filters.http.router',
                      typed_config: { '@type': type('filters.http.router.v3.Router') },
                    },
                  ],
                },
              },
            ],
            transport_socket: {
              name: 'tls',
              typed_config: {
                '@type': type('transport_sockets.tls.v3.DownstreamTlsContext'),
                ...more,
                common_tls_context: {
                  tls_certificates: [certificate ?? pairOf(clients.server!)],
                  ...(validation ? { validation_context: validation } : {}),
                },
              },
            },
          })),
        },
      ],
    },
  })
}

interface Seen {
  readonly answer: string
  readonly error: string
  /** Bytes of the OCSP response. */
  readonly staple: number
}

function ask(port: number, options: ConnectionOptions): Promise<Seen> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
    let [answer, error, staple] = ['', '', 0]
    socket.on('OCSPResponse', (response: Buffer | null) => (staple = response?.length ?? 0))
    socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'))
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1')
      if (answer.endsWith('in')) socket.destroy()
    })
    socket.on('error', (e: NodeJS.ErrnoException) => (error ||= e.code ?? e.message))
    socket.on('close', () => resolve({ answer: answer.split('\r\n\r\n')[1] ?? '', error, staple }))
  })
}

async function sslStats(proxy: RunningProxy): Promise<string[]> {
  const text = await proxy.admin('/stats?filter=%5C.ssl%5C.|tls_inspector')
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.includes('bytes_processed'))
    .sort()
}

const skip = envoyBinary() === null ? 'no envoy on PATH' : false

describe('certificate validation beside Envoy', { skip }, () => {
  const pki = new Pki()
  const proxies: RunningProxy[] = []
  let made: World
  let connections = 0

  before(async () => {
    made = world(pki)
    const make = bootstrap(made)
    proxies.push(await startProxy('envoy', make), await startProxy('outrigger', make))
  })

  after(async () => {
    for (const proxy of proxies) await proxy.stop()
    pki.remove()
  })

  const both = async (options: ConnectionOptions): Promise<Seen> => {
    const [envoy, ours] = [
      await ask(proxies[0]!.ports.listener, options),
      await ask(proxies[1]!.ports.listener, options),
    ]
    connections++
    assert.deepEqual(ours, envoy)
    return envoy
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`${version}: who may come in`, async (t) => {
      const chains = Object.entries(made.chains).filter(([, { validation }]) => validation)
      const [accepted, refused] = [new Set<string>(), new Set<string>()]
      for (const [servername] of chains) {
        for (const [who, { cert, key }] of Object.entries(made.clients)) {
          await t.test(`${who} at ${servername}`, async () => {
            const own = cert === '' ? {} : { cert, key }
            const { answer } = await both({ servername, minVersion: version, maxVersion: version, ...own })
            ;(answer === 'in' ? accepted : refused).add(servername)
          })
        }
      }
      assert.equal(accepted.size, chains.length)
      assert.equal(refused.size, chains.length)
    })

    test(`${version}: OCSP staples`, async (t) => {
      let staples = 0
      for (const [servername, { validation }] of Object.entries(made.chains)) {
        if (validation) continue
        for (const requestOCSP of [true, false]) {
          await t.test(`${servername} ${requestOCSP ? 'asked' : 'not asked'}`, async () => {
            const { staple } = await both({ servername, requestOCSP, minVersion: version, maxVersion: version })
            if (staple > 0) staples++
          })
        }
      }
      assert.equal(staples, 2)
    })
  }

  test('access logs agree', async () => {
    const lines = async (proxy: RunningProxy): Promise<string[]> => {
      while (proxy.logLines().length < connections) await new Promise((resolve) => setTimeout(resolve, 10))
      return proxy.logLines()
    }
    assert.deepEqual(await lines(proxies[1]!), await lines(proxies[0]!))
  })

  test('stats agree', async () => {
    assert.deepEqual(await sslStats(proxies[1]!), await sslStats(proxies[0]!))
  })
})
