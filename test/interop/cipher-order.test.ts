// Which of several ciphers a client gets, in our order or in its own (`prefer_client_ciphers`), as in real Envoy.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { connect } from 'node:tls'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { envoyBinary, type Ports, startProxy } from './harness/proxies.ts'

const T = 'type.googleapis.com/envoy.extensions.'
const [A128, A256, CHACHA] = [
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-RSA-CHACHA20-POLY1305',
] as const
const TLS13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
const LISTS: readonly (readonly string[])[] = [[], [A128, A256, CHACHA], [CHACHA, A256, A128], [A256], [A256, A128]]
/** Each of them in each order. */
const ORDERS = (list: readonly string[]): string[][] =>
  list.length < 2 ? [[...list]] : list.flatMap((one, i) => ORDERS(list.toSpliced(i, 1)).map((rest) => [one, ...rest]))

const isBefore = (list: readonly string[], a: string, b: string): boolean =>
  list.includes(a) && list.indexOf(a) < list.indexOf(b)

interface Context {
  readonly suites: readonly string[]
  readonly prefer: boolean | undefined
}
const CONTEXTS: readonly Context[] = LISTS.flatMap((suites) =>
  [undefined, false, true].map((prefer) => ({ suites, prefer })),
)

function bootstrap({ cert, key }: TestCertificate) {
  const chain = ({ suites, prefer }: Context, i: number): object => ({
    name: `c${i}`,
    filter_chain_match: { server_names: [`c${i}.example`] },
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': `${T}filters.network.http_connection_manager.v3.HttpConnectionManager`,
          stat_prefix: 't',
          route_config: {},
          http_filters: [
            { name: 'envoy.filters.http.router', typed_config: { '@type': `${T}filters.http.router.v3.Router` } },
          ],
        },
      },
    ],
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': `${T}transport_sockets.tls.v3.DownstreamTlsContext`,
        ...(prefer === undefined ? {} : { prefer_client_ciphers: prefer }),
        common_tls_context: {
          tls_params: { cipher_suites: suites },
          tls_certificates: [{ certificate_chain: { inline_string: cert }, private_key: { inline_string: key } }],
        },
      },
    },
  })
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
              typed_config: { '@type': `${T}filters.listener.tls_inspector.v3.TlsInspector` },
            },
          ],
          filter_chains: CONTEXTS.map(chain),
        },
      ],
    },
  })
}

/** The cipher that is agreed on, or the error. */
function agreed(port: number, servername: string, ciphers: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const maxVersion = ciphers.some((cipher) => TLS13.includes(cipher)) ? 'TLSv1.3' : 'TLSv1.2'
    const options = { port, host: '127.0.0.1', rejectUnauthorized: false, servername, maxVersion } as const
    const socket = connect({ ...options, ciphers: ciphers.join(':') })
    socket.on('secureConnect', () => {
      resolve(socket.getCipher().name)
      socket.destroy()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
}

describe('order of ciphers', { skip: envoyBinary() === null ? 'no envoy on PATH' : false }, () => {
  test('the one chosen is Envoy’s', async (t) => {
    const make = bootstrap(new TestCa(t).issue('DNS:c.example', { rsa: true }))
    const proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)] as const
    t.after(() => Promise.all(proxies.map((proxy) => proxy.stop())))
    const chosen = (p: number, i: number, offered: readonly string[]): Promise<string> =>
      agreed(proxies[p]!.ports.listener, `c${i}.example`, offered)
    const differing: string[] = []
    let theirFirst = 0
    for (const [i, context] of CONTEXTS.entries())
      for (const offered of [...ORDERS([A128, A256, CHACHA]), ...ORDERS(TLS13), [CHACHA, A128], [A256]]) {
        // Of equals in Envoy's own list the client's order counts (docs/differences.md).
        if (context.suites.length === 0 && !context.prefer && isBefore(offered, CHACHA, A128)) continue
        const [theirs, ours] = await Promise.all([chosen(0, i, offered), chosen(1, i, offered)])
        if (theirs !== ours) differing.push(`${JSON.stringify(context)} ${offered}: envoy ${theirs}, outrigger ${ours}`)
        if (context.prefer && theirs === offered[0]) theirFirst++
      }
    assert.deepEqual(differing, [])
    assert.ok(theirFirst > 0, 'no client got its own choice')
  })
})
