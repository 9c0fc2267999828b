// PROXY protocol headers, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt). Pure.

import { isIPv4, isIPv6 } from 'node:net'
import { ipv6Text } from '../../../network/socket-options.ts'

export interface ProxyHeader {
  readonly version: 1 | 2
  /** Bytes that the header takes. */
  readonly length: number
  /** null: the connection's own addresses hold (LOCAL, UNKNOWN, unspecified family). */
  readonly addresses: { readonly source: Endpoint; readonly destination: Endpoint } | null
  readonly tlvs: readonly { readonly type: number; readonly value: Buffer }[]
}

interface Endpoint {
  readonly ip: string
  readonly port: number
}

export type ProxyHeaderResult =
  | { readonly kind: 'need-more' }
  /** Does not begin like a PROXY header. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'invalid'; readonly version: 1 | 2 }
  | { readonly kind: 'header'; readonly header: ProxyHeader }

const NEED_MORE: ProxyHeaderResult = { kind: 'need-more' }
const ABSENT: ProxyHeaderResult = { kind: 'absent' }
const V1_PREFIX = Buffer.from('PROXY ', 'latin1')
/** With CRLF (§2.1). */
const V1_MAX_BYTES = 108
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const V2_HEADER_BYTES = 16
/** Bytes of the address block by family nibble: inet, inet6, unix. */
const V2_ADDRESS_BYTES: readonly number[] = [0, 12, 36, 216]

export function parseProxyHeader(bytes: Buffer): ProxyHeaderResult {
  if (startsLike(bytes, V2_SIGNATURE)) return bytes.length < V2_HEADER_BYTES ? NEED_MORE : parseV2(bytes)
  if (startsLike(bytes, V1_PREFIX)) return bytes.length < V1_PREFIX.length ? NEED_MORE : parseV1(bytes)
  return ABSENT
}

function startsLike(bytes: Buffer, prefix: Buffer): boolean {
  const length = Math.min(bytes.length, prefix.length)
  return bytes.compare(prefix, 0, length, 0, length) === 0
}

function parseV1(bytes: Buffer): ProxyHeaderResult {
  const invalid: ProxyHeaderResult = { kind: 'invalid', version: 1 }
  const end = bytes.subarray(0, V1_MAX_BYTES).indexOf('\r\n')
  if (end < 0) return bytes.length >= V1_MAX_BYTES ? invalid : NEED_MORE
  const length = end + 2
  const [, family, source, destination, sourcePort, destinationPort, ...rest] = bytes
    .toString('latin1', 0, end)
    .split(' ')
  if (family === 'UNKNOWN') return { kind: 'header', header: { version: 1, length, addresses: null, tlvs: [] } }
  const valid = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : null
  if (valid === null || rest.length > 0 || !source || !destination || !valid(source) || !valid(destination))
    return invalid
  const ports = [port(sourcePort), port(destinationPort)]
  if (ports[0] === null || ports[1] === null) return invalid
  return {
    kind: 'header',
    header: {
      version: 1,
      length,
      addresses: { source: { ip: source, port: ports[0]! }, destination: { ip: destination, port: ports[1]! } },
      tlvs: [],
    },
  }
}

function port(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : null
}

function parseV2(bytes: Buffer): ProxyHeaderResult {
  const invalid: ProxyHeaderResult = { kind: 'invalid', version: 2 }
  const version = bytes[12]! >> 4
  const command = bytes[12]! & 0x0f
  if (version !== 2 || command > 1) return invalid
  const length = V2_HEADER_BYTES + bytes.readUInt16BE(14)
  if (bytes.length < length) return NEED_MORE
  const family = bytes[13]! >> 4
  const addressBytes = V2_ADDRESS_BYTES[family]
  if (addressBytes === undefined || length - V2_HEADER_BYTES < addressBytes) return invalid
  const tlvs = parseTlvs(bytes.subarray(V2_HEADER_BYTES + addressBytes, length))
  if (tlvs === null) return invalid
  const addresses = command === 0 || family === 0 || family === 3 ? null : addressesV2(bytes, family)
  // Only streams are proxied here.
  if (addresses !== null && (bytes[13]! & 0x0f) !== 1) return invalid
  return { kind: 'header', header: { version: 2, length, addresses, tlvs } }
}

function addressesV2(bytes: Buffer, family: number): ProxyHeader['addresses'] {
  const size = family === 1 ? 4 : 16
  const ip = (at: number): string =>
    family === 1 ? bytes.subarray(at, at + 4).join('.') : ipv6Text(bytes.subarray(at, at + 16))
  const ports = V2_HEADER_BYTES + 2 * size
  return {
    source: { ip: ip(V2_HEADER_BYTES), port: bytes.readUInt16BE(ports) },
    destination: { ip: ip(V2_HEADER_BYTES + size), port: bytes.readUInt16BE(ports + 2) },
  }
}

function parseTlvs(bytes: Buffer): ProxyHeader['tlvs'] | null {
  const tlvs: { type: number; value: Buffer }[] = []
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 3) return null
    const length = bytes.readUInt16BE(at + 1)
    if (bytes.length - at - 3 < length) return null
    tlvs.push({ type: bytes[at]!, value: bytes.subarray(at + 3, at + 3 + length) })
    at += 3 + length
  }
  return tlvs
}
