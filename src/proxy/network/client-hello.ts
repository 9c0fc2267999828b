// Reads a TLS ClientHello as far as proxies need it (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1). Pure.

import { ByteReader } from './byte-reader.ts'

/** Result of looking at the first bytes of a connection. */
export type ClientHelloResult =
  | { readonly kind: 'need-more' }
  /** The bytes are no TLS handshake. */
  | { readonly kind: 'not-tls' }
  /** The handshake message is longer than the limit. */
  | { readonly kind: 'too-large' }
  | { readonly kind: 'hello'; readonly hello: ClientHello }

export interface ClientHello {
  /** Lower case; '' = no SNI. */
  readonly serverName: string
  readonly alpn: readonly string[]
  /** A cipher suite of the client takes ECDSA certificates, and it knows P-256: what counts up to TLS 1.2 (Envoy). */
  readonly ecdsaSuite: boolean
  /** A signature algorithm of the client takes ECDSA certificates: what counts in TLS 1.3. */
  readonly ecdsaSignature: boolean
  /** The client speaks TLS 1.3. */
  readonly tls13: boolean
  /** Its cipher suites of TLS 1.3 in its order, as OpenSSL names and joins them. */
  readonly tls13Suites: string
  /** The client takes an OCSP staple (RFC 6066 §8). */
  readonly statusRequest: boolean
  /** Bytes of the records that carry it. */
  readonly length: number
  /** The message itself, for fingerprints; borrowed. */
  readonly body: Buffer
}

const NEED_MORE: ClientHelloResult = { kind: 'need-more' }
const NOT_TLS: ClientHelloResult = { kind: 'not-tls' }
const TOO_LARGE: ClientHelloResult = { kind: 'too-large' }

const RECORD_HANDSHAKE = 22
const HANDSHAKE_CLIENT_HELLO = 1
const MAX_RECORD_BYTES = 16384 + 256
const EXTENSION_SERVER_NAME = 0
const EXTENSION_STATUS_REQUEST = 5
const EXTENSION_SUPPORTED_GROUPS = 10
const EXTENSION_SIGNATURE_ALGORITHMS = 13
const EXTENSION_ALPN = 16
const EXTENSION_SUPPORTED_VERSIONS = 43

/** Looks at `bytes`, which begin with the connection's first byte. `maxBytes` limits the handshake message. */
export function parseClientHello(bytes: Buffer, maxBytes: number): ClientHelloResult {
  // Record header: type, version 3.x, length. Every byte is checked as soon as it is there, so that the first byte of
  // a plain-text protocol already decides.
  if (bytes.length > 0 && bytes[0] !== RECORD_HANDSHAKE) return NOT_TLS
  if (bytes.length > 1 && bytes[1] !== 3) return NOT_TLS
  if (bytes.length < 5) return NEED_MORE
  if (bytes.length > 5 && bytes[5] !== HANDSHAKE_CLIENT_HELLO) return NOT_TLS
  return readRecords(bytes, maxBytes)
}

/** A ClientHello may be spread over several records (RFC 8446 §5.1). */
function readRecords(bytes: Buffer, maxBytes: number): ClientHelloResult {
  const parts: Buffer[] = []
  let have = 0
  let at = 0
  for (;;) {
    if (bytes.length - at < 5) return have > maxBytes ? TOO_LARGE : NEED_MORE
    const length = bytes.readUInt16BE(at + 3)
    if (bytes[at] !== RECORD_HANDSHAKE || bytes[at + 1] !== 3 || length === 0 || length > MAX_RECORD_BYTES)
      return NOT_TLS
    const record = bytes.subarray(at + 5, at + 5 + length)
    parts.push(record)
    have += record.length
    const message = parts.length === 1 ? record : Buffer.concat(parts)
    const needed = message.length >= 4 ? 4 + message.readUIntBE(1, 3) : 4
    if (needed > maxBytes) return TOO_LARGE
    if (message.length >= needed && message.length >= 4) {
      const hello = readHello(message.subarray(4, needed), at + 5 + length)
      return hello === null ? NOT_TLS : { kind: 'hello', hello }
    }
    if (record.length < length) return NEED_MORE
    at += 5 + length
  }
}

/** null = malformed. */
function readHello(body: Buffer, length: number): ClientHello | null {
  const reader = new ByteReader(body)
  reader.skip(2 + 32) // legacy_version, random
  reader.skip(reader.uint(1)) // session_id
  const suites = reader.take(reader.uint(2))
  reader.skip(reader.uint(1)) // compression methods
  if (reader.failed || suites === null) return null
  let serverName = ''
  let alpn: readonly string[] = []
  let p256 = false
  let ecdsaSignature = false
  let tls13 = false
  let statusRequest = false
  const extensions = reader.left === 0 ? null : reader.take(reader.uint(2))
  const list = new ByteReader(extensions ?? Buffer.alloc(0))
  while (!list.failed && list.left > 0) {
    const type = list.uint(2)
    const data = list.take(list.uint(2))
    if (data === null) break
    if (type === EXTENSION_SERVER_NAME) serverName = readServerName(data)
    else if (type === EXTENSION_STATUS_REQUEST) statusRequest = true
    else if (type === EXTENSION_ALPN) alpn = readAlpn(data)
    else if (type === EXTENSION_SUPPORTED_GROUPS) p256 = hasP256(data)
    else if (type === EXTENSION_SIGNATURE_ALGORITHMS) ecdsaSignature = hasEcdsaSignature(data)
    else if (type === EXTENSION_SUPPORTED_VERSIONS) tls13 = hasTls13(data)
  }
  if (reader.failed || list.failed) return null
  return {
    serverName,
    alpn,
    ecdsaSuite: p256 && hasEcdsaSuite(suites),
    ecdsaSignature,
    tls13,
    tls13Suites: tls13 ? tls13SuitesOf(suites) : '',
    statusRequest,
    length,
    body,
  }
}

function readServerName(data: Buffer): string {
  const names = new ByteReader(data)
  names.skip(2)
  while (!names.failed && names.left > 0) {
    const type = names.uint(1)
    const name = names.take(names.uint(2))
    if (name !== null && type === 0) return name.toString('latin1').toLowerCase()
  }
  return ''
}

function readAlpn(data: Buffer): string[] {
  const protocols: string[] = []
  const reader = new ByteReader(data)
  reader.skip(2)
  while (!reader.failed && reader.left > 0) {
    const protocol = reader.take(reader.uint(1))
    if (protocol !== null) protocols.push(protocol.toString('latin1'))
  }
  return protocols
}

/** ecdsa_secp256r1_sha256 and its siblings (RFC 8446 §4.2.3). */
function hasEcdsaSignature(data: Buffer): boolean {
  for (let i = 2; i + 1 < data.length; i += 2) {
    const scheme = data.readUInt16BE(i)
    if (scheme === 0x0403 || scheme === 0x0503 || scheme === 0x0603) return true
  }
  return false
}

const TLS13_SUITES: Readonly<Record<number, string>> = {
  4865: 'TLS_AES_128_GCM_SHA256',
  4866: 'TLS_AES_256_GCM_SHA384',
  4867: 'TLS_CHACHA20_POLY1305_SHA256',
}

function tls13SuitesOf(suites: Buffer): string {
  let names = ''
  for (let i = 0; i + 1 < suites.length; i += 2) {
    const name = TLS13_SUITES[suites.readUInt16BE(i)]
    if (name !== undefined) names += names === '' ? name : `:${name}`
  }
  return names
}

/** secp256r1 (RFC 8446 §4.2.7). */
function hasP256(data: Buffer): boolean {
  for (let i = 2; i + 1 < data.length; i += 2) if (data.readUInt16BE(i) === 0x0017) return true
  return false
}

/** RFC 8446 §4.2.1. */
function hasTls13(data: Buffer): boolean {
  for (let i = 1; i + 1 < data.length; i += 2) if (data.readUInt16BE(i) === 0x0304) return true
  return false
}

/** TLS_ECDHE_ECDSA_WITH_{AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305}. */
function hasEcdsaSuite(suites: Buffer): boolean {
  for (let i = 0; i + 1 < suites.length; i += 2) {
    const suite = suites.readUInt16BE(i)
    if (suite === 0xc02b || suite === 0xc02c || suite === 0xcca9) return true
  }
  return false
}
