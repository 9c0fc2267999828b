// TLS facts of a connection: read from node:tls when first asked for, because peer certificates are slow to fetch.

import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls'
import type { SslInfo } from './connection.ts'

/** A source for ConnectionInfo.ssl that computes once. */
export function tlsSslInfo(socket: TLSSocket): () => SslInfo {
  let info: SslInfo | null = null
  return () => (info ??= readSslInfo(socket))
}

/** On a resumed client session node has no peer certificate: those facts come from the handshake that began it. */
export function resumedSslInfo(socket: TLSSocket, first: SslInfo): () => SslInfo {
  return () => ({
    ...first,
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher()?.name ?? '',
    alpn: socket.alpnProtocol || '',
  })
}

export function readSslInfo(socket: TLSSocket): SslInfo {
  const peer = certificateOf(socket.getPeerCertificate(true))
  const local = certificateOf(socket.getCertificate() as PeerCertificate | null)
  const peerNames = alternativeNames(peer?.subjectaltname)
  const localNames = alternativeNames(local?.subjectaltname)
  const session = socket.getSession()
  return {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher()?.name ?? '',
    sni: typeof socket.servername === 'string' ? socket.servername : '',
    alpn: socket.alpnProtocol || '',
    peerCertificatePresented: peer !== null,
    peerCertificateValidated: peer !== null && verifyError(socket) === null,
    uriSanPeer: peerNames.uri,
    dnsSanPeer: peerNames.dns,
    ipSanPeer: peerNames.ip,
    emailSanPeer: peerNames.email,
    subjectPeer: peer ? rfc2253(peer.subject) : '',
    issuerPeer: peer ? rfc2253(peer.issuer) : '',
    serialPeer: peer?.serialNumber.toLowerCase() ?? '',
    sha256Peer: peer ? hex(peer.fingerprint256) : '',
    sha1Peer: peer ? hex(peer.fingerprint) : '',
    pemPeer: peer ? encodeURIComponent(pem(peer.raw)) : '',
    pemChainPeer: peer
      ? chain(peer)
          .map((c) => encodeURIComponent(pem(c.raw)))
          .join('')
      : '',
    validFromPeer: peer ? isoSeconds(peer.valid_from) : '',
    expirationPeer: peer ? isoSeconds(peer.valid_to) : '',
    uriSanLocal: localNames.uri,
    dnsSanLocal: localNames.dns,
    subjectLocal: local ? rfc2253(local.subject) : '',
    sessionId: session ? session.subarray(0, 32).toString('hex') : '',
  }
}

/** Node answers "none" with an empty object. */
function certificateOf<C extends PeerCertificate>(certificate: C | null | undefined): C | null {
  return certificate && Object.keys(certificate).length > 0 ? certificate : null
}

/** What OpenSSL thought of the peer's chain, or null. */
export function verifyError(socket: TLSSocket): NodeJS.ErrnoException | null {
  const handle = (socket as unknown as { _handle: { verifyError(): NodeJS.ErrnoException | null } | null })._handle
  return handle === null ? null : handle.verifyError()
}

interface AlternativeNames {
  /** All of them, in the certificate's order. */
  readonly all: string[]
  readonly uri: string[]
  readonly dns: string[]
  readonly ip: string[]
  readonly email: string[]
}

/** Node's `URI:…, DNS:…` text; values with special characters are JSON strings in it. */
export function alternativeNames(text: string | undefined): AlternativeNames {
  const names: AlternativeNames = { all: [], uri: [], dns: [], ip: [], email: [] }
  for (const [, kind, quoted, plain] of (text ?? '').matchAll(
    /(URI|DNS|IP Address|email):(?:("(?:[^"\\]|\\.)*")|([^,]*))(?:, |$)/g,
  )) {
    const value = quoted === undefined ? plain!.trim() : (JSON.parse(quoted) as string)
    names.all.push(value)
    if (kind === 'URI') names.uri.push(value)
    else if (kind === 'DNS') names.dns.push(value)
    else if (kind === 'email') names.email.push(value)
    else names.ip.push(value)
  }
  return names
}

/** Most significant part last in X.509, first in RFC 2253. */
function rfc2253(name: object): string {
  const parts: string[] = []
  for (const [key, value] of Object.entries(name)) {
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`${key}=${escape2253(String(one))}`)
  }
  return parts.reverse().join(',')
}

function escape2253(value: string): string {
  return value
    .replaceAll(/[,+"\\<>;]/g, '\\$&')
    .replace(/^[ #]/, '\\$&')
    .replace(/ $/, '\\ ')
}

function hex(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase()
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function chain(leaf: DetailedPeerCertificate): DetailedPeerCertificate[] {
  const certificates: DetailedPeerCertificate[] = []
  for (
    let c: DetailedPeerCertificate | undefined = leaf;
    c?.raw && !certificates.includes(c);
    c = c.issuerCertificate
  ) {
    certificates.push(c)
  }
  return certificates
}

function isoSeconds(text: string): string {
  return new Date(text).toISOString()
}
