// /certs and server.*_expiring side by side: every TLS context of listeners and clusters, whatever its certificates come from.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { type Authority, type Pair, Pki } from './harness/pki.ts'
import { envoyBinary, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const text = (value: string): object => ({ inline_string: value })
const pair = ({ cert, key }: Pair): object => ({ certificate_chain: text(cert), private_key: text(key) })
const address = (port_value: number): object => ({ socket_address: { address: '127.0.0.1', port_value } })
const server = (common_tls_context: object): object => ({
  name: 'tls',
  typed_config: { '@type': type('extensions.transport_sockets.tls.v3.DownstreamTlsContext'), common_tls_context },
})
const client = (common_tls_context: object): object => ({
  name: 'tls',
  typed_config: { '@type': type('extensions.transport_sockets.tls.v3.UpstreamTlsContext'), common_tls_context },
})

interface Material {
  readonly ca: Authority
  readonly under: Authority
  readonly leaf: Pair
  readonly stapled: Pair
  readonly ocsp: Buffer
  /** Of further chains. */
  readonly staples: readonly Buffer[]
  readonly files: { readonly bundle: string; readonly cert: string; readonly key: string; readonly later: string }
}

function bootstrap(
  { ca, under, leaf, stapled, ocsp, staples, files }: Material,
  listener: number,
  admin: number,
): object {
  const staple = (bytes: Buffer): object => ({
    ...pair(stapled),
    ocsp_staple: { inline_bytes: bytes.toString('base64') },
  })
  const chains: readonly object[] = [
    { tls_certificates: [{ ...pair({ cert: leaf.cert + under.cert, key: leaf.key }) }] },
    {
      tls_certificates: [
        { certificate_chain: { filename: files.cert }, private_key: { filename: files.key } },
        staple(ocsp),
      ],
      validation_context: { trusted_ca: { filename: files.bundle } },
    },
    ...staples.map((response) => ({ tls_certificates: [staple(response)] })),
    {
      tls_certificate_sds_secret_configs: [{ name: 'own' }],
      combined_validation_context: {
        default_validation_context: { verify_certificate_hash: ['a'.repeat(64)] },
        validation_context_sds_secret_config: { name: 'trust' },
      },
    },
    { tls_certificate_sds_secret_configs: [{ name: 'own' }] },
    {
      tls_certificate_sds_secret_configs: [
        { name: 'later', sds_config: { path_config_source: { path: files.later }, initial_fetch_timeout: '0.1s' } },
      ],
    },
    {
      tls_certificates: [pair(leaf)],
      validation_context: {
        custom_validator_config: {
          name: 'envoy.tls.cert_validator.spiffe',
          typed_config: {
            '@type': type('extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig'),
            trust_domains: [
              { name: 'one', trust_bundle: text(ca.cert) },
              { name: 'two', trust_bundle: text(under.cert + ca.cert) },
            ],
          },
        },
      },
    },
    { tls_certificates: [pair(leaf)], validation_context: { verify_certificate_hash: ['b'.repeat(64)] } },
  ]
  const cluster = (name: string, rest: object): object => ({ name, type: 'STATIC', ...rest })
  return {
    node: { id: 'n', cluster: 'c' },
    admin: { address: address(admin) },
    stats_flush_interval: '0.1s',
    static_resources: {
      secrets: [
        { name: 'own', tls_certificate: pair(leaf) },
        { name: 'trust', validation_context: { trusted_ca: text(ca.cert) } },
        { name: 'nobody', validation_context: { trusted_ca: text(under.cert) } },
      ],
      listeners: [
        {
          name: 'l',
          address: address(listener),
          filter_chains: chains.map((common, i) => ({
            name: `c${i}`,
            filter_chain_match: { server_names: [`c${i}.example`] },
            transport_socket: server(common),
            filters: [{ name: 'echo', typed_config: { '@type': type('extensions.filters.network.echo.v3.Echo') } }],
          })),
          default_filter_chain: { transport_socket: server({ tls_certificates: [pair(leaf)] }), filters: [] },
        },
      ],
      clusters: [
        cluster('plain', {}),
        cluster('nothing', { transport_socket: client({}) }),
        cluster('trusting', { transport_socket: client({ validation_context: { trusted_ca: text(ca.cert) } }) }),
        cluster('showing', {
          transport_socket: client({
            tls_certificates: [pair(leaf)],
            validation_context_sds_secret_config: { name: 'trust' },
          }),
        }),
        cluster('proxied', {
          transport_socket: {
            name: 'p',
            typed_config: {
              '@type': type('extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
              transport_socket: client({ tls_certificates: [pair(stapled)] }),
            },
          },
        }),
        cluster('matching', {
          transport_socket_matches: [
            { name: 'a', match: { a: 'b' }, transport_socket: client({ tls_certificates: [pair(leaf)] }) },
            {
              name: 'b',
              match: {},
              transport_socket: client({ validation_context: { trusted_ca: text(under.cert) } }),
            },
          ],
        }),
      ],
    },
  }
}

/** Contexts stand in no order; a response that does not say when it ends has ended just now. */
async function certificates(proxy: RunningProxy): Promise<string[]> {
  const page = JSON.parse(await proxy.admin('/certs')) as { certificates: object[] }
  return page.certificates.map((one) => JSON.stringify(one, null, 1).replace(/"[^"]*\.\d+Z"/g, '"now"')).sort()
}

/** The gauge when it is as `expected`: it is set with each flush. */
async function gauge(proxy: RunningProxy, name: string, expected: (value: number) => boolean): Promise<number> {
  for (let i = 0; ; i++) {
    const value = Number((await proxy.admin(`/stats?filter=^server.${name}`)).split(': ')[1])
    if (expected(value) || i > 200) return value
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const DAY_S = 86_400

describe('certificates in force', { skip: envoyBinary() === null ? 'real Envoy is not installed' : false }, () => {
  const pki = new Pki()
  const dir = mkdtempSync(join(tmpdir(), 'certs-'))
  let material: Omit<Material, 'staples'>
  before(() => {
    const ca = pki.authority(null, 'root')
    const under = pki.authority(ca, 'under')
    const leaf = under.issue('DNS:a.example,URI:spiffe://one/a,IP:10.0.0.1,IP:2001:db8::1,email:a@b.c,DNS:*.b.example')
    const stapled = ca.issue('URI:spiffe://two/b')
    const file = (name: string, content: string): string => {
      writeFileSync(join(dir, name), content)
      return join(dir, name)
    }
    const files = {
      bundle: file('bundle', under.cert + ca.cert),
      cert: file('cert', leaf.cert),
      key: file('key', leaf.key),
      later: file('later', '{"resources": []}'),
    }
    material = { ca, under, leaf, stapled, ocsp: ca.ocsp(stapled), files }
  })
  after(() => {
    pki.remove()
    rmSync(dir, { recursive: true, force: true })
  })

  const start = async (t: TestContext, staples: readonly Buffer[]): Promise<readonly [RunningProxy, RunningProxy]> => {
    const make = ({ listener, admin }: Ports): object => bootstrap({ ...material, staples }, listener, admin)
    const proxies = [await startProxy('envoy', make), await startProxy('outrigger', make)] as const
    t.after(() => Promise.all(proxies.map((proxy) => proxy.stop())))
    return proxies
  }

  test('are told of as by Envoy', async (t) => {
    const { ca, stapled } = material
    const [envoy, ours] = await start(t, [ca.ocsp(stapled, 'expired'), ca.ocsp(stapled, 'open')])
    assert.deepEqual(await certificates(ours), await certificates(envoy))
    for (const proxy of [envoy, ours])
      assert.equal(await gauge(proxy, 'seconds_until_first_ocsp_response_expiring', (s) => s === 0), 0)
  })

  test('are counted until the first one expires', async (t) => {
    for (const proxy of await start(t, [])) {
      assert.equal(await gauge(proxy, 'days_until_first_cert_expiring', (days) => days === 29), 29)
      const seconds = await gauge(proxy, 'seconds_until_first_ocsp_response_expiring', (s) => s > 0)
      assert.ok(seconds > 19 * DAY_S && seconds <= 20 * DAY_S, `${proxy.name}: ${seconds}`)
    }
  })
})
