// Random TLS contexts and random peers of both sides beside Envoy: what is agreed on or refused, with which alert, what logs
// and `ssl.` stats say of it. `INTEROP_SEED=N` gives others, `INTEROP_REQUESTS=N` as many.

import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttps, type ServerOptions } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { type ConnectionOptions, connect } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { assertAgree } from './harness/agree.ts'
import { envoyBinary, freePort, type Ports, type RunningProxy, startProxy } from './harness/proxies.ts'

const SEED = Number(process.env.INTEROP_SEED ?? 1)
const CLIENTS = Number(process.env.INTEROP_REQUESTS ?? 240)
const CONTEXTS = 30
const CLUSTERS = 40
const SERVERS = 10
const PARALLEL = 24
const SETTLE_MS = 5000

const T = 'type.googleapis.com/envoy.'
const ECDSA = 'ECDHE-ECDSA-AES128-GCM-SHA256'
const RSA = 'ECDHE-RSA-AES128-GCM-SHA256'
const DOWNSTREAM =
  '%DOWNSTREAM_REMOTE_PORT%>%DOWNSTREAM_LOCAL_PORT%|%REQUESTED_SERVER_NAME%|%DOWNSTREAM_TRANSPORT_FAILURE_REASON%|%DOWNSTREAM_TLS_VERSION%|' +
  '%DOWNSTREAM_TLS_CIPHER%|%DOWNSTREAM_TLS_GROUP%'
const PEER =
  '%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_DNS_SAN%|%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%|' +
  '%DOWNSTREAM_PEER_FINGERPRINT_256%|%DOWNSTREAM_LOCAL_URI_SAN%|%DOWNSTREAM_LOCAL_DNS_SAN%|%DOWNSTREAM_LOCAL_SUBJECT%'
const UPSTREAM =
  '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%UPSTREAM_TRANSPORT_FAILURE_REASON%|%UPSTREAM_TLS_VERSION%|' +
  '%UPSTREAM_TLS_CIPHER%|%UPSTREAM_TLS_GROUP%|%UPSTREAM_PEER_URI_SAN%|%UPSTREAM_PEER_DNS_SAN%|%UPSTREAM_PEER_SUBJECT%|' +
  '%UPSTREAM_PEER_ISSUER%|%UPSTREAM_PEER_CERT%|%UPSTREAM_LOCAL_URI_SAN%|%UPSTREAM_LOCAL_DNS_SAN%|%UPSTREAM_PROTOCOL%'

const inline = (text: string): object => ({ inline_string: text })
const pair = ({ cert, key }: TestCertificate): object => ({ certificate_chain: inline(cert), private_key: inline(key) })
const some = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<object> =>
  fc.record(fields, { requiredKeys: [] })
const log = (path: string, format: string): object => ({
  name: 'envoy.access_loggers.file',
  typed_config: {
    '@type': `${T}extensions.access_loggers.file.v3.FileAccessLog`,
    path,
    log_format: { text_format_source: inline(`${format}\n`) },
  },
})

/** Every certificate that anybody shows. */
interface World {
  readonly ca: TestCa
  readonly stranger: TestCa
  readonly servers: Readonly<Record<'ecdsa' | 'rsa' | 'wild' | 'expired' | 'strange', TestCertificate>>
  readonly clients: Readonly<Record<string, TestCertificate>>
  readonly crl: string
}

function makeWorld(cleanup: { after(close: () => void): void }): World {
  const ca = new TestCa(cleanup)
  const stranger = new TestCa(cleanup)
  const good = 'URI:spiffe://good/client,DNS:client.example,IP:10.1.2.3'
  const clients = {
    good: ca.issue(good),
    rsa: ca.issue(good, { rsa: true }),
    other: ca.issue('URI:spiffe://other/client,DNS:www.other.example'),
    stranger: stranger.issue(good),
    expired: ca.issue(good, { days: -1 }),
    revoked: ca.issue(good),
  }
  return {
    ca,
    stranger,
    servers: {
      ecdsa: ca.issue('DNS:server.example,DNS:a.example,URI:spiffe://good/server'),
      rsa: ca.issue('DNS:server.example,URI:spiffe://good/rsa', { rsa: true }),
      wild: ca.issue('DNS:*.wild.example'),
      expired: ca.issue('DNS:server.example', { days: -1 }),
      strange: stranger.issue('DNS:server.example'),
    },
    clients,
    crl: ca.revoke(clients.revoked),
  }
}

const hashOf = ({ cert }: TestCertificate): string =>
  new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase()
const spkiOf = ({ cert }: TestCertificate): string =>
  createHash('sha256')
    .update(new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64')

const versions = fc.constantFrom<object>(
  {},
  {},
  {},
  { tls_maximum_protocol_version: 'TLSv1_2' },
  { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
  { tls_maximum_protocol_version: 'TLSv1_3' },
  { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
)
const params = fc
  .tuple(
    versions,
    some({
      cipher_suites: fc.constantFrom(
        [ECDSA],
        [RSA],
        [ECDSA, RSA],
        ['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
        [`[${ECDSA}|ECDHE-ECDSA-CHACHA20-POLY1305]`, RSA],
        ['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
        ['ECDHE-ECDSA-AES128-SHA', 'ECDHE-RSA-AES256-SHA'],
      ),
      ecdh_curves: fc.constantFrom(['X25519'], ['P-256'], ['P-384', 'P-256'], ['P-256', 'X25519'], ['P-521']),
      signature_algorithms: fc.constantFrom(
        ['ecdsa_secp256r1_sha256'],
        ['rsa_pss_rsae_sha256'],
        ['rsa_pkcs1_sha256', 'ecdsa_secp256r1_sha256'],
        ['ecdsa_secp256r1_sha256', 'rsa_pss_rsae_sha512'],
      ),
    }),
  )
  .map(([a, b]): { readonly [field: string]: unknown } => ({ ...a, ...b }))

const matchers = fc.constantFrom<readonly object[]>(
  [{ san_type: 'URI', matcher: { exact: 'spiffe://good/client' } }],
  [{ san_type: 'URI', matcher: { prefix: 'spiffe://good/' } }],
  [{ san_type: 'URI', matcher: { safe_regex: { regex: 'spiffe://[a-z]+/client' } } }],
  [{ san_type: 'DNS', matcher: { exact: 'client.example' } }],
  [{ san_type: 'DNS', matcher: { exact: 'CLIENT.example' } }],
  [{ san_type: 'DNS', matcher: { suffix: '.example', ignore_case: true } }],
  [{ san_type: 'DNS', matcher: { exact: 'server.example' } }],
  [{ san_type: 'DNS', matcher: { exact: 'b.wild.example' } }],
  [{ san_type: 'DNS', matcher: { exact: 'c.b.wild.example' } }],
  [{ san_type: 'IP_ADDRESS', matcher: { exact: '10.1.2.3' } }],
  [
    { san_type: 'EMAIL', matcher: { contains: '@' } },
    { san_type: 'URI', matcher: { suffix: 'client' } },
  ],
)

/** `peers`: whose certificates may be told by hash. */
const validationOf = (world: World, peers: readonly TestCertificate[]): fc.Arbitrary<object | null> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.constant(null) },
    {
      weight: 4,
      arbitrary: some({
        match_typed_subject_alt_names: matchers,
        verify_certificate_hash: fc.constantFrom(peers.map(hashOf), ['00'.repeat(32)], [hashOf(peers[0]!)]),
        verify_certificate_spki: fc.constantFrom(peers.map(spkiOf), [Buffer.alloc(32).toString('base64')]),
        crl: fc.constant(inline(world.crl)),
        only_verify_leaf_cert_crl: fc.boolean(),
        allow_expired_certificate: fc.boolean(),
        trust_chain_verification: fc.constantFrom('VERIFY_TRUST_CHAIN', 'ACCEPT_UNTRUSTED'),
        max_verify_depth: fc.constantFrom(0, 1, 3),
      }).map((fields) => {
        // Each of them is seldom enough for the others to be seen.
        const kept = Object.entries(fields).filter((_, i) => i < 3)
        const trusted =
          'verify_certificate_hash' in fields && kept.length < 2 ? {} : { trusted_ca: inline(world.ca.cert) }
        return { ...trusted, ...Object.fromEntries(kept) }
      }),
    },
    { weight: 2, arbitrary: fc.constant({ trusted_ca: inline(world.ca.cert) }) },
  )

const alpn = fc.constantFrom<object>({}, { alpn_protocols: ['h2', 'http/1.1'] }, { alpn_protocols: ['http/1.1'] })

const downstreamOf = (world: World): fc.Arbitrary<object> =>
  fc
    .tuple(
      params,
      fc.constantFrom<(keyof World['servers'])[]>(
        ['ecdsa'],
        ['rsa'],
        ['ecdsa', 'rsa'],
        ['rsa', 'wild'],
        ['wild', 'ecdsa'],
      ),
      validationOf(world, [world.clients.good!, world.clients.rsa!]),
      alpn,
      some({
        require_client_certificate: fc.boolean(),
        disable_stateless_session_resumption: fc.boolean(),
        disable_stateful_session_resumption: fc.boolean(),
        full_scan_certs_on_sni_mismatch: fc.boolean(),
      }),
    )
    .map(([tls_params, certificates, validation_context, protocols, rest]) => ({
      ...rest,
      // Envoy asks nobody then (docs/differences.md).
      ...(validation_context ? {} : { require_client_certificate: false }),
      common_tls_context: {
        tls_params,
        tls_certificates: certificates.map((name) => pair(world.servers[name])),
        ...protocols,
        ...(validation_context ? { validation_context } : {}),
      },
    }))

/** What a client does; `who` names its certificate. */
interface Client {
  readonly options: ConnectionOptions
  readonly who: string
  /** A second connection offers the session of the first. */
  readonly resumes: boolean
  readonly context: number
}

const clientOf: fc.Arbitrary<Omit<Client, 'context'>> = fc
  .tuple(
    fc.constantFrom<ConnectionOptions>(
      {},
      { maxVersion: 'TLSv1.2' },
      { minVersion: 'TLSv1.3' },
      { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' },
    ),
    fc.record(
      {
        ciphers: fc.constantFrom(
          `${ECDSA}:TLS_AES_128_GCM_SHA256`,
          `${RSA}:TLS_CHACHA20_POLY1305_SHA256`,
          'ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-CHACHA20-POLY1305:TLS_AES_256_GCM_SHA384',
          'AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256',
        ),
        ecdhCurve: fc.constantFrom('X25519', 'P-256', 'P-384:P-256', 'P-521'),
        sigalgs: fc.constantFrom(
          'ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256',
          'rsa_pss_rsae_sha256:rsa_pkcs1_sha256',
          'ecdsa_secp256r1_sha256',
        ),
        ALPNProtocols: fc.constantFrom(['http/1.1'], ['h2', 'http/1.1'], ['x'], ['http/1.1', 'x']),
        servername: fc.constantFrom(
          'server.example',
          'a.example',
          'b.wild.example',
          'c.b.wild.example',
          'unknown.example',
        ),
      },
      { requiredKeys: [] },
    ),
    fc.constantFrom('nobody', 'good', 'good', 'rsa', 'other', 'stranger', 'expired', 'revoked'),
    fc.boolean(),
  )
  .map(([version, rest, who, resumes]) => {
    const options = { ...version, ...rest } as ConnectionOptions
    // OpenSSL takes no certificate whose curve its owner does not list.
    if (options.ecdhCurve && !options.ecdhCurve.includes('P-256')) options.ecdhCurve += ':P-256'
    return { options, who, resumes }
  })

interface ServerSide {
  readonly options: ServerOptions
  readonly certificate: keyof World['servers']
  readonly asks: boolean
  readonly refuses: boolean
}
const serverOf: fc.Arbitrary<ServerSide> = fc
  .tuple(
    fc.constantFrom<ServerOptions>({}, {}, { maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' }),
    fc.record(
      {
        ciphers: fc.constantFrom(`${ECDSA}:TLS_AES_128_GCM_SHA256`, `${RSA}:${ECDSA}:TLS_AES_256_GCM_SHA384`),
        ecdhCurve: fc.constantFrom('X25519', 'P-256', 'P-384'),
        ALPNProtocols: fc.constantFrom(['http/1.1'], ['x']),
      },
      { requiredKeys: [] },
    ),
    fc.constantFrom<keyof World['servers']>('ecdsa', 'ecdsa', 'rsa', 'wild', 'expired', 'strange'),
    fc.boolean(),
    fc.boolean(),
  )
  .map(([version, rest, certificate, asks, refuses]) => ({
    options: { ...version, ...rest } as ServerOptions,
    certificate,
    asks,
    refuses,
  }))

const upstreamOf = (world: World): fc.Arbitrary<{ readonly context: object; readonly server: number }> =>
  fc
    .tuple(
      params,
      fc.option(fc.constantFrom('good', 'rsa', 'other', 'expired'), { nil: null }),
      validationOf(world, [world.servers.ecdsa, world.servers.rsa]),
      alpn,
      some({
        sni: fc.constantFrom('server.example', 'b.wild.example', 'unknown.example'),
        max_session_keys: fc.constantFrom(0, 1),
        enforce_rsa_key_usage: fc.boolean(),
      }),
      fc.nat(SERVERS - 1),
    )
    .map(([{ signature_algorithms: _, ...tls_params }, who, validation_context, protocols, rest, server]) => ({
      server,
      context: {
        ...rest,
        common_tls_context: {
          tls_params,
          ...(who === null ? {} : { tls_certificates: [pair(world.clients[who]!)] }),
          ...('alpn_protocols' in protocols ? { alpn_protocols: ['http/1.1'] } : {}),
          ...(validation_context ? { validation_context } : {}),
        },
      },
    }))

const address = (port: number): object => ({ socket_address: { address: '127.0.0.1', port_value: port } })

function bootstrap(
  ports: Ports,
  listeners: readonly number[],
  contexts: readonly object[],
  upstreams: readonly { readonly context: object; readonly server: number }[],
  servers: readonly number[],
): object {
  const manager = (i: number): object => ({
    name: 'hcm',
    typed_config: {
      '@type': `${T}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: `m${i}`,
      access_log: [log(ports.accessLog, `R|${DOWNSTREAM}|${PEER}|%REQ(:PATH)%|${UPSTREAM}`)],
      route_config: {
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [
              ...upstreams.map((_, u) => ({ match: { path: `/u${u}` }, route: { cluster: `u${u}` } })),
              { match: { prefix: '/' }, direct_response: { status: 200, body: inline('ok') } },
            ],
          },
        ],
      },
      http_filters: [{ name: 'router', typed_config: { '@type': `${T}extensions.filters.http.router.v3.Router` } }],
    },
  })
  return {
    admin: { address: address(ports.admin) },
    static_resources: {
      listeners: [
        ...contexts.map((context, i) => ({
          name: `l${i}`,
          stat_prefix: `l${i}`,
          address: address(listeners[i]!),
          access_log: [log(ports.accessLog, `C|${DOWNSTREAM}`)],
          filter_chains: [
            {
              filters: [manager(i)],
              transport_socket: {
                name: 'tls',
                typed_config: { '@type': `${T}extensions.transport_sockets.tls.v3.DownstreamTlsContext`, ...context },
              },
            },
          ],
        })),
        { name: 'plain', address: address(ports.listener), filter_chains: [{ filters: [manager(contexts.length)] }] },
      ],
      clusters: upstreams.map(({ context, server }, u) => ({
        name: `u${u}`,
        connect_timeout: '2s',
        load_assignment: {
          cluster_name: `u${u}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(servers[server]!) } }] }],
        },
        transport_socket: {
          name: 'tls',
          typed_config: { '@type': `${T}extensions.transport_sockets.tls.v3.UpstreamTlsContext`, ...context },
        },
      })),
    },
  }
}

/** OpenSSL cannot be made to send Envoy's alert for a wrong hash (docs/differences.md). */
const HASH_ALERT = 'ERR_SSL_TLSV1_BAD_CERTIFICATE_HASH_VALUE'
const UNKNOWN_ALERT = 'ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN'
const VERSION_ALERT = 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION'
const FAILURE_ALERT = 'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE'
/** Of several things that are not common, OpenSSL may miss another one first (docs/differences.md). */
const NOTHING_COMMON =
  /\d+:SSL_routines:OPENSSL_internal:(NO_SHARED_CIPHER|NO_COMMON_SIGNATURE_ALGORITHMS|NO_SHARED_GROUP|WRONG_CURVE|UNSUPPORTED_PROTOCOL|CONNECTION_REJECTED):TLS_error_end.*/

interface Seen {
  readonly localPort: number
  readonly told: unknown
  readonly session: Buffer | null
}

/** One connection, one request. */
function ask(port: number, options: ConnectionOptions): Promise<Seen> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
    let [answer, error, localPort] = ['', '', 0]
    let agreed: unknown = null
    let session: Buffer | null = null
    socket.once('connect', () => (localPort = socket.localPort!))
    socket.on('session', (ticket: Buffer) => (session = ticket))
    socket.on('secureConnect', () => {
      const { type, name, size } = socket.getEphemeralKeyInfo() as { type?: string; name?: string; size?: number }
      const { serialNumber } = socket.getPeerCertificate()
      agreed = {
        protocol: socket.getProtocol(),
        cipher: socket.getCipher().name,
        group: [type, name, size],
        alpn: socket.alpnProtocol,
        reused: socket.isSessionReused(),
        certificate: serialNumber,
      }
      if (socket.alpnProtocol !== 'h2') socket.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n')
      else socket.end()
    })
    socket.on('data', (chunk: Buffer) => (answer += socket.alpnProtocol === 'h2' ? '' : chunk.toString('latin1')))
    socket.on('error', (e: NodeJS.ErrnoException) => {
      error ||= (e.code ?? e.message).replace(HASH_ALERT, UNKNOWN_ALERT).replace(VERSION_ALERT, FAILURE_ALERT)
    })
    socket.on('close', () => resolve({ localPort, told: { agreed, error, answer: answer.slice(0, 15) }, session }))
  })
}

describe('random TLS contexts', {
  skip: envoyBinary() === null ? 'no envoy on PATH' : false,
  concurrency: false,
}, () => {
  const closing: (() => void)[] = []
  const servers: Server[] = []
  const sides: { proxy: RunningProxy; listeners: number[] }[] = []
  let world: World
  let contexts: readonly object[]
  let upstreams: ReturnType<typeof fc.sample<{ readonly context: object; readonly server: number }>>

  before(async () => {
    world = makeWorld({ after: (close) => void closing.push(close) })
    contexts = fc.sample(downstreamOf(world), { seed: SEED, numRuns: CONTEXTS })
    upstreams = fc.sample(upstreamOf(world), { seed: SEED, numRuns: CLUSTERS })
    for (const { options, certificate, asks, refuses } of fc.sample(serverOf, { seed: SEED, numRuns: SERVERS })) {
      const server = createHttps(
        {
          ...world.servers[certificate],
          ...options,
          ...(asks ? { requestCert: true, ca: world.ca.cert, rejectUnauthorized: refuses } : {}),
        },
        (message, response) => {
          const socket = message.socket as unknown as { servername: string; isSessionReused(): boolean }
          response.end(`${socket.servername} ${socket.isSessionReused()}`)
        },
      )
      server.on('tlsClientError', () => {})
      servers.push(server.listen(0, '127.0.0.1'))
      await once(server, 'listening')
    }
    const serverPorts = servers.map((server) => (server.address() as AddressInfo).port)
    for (const name of ['envoy', 'outrigger'] as const) {
      const listeners: number[] = []
      for (let i = 0; i < CONTEXTS; i++) listeners.push(await freePort())
      const proxy = await startProxy(name, (ports) => bootstrap(ports, listeners, contexts, upstreams, serverPorts))
      sides.push({ proxy, listeners })
    }
  })
  after(async () => {
    await Promise.all(sides.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
    for (const close of closing) close()
  })

  const logged = (proxy: RunningProxy, ports: string): string[] =>
    proxy
      .logLines()
      .filter((line) => line.split('|')[1] === ports)
      .map((line) => line.replace(`|${ports}|`, '|PORT|').replace(NOTHING_COMMON, 'NOTHING_COMMON'))
      .sort()

  async function observe(
    side: (typeof sides)[0],
    { options, who, resumes, context }: Client,
  ): Promise<[number, unknown][]> {
    const port = side.listeners[context]!
    const first = await ask(port, { ...options, ...(world.clients[who] ?? {}) })
    const seen = [first]
    if (resumes && first.session !== null)
      seen.push(await ask(port, { ...options, ...(world.clients[who] ?? {}), session: first.session }))
    return seen.map(({ localPort, told }) => [localPort, told])
  }

  test(`${CLIENTS} clients, seed ${SEED}`, async () => {
    const clients = fc
      .sample(clientOf, { seed: SEED, numRuns: CLIENTS })
      .map((client, i): Client => ({ ...client, context: i % CONTEXTS }))
    const differing: string[] = []
    let next = 0
    const worker = async (): Promise<void> => {
      for (let i = next++; i < clients.length; i = next++) {
        const client = clients[i]!
        const [theirs, ours] = [await observe(sides[0]!, client), await observe(sides[1]!, client)]
        const all = (side: (typeof sides)[0], seen: readonly [number, unknown][]): unknown =>
          seen.map(([port, told]) => [told, logged(side.proxy, `${port}>${side.listeners[client.context]}`)])
        const until = Date.now() + SETTLE_MS
        for (;;) {
          const [a, b] = [all(sides[0]!, theirs), all(sides[1]!, ours)]
          if (isDeepStrictEqual(a, b)) break
          if (Date.now() > until) {
            const { context, ...rest } = client
            differing.push(
              `client ${i} ${JSON.stringify(rest)}\nat ${JSON.stringify(contexts[context]).replaceAll(/-----BEGIN[^"]*/g, 'PEM')}\nenvoy     ${JSON.stringify(a)}\noutrigger ${JSON.stringify(b)}`,
            )
            break
          }
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
    assert.equal(
      differing.length,
      0,
      `${differing.length} differ:\n${differing.slice(0, Number(process.env.SHOWN ?? 12)).join('\n---\n')}`,
    )
  })

  test(`${CLUSTERS} clusters, seed ${SEED}`, async () => {
    const differing: string[] = []
    for (const [u, upstream] of upstreams.entries()) {
      const seen: unknown[] = []
      for (const { proxy } of sides) {
        const answers: string[] = []
        for (let n = 0; n < 2; n++) {
          const answer = await fetch(`http://127.0.0.1:${proxy.ports.listener}/u${u}`)
          answers.push(`${answer.status} ${await answer.text()}`)
        }
        const lines = (): string[] => proxy.logLines().filter((line) => line.includes(`|/u${u}|`))
        while (lines().length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
        seen.push([answers, lines().map((line) => line.slice(line.indexOf(`|/u${u}|`)))])
      }
      if (!isDeepStrictEqual(seen[0], seen[1]))
        differing.push(
          `${JSON.stringify(upstream).replaceAll(/-----BEGIN[^"]*/g, 'PEM')}\nenvoy     ${JSON.stringify(seen[0])}\noutrigger ${JSON.stringify(seen[1])}`,
        )
    }
    assert.equal(
      differing.length,
      0,
      `${differing.length} differ:\n${differing.slice(0, Number(process.env.SHOWN ?? 12)).join('\n---\n')}`,
    )
  })

  test('ssl stats agree', async () => {
    const stats = async ({ proxy }: (typeof sides)[0]): Promise<string[]> =>
      (await proxy.admin('/stats?usedonly&filter=%5C.ssl%5C.'))
        .split('\n')
        .filter((line) => !/: 0$|certificate\.|sigalgs/.test(line))
        .sort()
    await assertAgree(async () => [await stats(sides[0]!), await stats(sides[1]!)], SETTLE_MS)
  })
})
