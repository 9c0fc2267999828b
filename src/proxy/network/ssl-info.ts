// TLS facts of a connection: computed when first asked for, because certificates are slow to read.

import { X509Certificate } from 'node:crypto'
import { alternativeNames } from '../../base/alternative-names.ts'
import type { CertificateDigest, SslInfo } from './connection.ts'
import type { SslSource } from './connection-info.ts'
import { type HandshakeFacts, readHandshakeFacts } from './tls/handshake-facts.ts'
import { otherNames } from './tls/other-names.ts'
import type { SslSocket } from './tls/ssl-socket.ts'

/** The source of ConnectionInfo.ssl: reads once. `release` it before the socket is freed. */
export class SslInfoSource implements SslSource {
  private socket: SslSocket | null
  private facts: HandshakeFacts | null = null
  private info: SslInfo | null = null

  /** Facts asked for during the handshake are those known then. */
  constructor(socket: SslSocket) {
    this.socket = socket
  }

  get(): SslInfo {
    if (this.info !== null) return this.info
    const info = describe(this.readFacts())
    if (this.facts !== null) this.info = info
    return info
  }

  /** The socket goes: what may still be asked for (access logs) is copied out of it. */
  release(): void {
    if (this.info === null) this.facts = readHandshakeFacts(this.socket!)
    this.socket = null
  }

  private readFacts(): HandshakeFacts {
    if (this.facts !== null) return this.facts
    const facts = readHandshakeFacts(this.socket!)
    if (this.socket!.handshakeDone) this.facts = facts
    return facts
  }
}

function describe(facts: HandshakeFacts): SslInfo {
  const leaf = facts.peerCertificates[0]
  const certificates = facts.peerCertificates.map((der) => new X509Certificate(der))
  const peer = certificates[0] ?? null
  const digests = certificates.map(digest)
  const legacy = peer?.toLegacyObject()
  const local = facts.localCertificate
  const peerNames = alternativeNames(peer?.subjectAltName)
  const localNames = alternativeNames(local?.subjectAltName)
  return {
    version: facts.version,
    cipher: facts.cipher,
    group: facts.group,
    sni: facts.serverName,
    alpn: facts.alpn,
    peerCertificatePresented: peer !== null,
    peerCertificateValidated: peer !== null && facts.peerValidated,
    uriSanPeer: peerNames.uri,
    dnsSanPeer: peerNames.dns,
    ipSanPeer: peerNames.ip,
    emailSanPeer: peerNames.email,
    otherNameSanPeer: leaf ? otherNames(leaf).map((name) => name.value) : [],
    subjectPeer: legacy ? rfc2253(legacy.subject) : '',
    issuerPeer: legacy ? rfc2253(legacy.issuer) : '',
    serialPeer: digests[0]?.serial ?? '',
    sha256Peer: digests[0]?.sha256 ?? '',
    sha1Peer: digests[0]?.sha1 ?? '',
    pemPeer: leaf ? encodeURIComponent(pem(leaf)) : '',
    pemChainPeer: facts.peerCertificates.map((der) => encodeURIComponent(pem(der))).join(''),
    chainPeer: digests,
    issuerDigest: facts.peerIssuer === null ? null : digest(new X509Certificate(facts.peerIssuer)),
    validFromPeer: peer ? peer.validFromDate.toISOString() : '',
    expirationPeer: peer ? peer.validToDate.toISOString() : '',
    uriSanLocal: localNames.uri,
    dnsSanLocal: localNames.dns,
    ipSanLocal: localNames.ip,
    emailSanLocal: localNames.email,
    otherNameSanLocal: local ? otherNames(local.raw).map((name) => name.value) : [],
    subjectLocal: local ? rfc2253(local.toLegacyObject().subject) : '',
    sessionId: facts.sessionId,
  }
}

/** Most significant part last in X.509, first in RFC 2253. */
export function rfc2253(name: object): string {
  const parts: string[] = []
  for (const [key, value] of Object.entries(name)) {
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`${key}=${escape2253(String(one))}`)
  }
  return parts.reverse().join(',')
}

/** As OpenSSL and BoringSSL write names: what is no printable ASCII by its UTF-8 bytes, so that a name is always one line. */
function escape2253(value: string): string {
  return value
    .replaceAll(/[,+"\\<>;]/g, '\\$&')
    .replaceAll(/[^ -~]+/g, (text) => Array.from(Buffer.from(text), escapedByte).join(''))
    .replace(/^[ #]/, '\\$&')
    .replace(/ $/, '\\ ')
}

function escapedByte(byte: number): string {
  return `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`
}

function digest(certificate: X509Certificate): CertificateDigest {
  return {
    sha256: hex(certificate.fingerprint256),
    sha1: hex(certificate.fingerprint),
    serial: certificate.serialNumber.toLowerCase(),
  }
}

function hex(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase()
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
