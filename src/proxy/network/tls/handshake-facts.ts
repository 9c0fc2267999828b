// What OpenSSL knows of a connection after its handshake, copied out of it.

import type { X509Certificate } from 'node:crypto'
import { peerCertificates, peerIssuer } from './certificates.ts'
import { copyOf, openssl, type Pointer } from './openssl/library.ts'
import type { SslSocket } from './ssl-socket.ts'

export interface HandshakeFacts {
  /** `TLSv1.3` */
  readonly version: string
  /** `TLS_AES_128_GCM_SHA256` */
  readonly cipher: string
  /** `X25519`; '' = none. */
  readonly group: string
  /** SNI; '' = none. */
  readonly serverName: string
  /** '' = none in common. */
  readonly alpn: string
  /** DER, the peer's own first; empty = it showed none. */
  readonly peerCertificates: readonly Buffer[]
  /** DER of who issued the peer's certificate, from the verified chain. */
  readonly peerIssuer: Buffer | null
  /** A trusted chain, and what else was to be checked. */
  readonly peerValidated: boolean
  readonly localCertificate: X509Certificate | null
  /** Hex. */
  readonly sessionId: string
}

const X509_V_OK = 0

export function readHandshakeFacts(socket: SslSocket): HandshakeFacts {
  const lib = openssl()
  const ssl = socket.pointer
  if (ssl === null) throw new Error('facts of a TLS connection that is gone')
  const peerValidated = lib.SSL_get_verify_result(ssl) === X509_V_OK
  return {
    version: socket.handshakeDone ? lib.SSL_get_version(ssl) : versionSoFar(ssl),
    cipher: cipherName(ssl),
    group: curveName(ssl),
    serverName: lib.SSL_get_servername(ssl, 0) ?? '',
    alpn: negotiatedAlpn(ssl),
    peerCertificates: peerCertificates(ssl),
    peerIssuer: peerValidated ? peerIssuer(ssl) : null,
    peerValidated,
    localCertificate: socket.context.localCertificate,
    sessionId: sessionId(ssl),
  }
}

/** Until a version is agreed on BoringSSL says TLSv1.2, as it is on the wire. */
function versionSoFar(ssl: Pointer): string {
  const lib = openssl()
  return lib.SSL_get_pending_cipher(ssl) === null ? 'TLSv1.2' : lib.SSL_get_version(ssl)
}

export function cipherName(ssl: Pointer): string {
  const lib = openssl()
  const cipher = lib.SSL_get_current_cipher(ssl) ?? lib.SSL_get_pending_cipher(ssl)
  return cipher === null ? '' : lib.SSL_CIPHER_get_name(cipher)
}

const pointerOut = new BigUint64Array(1)
const lengthOut = new Uint32Array(1)
const numberOut = new Int32Array(1)

export function negotiatedAlpn(ssl: Pointer): string {
  openssl().SSL_get0_alpn_selected(ssl, pointerOut, lengthOut)
  const length = lengthOut[0]!
  return length === 0 ? '' : copyOf(pointerOut[0]!, length).toString('latin1')
}

function sessionId(ssl: Pointer): string {
  const lib = openssl()
  const session = lib.SSL_get_session(ssl)
  const id = session === null ? null : lib.SSL_SESSION_get_id(session, lengthOut)
  return id === null || lengthOut[0] === 0 ? '' : copyOf(id, lengthOut[0]!).toString('hex')
}

const CTRL_GET_NEGOTIATED_GROUP = 134
const CTRL_GET_PEER_SIGNATURE_NID = 108
/** Groups without a NID are this plus their number in TLS. */
const TLS_GROUP = 0x1000000

/** BoringSSL's names of what OpenSSL calls otherwise. */
const GROUP_NAME: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }
const TLS_GROUP_NAME: Readonly<Record<number, string>> = { 4588: 'X25519MLKEM768', 25497: 'X25519Kyber768Draft00' }

/** The key exchange group as Envoy's `ssl.curves.` has it; '' when there was none. */
export function curveName(ssl: Pointer): string {
  const lib = openssl()
  const nid = lib.SSL_ctrl(ssl, CTRL_GET_NEGOTIATED_GROUP, 0, null)
  if (nid <= 0) return ''
  if (nid >= TLS_GROUP) return TLS_GROUP_NAME[nid - TLS_GROUP] ?? ''
  const name = lib.OBJ_nid2sn(nid) ?? ''
  return GROUP_NAME[name] ?? name
}

const ECDSA_CURVE: Readonly<Record<string, string>> = { SHA256: 'secp256r1', SHA384: 'secp384r1', SHA512: 'secp521r1' }

/** The scheme of the peer's signature as Envoy's `ssl.sigalgs.` has it; '' when the peer signed nothing. */
export function peerSignatureAlgorithm(ssl: Pointer): string {
  const lib = openssl()
  if (lib.SSL_get_peer_signature_type_nid(ssl, numberOut) !== 1) return ''
  const key = lib.OBJ_nid2sn(numberOut[0]!) ?? ''
  if (key === 'ED25519') return 'ed25519'
  if (lib.SSL_ctrl(ssl, CTRL_GET_PEER_SIGNATURE_NID, 0, numberOut) !== 1) return ''
  const digest = lib.OBJ_nid2sn(numberOut[0]!) ?? ''
  const hash = digest.toLowerCase()
  if (key === 'id-ecPublicKey') return digest === 'SHA1' ? 'ecdsa_sha1' : `ecdsa_${ECDSA_CURVE[digest] ?? ''}_${hash}`
  if (key === 'rsaEncryption') return `rsa_pkcs1_${hash}`
  if (key === 'RSASSA-PSS' || key === 'rsassaPss') return `rsa_pss_rsae_${hash}`
  return ''
}
