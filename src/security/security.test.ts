// The CA against openssl, and the whole signing path over real gRPC with TLS.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import tls from 'node:tls'
import { Client, credentials, Metadata, Server } from '@grpc/grpc-js'
import { GRPC_STATUS } from '../base/grpc-status.ts'
import { createLogger } from '../base/logger.ts'
import { createAuthenticator } from './authenticate.ts'
import { CertificateAuthority, MAX_CERT_TTL_MS } from './ca.ts'
import { createCertificate, mountCertificateService } from './ca-service.ts'
import { createCertificateRequest } from './csr.ts'
import { renewalTime, SecretManager } from './secret-manager.ts'
import { createServerCredentials } from './server-credentials.ts'
import { ServiceAccountTokens } from './service-account-token.ts'
import { formatSpiffeId, parseSpiffeId } from './spiffe.ts'

const ID = 'spiffe://cluster.local/ns/default/sa/bookinfo-productpage'
const dir = mkdtempSync(join(tmpdir(), 'outrigger-ca-'))
const cleanup: (() => void)[] = [() => rmSync(dir, { recursive: true, force: true })]
after(() => {
  for (const close of cleanup.reverse()) close()
})

function openssl(...args: string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function file(name: string, content: string): string {
  const path = join(dir, name)
  writeFileSync(path, content)
  return path
}

for (const keyType of ['RSA', 'ECDSA'] as const) {
  test(`${keyType}: a signed workload certificate has Istio's shape and verifies`, async () => {
    const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType })
    const { csrPem, keyPem } = await createCertificateRequest('spiffe://not/what/counts', keyType)
    const chain = await ca.signCsr(csrPem, [ID])
    assert.equal(chain.length, 2)
    const leaf = file(`leaf-${keyType}.pem`, chain[0]!)
    const root = file(`root-${keyType}.pem`, chain[1]!)
    assert.match(openssl('verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', root, leaf), /OK/)
    assert.match(openssl('verify', '-purpose', 'sslclient', '-CAfile', root, leaf), /OK/)
    const text = openssl('x509', '-in', leaf, '-noout', '-text')
    assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature, Key Encipherment\n/)
    assert.match(text, /X509v3 Extended Key Usage:\s+TLS Web Server Authentication, TLS Web Client Authentication\n/)
    assert.match(text, /X509v3 Basic Constraints: critical\s+CA:FALSE/)
    assert.match(
      text,
      /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/default\/sa\/bookinfo-productpage\n/,
    )
    assert.match(text, /Subject: ?\n/)
    assert.match(openssl('x509', '-in', root, '-noout', '-text'), /Subject: O ?= ?cluster\.local\n/)
    const dates = openssl('x509', '-in', leaf, '-noout', '-startdate', '-enddate')
      .split('\n')
      .map((line) => Date.parse(line.replace(/^\w+=/, '')))
    assert.equal(Math.round((dates[1]! - dates[0]!) / 60_000), 24 * 60 + 2)
    // The key belongs to the certificate.
    const key = file(`key-${keyType}.pem`, keyPem)
    assert.equal(openssl('pkey', '-in', key, '-pubout'), openssl('x509', '-in', leaf, '-noout', '-pubkey'))
    assert.match(openssl('pkey', '-in', key, '-noout', '-text'), keyType === 'RSA' ? /2048 bit/ : /P-256/)
  })
}

test('requests made by openssl are signed too; garbage, foreign signatures and too long lifetimes are refused', async () => {
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local' })
  const key = join(dir, 'o.key')
  openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', key)
  const csr = openssl('req', '-new', '-key', key, '-subj', '/O=x')
  assert.match(
    openssl('verify', '-CAfile', file('r.pem', ca.rootPem), file('l.pem', (await ca.signCsr(csr, [ID]))[0]!)),
    /OK/,
  )
  const invalid = { code: GRPC_STATUS.INVALID_ARGUMENT }
  await assert.rejects(ca.signCsr('garbage', [ID]), invalid)
  await assert.rejects(ca.signCsr(csr, [ID], MAX_CERT_TTL_MS + 1), invalid)
  const body = Buffer.from(csr.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  body[body.length - 1]! ^= 1
  const tampered = `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
  await assert.rejects(ca.signCsr(tampered, [ID]), invalid)
})

test('a CA of which not every file could be written is none: the next start makes another', async () => {
  const home = join(dir, 'unfinished')
  mkdirSync(join(home, 'cert-chain.pem'), { recursive: true })
  await assert.rejects(CertificateAuthority.loadOrCreate(home, { trustDomain: 'cluster.local' }), /EISDIR/)
  rmSync(join(home, 'cert-chain.pem'), { recursive: true })
  const made = await CertificateAuthority.loadOrCreate(home, { trustDomain: 'cluster.local' })
  assert.equal((await CertificateAuthority.loadOrCreate(home, { trustDomain: 'x' })).rootPem, made.rootPem)
})

test('a CA is kept in files, reads an intermediate made by openssl, and refuses a key that is not its own', async () => {
  const home = join(dir, 'cacerts')
  const made = await CertificateAuthority.loadOrCreate(home, { trustDomain: 'cluster.local' })
  const again = await CertificateAuthority.loadOrCreate(home, { trustDomain: 'cluster.local' })
  assert.equal(again.rootPem, made.rootPem)
  assert.equal(statSync(join(home, 'ca-key.pem')).mode & 0o777, 0o600)

  const at = (name: string) => join(dir, name)
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-384',
    '-nodes',
    '-keyout',
    at('root.key'),
    '-out',
    at('root.crt'),
    '-subj',
    '/O=Root',
    '-days',
    '30',
  )
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('int.key'))
  writeFileSync(at('int.csr'), openssl('req', '-new', '-key', at('int.key'), '-subj', '/O=Intermediate'))
  writeFileSync(
    at('ext'),
    'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n',
  )
  openssl(
    'x509',
    '-req',
    '-in',
    at('int.csr'),
    '-CA',
    at('root.crt'),
    '-CAkey',
    at('root.key'),
    '-CAcreateserial',
    '-days',
    '20',
    '-extfile',
    at('ext'),
    '-out',
    at('int.crt'),
  )
  const read = (name: string) => readFileSync(at(name), 'utf8')
  const material = {
    certPem: read('int.crt'),
    keyPem: read('int.key'),
    rootPem: read('root.crt'),
    chainPem: read('int.crt'),
  }
  const intermediate = CertificateAuthority.fromPem(material)
  const { csrPem } = await createCertificateRequest(ID, 'ECDSA')
  const chain = await intermediate.signCsr(csrPem, [ID], MAX_CERT_TTL_MS)
  assert.equal(chain.length, 3)
  assert.match(
    openssl('verify', '-CAfile', at('root.crt'), '-untrusted', file('i.pem', chain[1]!), file('leaf.pem', chain[0]!)),
    /OK/,
  )
  // Not beyond the issuer's own end.
  assert.equal(
    openssl('x509', '-in', at('leaf.pem'), '-noout', '-enddate'),
    openssl('x509', '-in', at('int.crt'), '-noout', '-enddate'),
  )
  assert.throws(
    () => CertificateAuthority.fromPem({ ...material, keyPem: read('root.key') }),
    /ca-key\.pem: does not belong to ca-cert\.pem/,
  )
  assert.throws(() => CertificateAuthority.fromPem({ ...material, keyPem: 'x' }), /ca-key\.pem: unreadable private key/)
})

test('service-account tokens hold for their audience, issuer and key only', async () => {
  const rsa = execFileSync('openssl', ['genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  for (const tokens of [new ServiceAccountTokens(), new ServiceAccountTokens({ keyPem: rsa })]) {
    const request = {
      namespace: 'default',
      serviceAccount: 'bookinfo-reviews',
      audiences: ['istio-ca'],
      expirationSeconds: 43_200,
    }
    const token = await tokens.sign(request)
    assert.deepEqual(await tokens.verify(token, 'istio-ca'), {
      namespace: 'default',
      serviceAccount: 'bookinfo-reviews',
    })
    const payload = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())
    assert.equal(payload.sub, 'system:serviceaccount:default:bookinfo-reviews')
    assert.equal(payload.exp - payload.iat, 43_200)
    await assert.rejects(tokens.verify(token, 'vault'), /aud/)
    await assert.rejects(new ServiceAccountTokens().verify(token, 'istio-ca'))
    await assert.rejects(tokens.verify(await tokens.sign({ ...request, expirationSeconds: -1 }), 'istio-ca'), /exp/)
    const kept = new ServiceAccountTokens({ keyPem: tokens.keyPem() })
    assert.equal((await kept.verify(token, 'istio-ca')).serviceAccount, 'bookinfo-reviews')
  }
})

test('SPIFFE ids', () => {
  const identity = { trustDomain: 'td', namespace: 'n', serviceAccount: 's' }
  assert.deepEqual(parseSpiffeId(formatSpiffeId(identity)), { ok: true, value: identity })
  for (const bad of ['', 'spiffe://td/ns/n', 'spiffe://td/ns/n/sa/s/x', 'https://td/ns/n/sa/s'])
    assert.equal(parseSpiffeId(bad).ok, false)
})

test('a certificate that is due for renewal when it comes is not asked for again at once', async () => {
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  let waits = 0
  const manager = new SecretManager({
    spiffeId: ID,
    keyType: 'ECDSA',
    graceRatio: 1,
    graceJitter: 0,
    log: createLogger('test', 'off'),
    sign: (csr) => ca.signCsr(csr, [ID]),
    backoff: { baseMs: 2, maxMs: 4, random: () => ++waits / 10 },
  })
  cleanup.push(() => manager.close())
  let secrets = 0
  await new Promise<void>((resolve) => {
    manager.subscribe(() => {
      if (++secrets === 3) resolve()
    })
    manager.start()
  })
  manager.close()
  assert.equal(waits, 3)
})

test('a listener that fails costs neither the others their secret nor the CA another request', async () => {
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  const manager = new SecretManager({
    spiffeId: ID,
    keyType: 'ECDSA',
    log: createLogger('test', 'off'),
    sign: (csr) => ca.signCsr(csr, [ID]),
  })
  cleanup.push(() => manager.close())
  manager.subscribe(() => {
    throw new Error('a listener')
  })
  await new Promise<void>((resolve) => {
    manager.subscribe(() => resolve())
    manager.start()
  })
  assert.deepEqual({ ...manager.requests, latencyMs: 0 }, { total: 1, failed: 0, latencyMs: 0 })
})

test('renewal falls at half-life, spread by the jitter', () => {
  const secret = { notBefore: new Date(0), notAfter: new Date(1000) }
  assert.equal(renewalTime(secret, 0.5, 0.01, 0.5), 500)
  assert.equal(renewalTime(secret, 0.5, 0.01, 0), 510)
  assert.equal(renewalTime(secret, 0.2, 0, 0.9), 800)
})

test('CreateCertificate over TLS: a token gets the first certificate, that certificate gets the next, others get nothing', async () => {
  const log = createLogger('test', 'off')
  const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  const tokens = new ServiceAccountTokens()
  const server = new Server()
  mountCertificateService(server, {
    ca,
    authenticate: createAuthenticator({ trustDomain: 'cluster.local', tokens }),
    log,
  })
  const first = await ca.issueServerCertificate(['localhost'])
  const renewable = createServerCredentials(first, ca.rootPem)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', renewable.credentials, (error, p) => (error ? reject(error) : resolve(p))),
  )
  cleanup.push(() => server.forceShutdown())
  const connect = (key?: string, chain?: string) => {
    const client = new Client(
      `localhost:${port}`,
      credentials.createSsl(
        Buffer.from(ca.rootPem),
        key === undefined ? null : Buffer.from(key),
        chain === undefined ? null : Buffer.from(chain),
      ),
      { 'grpc.use_local_subchannel_pool': 1 },
    )
    cleanup.push(() => client.close())
    return client
  }
  const bearer = (token: string) => {
    const metadata = new Metadata()
    metadata.set('authorization', `Bearer ${token}`)
    return metadata
  }
  const token = await tokens.sign({
    namespace: 'default',
    serviceAccount: 'bookinfo-productpage',
    audiences: ['istio-ca'],
    expirationSeconds: 600,
  })
  const plain = connect()
  const other = await CertificateAuthority.createSelfSigned({ trustDomain: 'other', keyType: 'ECDSA' })
  const manager = new SecretManager({
    moreRoots: [other.rootPem],
    spiffeId: ID,
    keyType: 'ECDSA',
    log,
    sign: (csrPem, ttlSeconds) => createCertificate(plain, { csrPem, ttlSeconds }, bearer(token), 5000),
  })
  cleanup.push(() => manager.close())
  const secret = await new Promise<NonNullable<typeof manager.current>>((resolve) => {
    manager.subscribe(resolve)
    manager.start()
  })
  assert.equal(secret.rootPem, ca.rootPem + other.rootPem, 'peers of both meshes are verified')
  const sans = openssl('x509', '-in', file('w.pem', secret.certChainPem), '-noout', '-ext', 'subjectAltName')
  assert.match(sans, new RegExp(ID))

  const { csrPem } = await createCertificateRequest('spiffe://cluster.local/ns/kube-system/sa/admin', 'ECDSA')
  const call = { csrPem, ttlSeconds: 3600 }
  const renewed = await createCertificate(connect(secret.keyPem, secret.certChainPem), call, new Metadata(), 5000)
  assert.match(
    openssl('x509', '-in', file('n.pem', renewed[0]!), '-noout', '-ext', 'subjectAltName'),
    new RegExp(`URI:${ID}\n`),
  )

  const unauthenticated = { code: GRPC_STATUS.UNAUTHENTICATED }
  await assert.rejects(createCertificate(plain, call, new Metadata(), 5000), unauthenticated)
  await assert.rejects(createCertificate(plain, call, bearer('a.b.c'), 5000), unauthenticated)
  const foreign = await CertificateAuthority.createSelfSigned({ trustDomain: 'cluster.local', keyType: 'ECDSA' })
  const request = await createCertificateRequest(ID, 'ECDSA')
  const fake = (await foreign.signCsr(request.csrPem, [ID]))[0]!
  await assert.rejects(createCertificate(connect(request.keyPem, fake), call, new Metadata(), 5000), unauthenticated)

  // A renewed server certificate is used by the next connection.
  const second = await ca.issueServerCertificate(['localhost'])
  renewable.renew(second)
  const offered = await new Promise<Buffer>((resolve, reject) => {
    const socket = tls.connect(
      { port, host: '127.0.0.1', servername: 'localhost', ca: ca.rootPem, ALPNProtocols: ['h2'] },
      () => {
        resolve(socket.getPeerCertificate().raw)
        socket.destroy()
      },
    )
    socket.on('error', reject)
  })
  assert.deepEqual(offered, new X509Certificate(second.certChainPem).raw)
})
