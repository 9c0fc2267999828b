import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Cleanup, TestCa, type TestCertificate } from '../testing.ts'
import { createClientContext, createServerContext, type ResolvedTls } from './secure-context.ts'
import { PLAIN_BUFFER, SslSocket, SslState } from './ssl-socket.ts'
import type { CommonTlsConfig, DownstreamTlsConfig, ValidationConfig } from './tls-config.ts'
import { createPeerVerifier } from './verify.ts'

const COMMON: CommonTlsConfig = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
  curves: '',
  signatureAlgorithms: '',
  certificates: [],
  certificateSecrets: [],
  validation: null,
  validationSecret: '',
  alpnProtocols: [],
}
const DOWNSTREAM: DownstreamTlsConfig = {
  common: COMMON,
  requireClientCertificate: false,
  requireSni: false,
  ticketKeys: [],
  ticketKeysSecret: '',
  statefulResumption: false,
  sessionTimeoutS: null,
  fullScanCertsOnSniMismatch: false,
  preferClientCiphers: false,
  ocspPolicy: 'LENIENT_STAPLING',
}
const VALIDATION: ValidationConfig = {
  trustedCa: '',
  trustedCaOrigin: '',
  crl: '',
  leafCrlOnly: false,
  sanMatchers: [],
  spki: [],
  hashes: [],
  allowExpired: false,
  acceptUntrusted: false,
  maxVerifyDepth: 100,
  trustDomains: null,
}

/** One end without a socket: what it writes is taken from it, what it decrypts is kept. */
class End {
  readonly ssl: SslSocket
  text = ''
  /** Freed once with the test, so that a failure leaks nothing either. */
  constructor(t: Cleanup, ssl: SslSocket) {
    this.ssl = ssl
    t.after(() => ssl.free())
  }
  receive(bytes: Buffer): void {
    this.ssl.receive(bytes, 0, bytes.length, false)
    this.text += PLAIN_BUFFER.toString('latin1', 0, this.ssl.plainLength)
  }
  take(): Buffer {
    return this.ssl.takeOutput() ?? Buffer.alloc(0)
  }
  write(text: string): void {
    const bytes = Buffer.from(text, 'latin1')
    assert.ok(this.ssl.write(bytes, 0, bytes.length, false))
  }
}

interface Sides {
  readonly client: End
  readonly server: End
}

/** Passes bytes back and forth, cut by `cut`, until both are silent. */
function pump({ client, server }: Sides, cut: (bytes: Buffer) => Buffer[] = (bytes) => [bytes]): void {
  for (let round = 0; round < 20; round++) {
    const [up, down] = [client.take(), server.take()]
    if (up.length === 0 && down.length === 0) return
    for (const part of up.length > 0 ? cut(up) : []) server.receive(part)
    for (const part of down.length > 0 ? cut(down) : []) client.receive(part)
  }
  throw new Error('the two sides talk for ever')
}

interface PairOptions {
  readonly server?: Partial<DownstreamTlsConfig>
  readonly serverValidation?: ValidationConfig | null
  readonly client?: Partial<CommonTlsConfig>
  readonly clientValidation?: ValidationConfig | null
  readonly clientCertificate?: TestCertificate
}

function certificateOf({ cert, key }: TestCertificate) {
  return { certificateChain: cert, privateKey: key, certificateOrigin: '<inline>', password: '', ocspStaple: null }
}

/** A pair before its first byte. */
function pair(t: Cleanup, certificate: TestCertificate, options: PairOptions = {}): Sides {
  const serverValidation = options.serverValidation ?? null
  const own = certificateOf(certificate)
  const resolved: ResolvedTls = { certificates: [own], validation: serverValidation }
  const downstream = { ...DOWNSTREAM, ...options.server }
  const serverContext = createServerContext(downstream, resolved, own, downstream.ticketKeys)
  const common = { ...COMMON, ...options.client }
  const clientValidation = options.clientValidation ?? null
  const clientContext = createClientContext(
    common,
    {
      certificates: options.clientCertificate ? [certificateOf(options.clientCertificate)] : [],
      validation: clientValidation,
    },
    false,
  )
  const verifier = (validation: ValidationConfig | null) =>
    validation === null ? null : createPeerVerifier(validation)
  const server = SslSocket.server(
    {
      context: serverContext,
      verifier: verifier(serverValidation),
      alpnProtocols: downstream.common.alpnProtocols,
    },
    '',
  )
  const client = SslSocket.client({
    context: clientContext,
    verifier: verifier(clientValidation),
    alpnProtocols: common.alpnProtocols,
    serverName: 'a.example',
    session: null,
    keepSession: null,
  })
  // Connections hold their context alive.
  serverContext.free()
  clientContext.free()
  return { client: new End(t, client), server: new End(t, server) }
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: bytes pass both ways however they are cut`, (t) => {
    const certificate = new TestCa(t).issue('DNS:a.example')
    for (const size of [1, 2, 5, 7, 64, 4096]) {
      const sides = pair(t, certificate, { client: { maxVersion: version } })
      const cut = (bytes: Buffer): Buffer[] => {
        const parts: Buffer[] = []
        for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size))
        return parts
      }
      sides.client.ssl.startHandshake(false)
      pump(sides, cut)
      assert.equal(sides.client.ssl.state, SslState.Established)
      assert.equal(sides.server.ssl.state, SslState.Established)
      const request = 'GET / HTTP/1.1\r\n\r\n'
      sides.client.write(request)
      sides.client.write('second')
      sides.server.write('x'.repeat(300_000))
      pump(sides, cut)
      assert.equal(sides.server.text, `${request}second`)
      assert.equal(sides.client.text.length, 300_000)
      sides.client.ssl.shutdown(false)
      pump(sides, cut)
      assert.equal(sides.server.ssl.state, SslState.PeerClosed)
      sides.server.write('after')
      sides.server.ssl.shutdown(false)
      pump(sides, cut)
      assert.equal(sides.client.text.slice(-5), 'after', 'a half-closed side still reads')
      assert.equal(sides.client.ssl.state, SslState.PeerClosed)
    }
  })

  test(`${version}: application data in the segment that ends the handshake is not lost`, (t) => {
    const sides = pair(t, new TestCa(t).issue('DNS:a.example'), { client: { maxVersion: version } })
    sides.client.ssl.startHandshake(false)
    while (sides.client.ssl.state === SslState.Handshake) {
      sides.server.receive(sides.client.take())
      sides.client.receive(sides.server.take())
    }
    sides.client.write('early')
    sides.client.ssl.shutdown(false)
    // The client's Finished, its data and its close_notify in one piece.
    sides.server.receive(sides.client.take())
    assert.equal(sides.server.text, 'early')
    assert.equal(sides.server.ssl.state, SslState.PeerClosed)
  })
}

test('the client hello may be cut at every byte', (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const length = helloOf(pair(t, certificate)).length
  for (let at = 1; at < length; at++) {
    const sides = pair(t, certificate)
    const hello = helloOf(sides)
    sides.server.receive(hello.subarray(0, at))
    sides.server.receive(hello.subarray(at))
    pump(sides)
    assert.equal(sides.server.ssl.state, SslState.Established, `cut at ${at}`)
    sides.client.ssl.free()
    sides.server.ssl.free()
  }
})

function helloOf(sides: Sides): Buffer {
  sides.client.ssl.startHandshake(false)
  return sides.client.take()
}

test('a refused client certificate gets an alert and a text', (t) => {
  const ca = new TestCa(t)
  const server = ca.issue('DNS:a.example')
  const cases = [
    { san: 'no match', validation: { sanMatchers: [uri('spiffe://b')] }, counter: 'fail_verify_san', alert: 46 },
    { san: 'hash', validation: { hashes: ['00'.repeat(32)] }, counter: 'fail_verify_cert_hash', alert: 46 },
    { san: 'CA', validation: { trustedCa: new TestCa(t).cert }, counter: 'fail_verify_error', alert: 48 },
  ]
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const { validation, counter, alert } of cases) {
      const sides = pair(t, server, {
        server: { requireClientCertificate: true },
        serverValidation: { ...VALIDATION, trustedCa: ca.cert, ...validation },
        client: { maxVersion: version },
        clientCertificate: ca.issue('URI:spiffe://a'),
      })
      sides.client.ssl.startHandshake(false)
      pump(sides)
      assert.equal(sides.server.ssl.state, SslState.Failed)
      assert.equal(sides.server.ssl.failureCounter, counter)
      assert.match(sides.server.ssl.failureText, /CERTIFICATE_VERIFY_FAILED:verify cert failed: /)
      assert.equal(sides.client.ssl.state, SslState.Failed)
      assert.match(sides.client.ssl.failureText, new RegExp(`\\|${(16 << 24) + 1000 + alert}:`))
    }
  }
})

function uri(value: string): ValidationConfig['sanMatchers'][number] {
  return { type: 'URI', oid: '', matcher: { kind: 'exact', value, ignoreCase: false } }
}

test('an absent client certificate is refused where one is required', (t) => {
  const ca = new TestCa(t)
  const sides = pair(t, ca.issue('DNS:a.example'), {
    server: { requireClientCertificate: true },
    serverValidation: { ...VALIDATION, trustedCa: ca.cert },
  })
  sides.client.ssl.startHandshake(false)
  pump(sides)
  assert.equal(sides.server.ssl.failureCounter, 'fail_verify_no_cert')
  assert.match(sides.client.ssl.failureText, /CERTIFICATE_REQUIRED/)
})

test('ACCEPT_UNTRUSTED and allow_expired_certificate let in what they name', (t) => {
  const ca = new TestCa(t)
  const server = ca.issue('DNS:a.example')
  const accepts = (validation: Partial<ValidationConfig>, clientCertificate: TestCertificate): boolean => {
    const sides = pair(t, server, {
      server: { requireClientCertificate: true },
      serverValidation: { ...VALIDATION, trustedCa: ca.cert, ...validation },
      clientCertificate,
    })
    sides.client.ssl.startHandshake(false)
    pump(sides)
    return sides.server.ssl.state === SslState.Established
  }
  const stranger = new TestCa(t).issue('URI:spiffe://a')
  assert.equal(accepts({}, stranger), false)
  assert.equal(accepts({ acceptUntrusted: true }, stranger), true)
  const expired = ca.issue('URI:spiffe://a', { days: -1 })
  assert.equal(accepts({}, expired), false)
  assert.equal(accepts({ allowExpired: true }, expired), true)
  assert.equal(accepts({ allowExpired: true }, stranger), false, 'expiry alone is forgiven')
})

test('garbage in every state ends in a failure, not in a crash', (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  let seed = 1
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
    return seed % limit
  }
  for (let round = 0; round < 300; round++) {
    const sides = pair(t, certificate, { client: { maxVersion: round % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3' } })
    sides.client.ssl.startHandshake(false)
    // Some clean exchanges, then one flight with a few bytes changed, inserted or cut off.
    const clean = random(4)
    for (let i = 0; i < clean; i++) {
      sides.server.receive(sides.client.take())
      sides.client.receive(sides.server.take())
      if (sides.client.ssl.state === SslState.Established) sides.client.write('x'.repeat(1 + random(3000)))
    }
    let bytes = Buffer.concat([sides.client.take(), Buffer.alloc(random(3) === 0 ? random(200) : 0, random(256))])
    if (bytes.length === 0) bytes = Buffer.alloc(1 + random(500), random(256))
    for (let i = random(4); i >= 0; i--) bytes[random(bytes.length)] = random(256)
    sides.server.receive(bytes.subarray(0, 1 + random(bytes.length)))
    sides.client.receive(sides.server.take())
    sides.server.receive(sides.client.take())
    // The thread's shared BIOs are clean: a new pair works.
    if (round % 20 === 0) {
      const good = pair(t, certificate)
      good.client.ssl.startHandshake(false)
      pump(good)
      good.client.write('fine')
      pump(good)
      assert.equal(good.server.text, 'fine')
    }
    sides.client.ssl.free()
    sides.server.ssl.free()
  }
})

test('thousands of connections and contexts leave no memory behind', (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  const noCleanup: Cleanup = { after() {} }
  const run = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const sides = pair(noCleanup, certificate, { server: { ticketKeys: [Buffer.alloc(80, i)] } })
      sides.client.ssl.startHandshake(false)
      pump(sides)
      sides.client.write('x'.repeat(20_000))
      pump(sides)
      sides.client.ssl.free()
      sides.server.ssl.free()
    }
  }
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const rssAfter = (count: number): number => {
    run(count)
    collect()
    return process.memoryUsage.rss()
  }
  // Equal batches: the heap has its size after the first ones.
  const rss = Array.from({ length: 6 }, () => rssAfter(250))
  const grown = rss[5]! - rss[2]!
  // 750 contexts and 1500 connections that stayed would take some 60 MB.
  assert.ok(grown < 8 << 20, `${(grown / (1 << 20)).toFixed(1)} MB more`)
})

test('bytes behind a record header that came alone are decrypted whatever they look like', (t) => {
  const certificate = new TestCa(t).issue('DNS:a.example')
  let tried = 0
  for (let round = 0; round < 8; round++) {
    const sides = pair(t, certificate)
    sides.client.ssl.startHandshake(false)
    pump(sides)
    const line = `${'x'.repeat(99)}\n`
    for (let i = 0; i < 600; i++) sides.client.write(line)
    const bytes = sides.client.take()
    const record = 5 + bytes.readUInt16BE(3)
    // The next piece is as long as a whole record would be whose header its first bytes were.
    const end = 5 + 5 + bytes.readUInt16BE(5 + 3)
    if (end < 2 * record || end > bytes.length) continue
    tried++
    sides.server.receive(bytes.subarray(0, 5))
    sides.server.receive(bytes.subarray(5, end))
    assert.equal(sides.server.text, line.repeat(Math.floor(end / record)))
  }
  assert.ok(tried > 0)
})
