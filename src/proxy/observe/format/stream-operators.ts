// Commands that read the stream: times, durations, bytes, codes, flags, names, addresses, TLS.

import { isIP, isIPv6 } from 'node:net'
import { byteString } from '../../../base/byte-string.ts'
import { ConfigError } from '../../../base/errors.ts'
import type { HeaderBytes } from '../../http/header-bytes.ts'
import type { Address, SslInfo } from '../../network/connection.ts'
import { Flag, now, RESPONSE_FLAGS, type StreamInfo } from '../../stream-info.ts'
import type { HostDescription } from '../../upstream/host.ts'
import type { LogContext } from '../access-log.ts'
import { NumberOperator, type Operator, TextOperator } from './operator.ts'
import { compileTime } from './time-format.ts'

/** Text that is ASCII by its nature; '' is absent. */
function string(get: (info: StreamInfo) => string | null | undefined): Operator {
  return new TextOperator((context) => get(context.info) || null)
}

/** Names that somebody chose: may hold any character. */
function named(get: (info: StreamInfo) => string | null | undefined): Operator {
  return new TextOperator((context) => {
    const value = get(context.info)
    return value ? byteString(value) : null
  })
}

function number(get: (info: StreamInfo) => number | null): Operator {
  return new NumberOperator((context) => get(context.info))
}

/** Text with spaces as `_`, so that a field stays one word. */
function oneWord(get: (info: StreamInfo) => string): Operator {
  return named((info) => {
    const value = get(info)
    return value.includes(' ') ? value.replaceAll(' ', '_') : value
  })
}

/** Whole milliseconds from one moment to another; null when either was not reached. */
function between(from: number, to: number): number | null {
  return from === 0 || to === 0 ? null : Math.max(0, Math.floor(to - from))
}

/** Response flags joined by commas in the order in which they were set; `-` for none. */
export function responseFlags(info: StreamInfo, long: boolean): string {
  const { responseFlags: bits, flagOrder } = info
  if (bits === 0) return '-'
  const column = long ? 1 : 0
  if (flagOrder) return flagOrder.map((name) => RESPONSE_FLAGS[31 - Math.clz32(Flag[name])]![column]).join(',')
  return RESPONSE_FLAGS[31 - Math.clz32(bits)]![column]
}

/** Commands without arguments. */
export const STREAM_OPERATORS: Record<string, Operator> = {
  DURATION: number((info) => Math.floor((info.end || now()) - info.start)),
  REQUEST_DURATION: number((info) => between(info.start, info.lastDownstreamRxByte)),
  REQUEST_TX_DURATION: number((info) => between(info.start, info.lastUpstreamTxByte)),
  RESPONSE_DURATION: number((info) => between(info.start, info.firstUpstreamRxByte)),
  RESPONSE_TX_DURATION: number((info) => between(info.firstUpstreamRxByte, info.lastDownstreamTxByte)),
  // QUIC facts: absent (0) on TCP.
  ROUNDTRIP_DURATION: number(() => null),
  BYTES_RETRANSMITTED: number(() => 0),
  PACKETS_RETRANSMITTED: number(() => 0),
  BYTES_RECEIVED: number((info) => info.bytesReceived),
  BYTES_SENT: number((info) => info.bytesSent),
  UPSTREAM_WIRE_BYTES_RECEIVED: number((info) => info.upstreamWireBytesReceived),
  UPSTREAM_WIRE_BYTES_SENT: number((info) => info.upstreamWireBytesSent),
  DOWNSTREAM_WIRE_BYTES_RECEIVED: number((info) => info.downstreamWireBytesReceived),
  DOWNSTREAM_WIRE_BYTES_SENT: number((info) => info.downstreamWireBytesSent),
  ...headerByteOperators('UPSTREAM', (info) => info.upstreamHeaderBytes),
  ...headerByteOperators('DOWNSTREAM', (info) => info.downstreamHeaderBytes),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: number((info) =>
    info.upstreamPoolReadyMs < 0 ? null : Math.floor(info.upstreamPoolReadyMs),
  ),
  DOWNSTREAM_HANDSHAKE_DURATION: number((info) => between(info.start, info.downstream.handshakeEnd ?? 0)),
  DOWNSTREAM_DETECTED_CLOSE_TYPE: string((info) => info.downstreamCloseType),
  UPSTREAM_DETECTED_CLOSE_TYPE: string((info) => info.upstreamCloseType),
  DOWNSTREAM_LOCAL_CLOSE_REASON: string((info) => info.downstreamLocalCloseReason),
  UPSTREAM_LOCAL_CLOSE_REASON: string((info) => info.upstreamLocalCloseReason),
  PROTOCOL: string((info) => info.protocol),
  UPSTREAM_PROTOCOL: string((info) => info.upstreamProtocol),
  RESPONSE_CODE: number((info) => info.responseCode),
  CONNECTION_TERMINATION_DETAILS: named(
    (info) => info.connectionTerminationDetails || info.downstream.connectionTerminationDetails,
  ),
  RESPONSE_FLAGS: string((info) => responseFlags(info, false)),
  RESPONSE_FLAGS_LONG: string((info) => responseFlags(info, true)),
  ROUTE_NAME: named((info) => info.routeName),
  VIRTUAL_CLUSTER_NAME: named((info) => info.virtualClusterName),
  UPSTREAM_CLUSTER: named((info) => info.upstreamClusterStatName || info.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: named((info) => info.upstreamCluster),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: number((info) => info.attemptCount),
  STREAM_ID: named((info) => info.requestId),
  CONNECTION_ID: number((info) => info.downstream.connectionId),
  UPSTREAM_CONNECTION_ID: number((info) => info.upstreamConnectionId),
  FILTER_CHAIN_NAME: named((info) => info.downstream.filterChainName),
  TRACE_ID: string((info) => info.traceId),
  SPAN_ID: string((info) => info.spanId),
  UPSTREAM_HOST: string((info) => info.upstreamHost?.address.text),
  UPSTREAM_HOST_NAME: named((info) => info.upstreamHost && hostName(info.upstreamHost)),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: named((info) => info.upstreamHost && hostNameWithoutPort(info.upstreamHost)),
  UPSTREAM_HOSTS_ATTEMPTED: attempted((host) => host.address.text),
  UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT: attempted((host) => hostPart(host.address.text)),
  UPSTREAM_HOST_NAMES_ATTEMPTED: attempted(hostName),
  UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT: attempted(hostNameWithoutPort),
  UPSTREAM_CONNECTION_IDS_ATTEMPTED: string((info) => info.connectionIdsAttempted?.join(',')),
  UPSTREAM_LOCAL_ADDRESS: string((info) => info.upstreamLocalAddress),
  UPSTREAM_LOCAL_PORT: number((info) => portPart(info.upstreamLocalAddress)),
  UPSTREAM_REMOTE_ADDRESS: string(upstreamRemote),
  UPSTREAM_REMOTE_PORT: number((info) => portPart(upstreamRemote(info))),
  UPSTREAM_TRANSPORT_FAILURE_REASON: oneWord((info) => info.upstreamTransportFailureReason),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: oneWord((info) => info.downstream.downstreamTransportFailureReason),
  ...addressOperators('DOWNSTREAM_LOCAL', (info) => info.downstream.localAddress),
  ...addressOperators('DOWNSTREAM_REMOTE', (info) => info.downstream.remoteAddress),
  ...addressOperators('DOWNSTREAM_DIRECT_LOCAL', (info) => info.downstream.directLocalAddress),
  ...addressOperators('DOWNSTREAM_DIRECT_REMOTE', (info) => info.downstream.directRemoteAddress),
  ...tlsOperators('DOWNSTREAM', (info) => info.downstream.ssl()),
  ...downstreamTlsOperators(),
  ...tlsOperators('UPSTREAM', (info) => info.upstreamConnection?.ssl() ?? null),
}

function headerByteOperators(side: string, get: (info: StreamInfo) => HeaderBytes | null): Record<string, Operator> {
  const bytes = (read: (bytes: HeaderBytes) => number): Operator =>
    number((info) => {
      const counts = get(info)
      return counts === null ? 0 : read(counts)
    })
  return {
    [`${side}_HEADER_BYTES_RECEIVED`]: bytes((counts) => counts.received),
    [`${side}_HEADER_BYTES_SENT`]: bytes((counts) => counts.sent),
    [`${side}_DECOMPRESSED_HEADER_BYTES_RECEIVED`]: bytes((counts) => counts.decompressedReceived),
    [`${side}_DECOMPRESSED_HEADER_BYTES_SENT`]: bytes((counts) => counts.decompressedSent),
  }
}

function hostName(host: HostDescription): string {
  return host.hostname || host.address.text
}

function hostNameWithoutPort(host: HostDescription): string {
  return host.hostname || host.address.ip
}

/** Of every host that was tried, in their order. */
function attempted(print: (host: HostDescription) => string): Operator {
  return named((info) => info.hostsAttempted?.map(print).join(','))
}

function upstreamRemote(info: StreamInfo): string {
  return info.upstreamRemoteAddress || (info.upstreamHost?.address.text ?? '')
}

/** `10.0.0.1:80` → `10.0.0.1`, `[::1]:80` → `::1`; other texts (pipes) stay. */
function hostPart(address: string): string {
  const colon = address.lastIndexOf(':')
  if (colon < 0) return address
  return address[0] === '[' ? address.slice(1, colon - 1) : address.slice(0, colon)
}

function portPart(address: string): number | null {
  const colon = address.lastIndexOf(':')
  const port = colon < 0 ? Number.NaN : Number(address.slice(colon + 1))
  return Number.isInteger(port) ? port : null
}

function addressOperators(prefix: string, get: (info: StreamInfo) => Address): Record<string, Operator> {
  return {
    [`${prefix}_ADDRESS`]: string((info) => get(info).text),
    [`${prefix}_PORT`]: number((info) => (get(info).ip === '' ? null : get(info).port)),
  }
}

/**
 * `…_ADDRESS_WITHOUT_PORT`, whose optional argument masks the address to that many bits. Like Envoy, an argument that is
 * no number masks nothing.
 */
export function maskedAddress(name: string, args: string | null): Operator | null {
  const get = WITHOUT_PORT[name]
  if (!get) return null
  const bits = args !== null && /^\d{1,3}$/.test(args) ? Number(args) : null
  if (bits === null) return string((info) => get(info))
  return string((info) => {
    const ip = get(info)
    if (isIP(ip) === 0) return ip
    return `${maskAddress(ip, bits)}/${Math.min(bits, isIPv6(ip) ? 128 : 32)}`
  })
}

const withoutPort = ({ ip, text }: Address) => ip || text

const WITHOUT_PORT: Record<string, (info: StreamInfo) => string> = {
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstream.localAddress),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstream.remoteAddress),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstream.directLocalAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (info) => withoutPort(info.downstream.directRemoteAddress),
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (info) => hostPart(info.upstreamLocalAddress),
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => hostPart(upstreamRemote(info)),
}

/** Commands that print a moment of a certificate; their argument is a time pattern. */
export const CERTIFICATE_TIMES: Readonly<Record<string, (info: StreamInfo) => string | undefined>> = {
  DOWNSTREAM_PEER_CERT_V_START: (info) => info.downstream.ssl()?.validFromPeer,
  DOWNSTREAM_PEER_CERT_V_END: (info) => info.downstream.ssl()?.expirationPeer,
  UPSTREAM_PEER_CERT_V_START: (info) => info.upstreamConnection?.ssl()?.validFromPeer,
  UPSTREAM_PEER_CERT_V_END: (info) => info.upstreamConnection?.ssl()?.expirationPeer,
}

export function certificateTime(
  get: (info: StreamInfo) => string | undefined,
  args: string | null,
  path: string,
): Operator {
  const format = compileTime(args, false, path)
  return string((info) => {
    const time = Date.parse(get(info) || 'none')
    return Number.isNaN(time) ? null : format(time)
  })
}

function maskAddress(ip: string, bits: number): string {
  if (!isIPv6(ip)) {
    const octets = ip
      .split('.')
      .map((octet, i) => Number(octet) & (0xff00 >> Math.min(8, Math.max(0, bits - i * 8))) & 0xff)
    return octets.join('.')
  }
  const groups = expandIPv6(ip).map(
    (group, i) => group & (0xffff0000 >> Math.min(16, Math.max(0, bits - i * 16))) & 0xffff,
  )
  // The URL parser writes IPv6 addresses in their shortest form (RFC 5952).
  return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]`).hostname.slice(1, -1)
}

function expandIPv6(ip: string): number[] {
  const [head, tail] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::') as [string, string | undefined]
  const left = head ? head.split(':') : []
  const right = tail ? tail.split(':') : []
  const middle = new Array<string>(tail === undefined ? 0 : 8 - left.length - right.length).fill('0')
  return [...left, ...middle, ...right].map((group) => Number.parseInt(group, 16))
}

function tlsText(get: (info: StreamInfo) => SslInfo | null, read: (ssl: SslInfo) => string | undefined): Operator {
  return named((info) => {
    const ssl = get(info)
    return ssl === null ? null : read(ssl)
  })
}

/** Of the client's connection only. */
function downstreamTlsOperators(): Record<string, Operator> {
  const tls = (read: (ssl: SslInfo) => string | undefined): Operator => tlsText((info) => info.downstream.ssl(), read)
  return {
    DOWNSTREAM_PEER_EMAIL_SAN: tls((ssl) => ssl.emailSanPeer.join(',')),
    DOWNSTREAM_PEER_SERIAL: tls((ssl) => ssl.serialPeer),
    DOWNSTREAM_PEER_FINGERPRINT_256: tls((ssl) => ssl.sha256Peer),
    DOWNSTREAM_PEER_FINGERPRINT_1: tls((ssl) => ssl.sha1Peer),
    DOWNSTREAM_PEER_OTHERNAME_SAN: tls((ssl) => ssl.otherNameSanPeer.join(',')),
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256: tls((ssl) => ssl.chainPeer.map((c) => c.sha256).join(',')),
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1: tls((ssl) => ssl.chainPeer.map((c) => c.sha1).join(',')),
    DOWNSTREAM_PEER_CHAIN_SERIALS: tls((ssl) => ssl.chainPeer.map((c) => c.serial).join(',')),
    DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256: tls((ssl) => ssl.issuerDigest?.sha256),
    DOWNSTREAM_PEER_ISSUER_SERIAL: tls((ssl) => ssl.issuerDigest?.serial),
    DOWNSTREAM_LOCAL_EMAIL_SAN: tls((ssl) => ssl.emailSanLocal.join(',')),
    DOWNSTREAM_LOCAL_OTHERNAME_SAN: tls((ssl) => ssl.otherNameSanLocal.join(',')),
    DOWNSTREAM_LOCAL_SUBJECT: tls((ssl) => ssl.subjectLocal),
    TLS_JA3_FINGERPRINT: named((info) => info.downstream.ja3Hash),
    TLS_JA4_FINGERPRINT: named((info) => info.downstream.ja4Hash),
  }
}

/** Of both sides. */
function tlsOperators(side: string, get: (info: StreamInfo) => SslInfo | null): Record<string, Operator> {
  const tls = (read: (ssl: SslInfo) => string | undefined): Operator => tlsText(get, read)
  return {
    [`${side}_TLS_VERSION`]: tls((ssl) => ssl.version),
    [`${side}_TLS_CIPHER`]: tls((ssl) => ssl.cipher),
    [`${side}_TLS_GROUP`]: tls((ssl) => ssl.group),
    [`${side}_TLS_SESSION_ID`]: tls((ssl) => ssl.sessionId),
    [`${side}_PEER_URI_SAN`]: tls((ssl) => ssl.uriSanPeer.join(',')),
    [`${side}_PEER_DNS_SAN`]: tls((ssl) => ssl.dnsSanPeer.join(',')),
    [`${side}_PEER_IP_SAN`]: tls((ssl) => ssl.ipSanPeer.join(',')),
    [`${side}_PEER_SUBJECT`]: tls((ssl) => ssl.subjectPeer),
    [`${side}_PEER_ISSUER`]: tls((ssl) => ssl.issuerPeer),
    [`${side}_PEER_CERT`]: tls((ssl) => ssl.pemPeer),
    [`${side}_LOCAL_URI_SAN`]: tls((ssl) => ssl.uriSanLocal.join(',')),
    [`${side}_LOCAL_DNS_SAN`]: tls((ssl) => ssl.dnsSanLocal.join(',')),
    [`${side}_LOCAL_IP_SAN`]: tls((ssl) => ssl.ipSanLocal.join(',')),
  }
}

const SPACES_ALLOWED = 'ALLOW_WHITESPACES'

/** `%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%`; with any other argument, as in Envoy, spaces become `_`. */
export function responseCodeDetails(args: string | null): Operator {
  const get = (info: StreamInfo) => info.responseCodeDetails
  return args === SPACES_ALLOWED ? named(get) : oneWord(get)
}

/** `%REQUESTED_SERVER_NAME(SNI_ONLY|SNI_FIRST|HOST_FIRST)%`: the SNI, with the Host header as second or first choice. */
export function requestedServerName(args: string | null, path: string): Operator {
  const choice = args || 'SNI_ONLY'
  const sni = (context: LogContext) => context.info.downstream.requestedServerName || null
  const host = (context: LogContext) => context.requestHeaders?.authority.replace(/:\d+$/, '') || null
  if (choice === 'SNI_ONLY') return new TextOperator(sni)
  if (choice === 'SNI_FIRST') return new TextOperator((context) => sni(context) ?? host(context))
  if (choice === 'HOST_FIRST') return new TextOperator((context) => host(context) ?? sni(context))
  throw new ConfigError(
    path,
    `Invalid REQUESTED_SERVER_NAME option: '${choice}', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed`,
  )
}

type Moment = (info: StreamInfo) => number
const MOMENTS: Record<string, Moment> = {
  DS_RX_BEG: (info) => info.start,
  DS_RX_END: (info) => info.lastDownstreamRxByte,
  US_CX_BEG: (info) => info.upstreamConnectStart,
  US_CX_END: (info) => info.upstreamConnectEnd,
  US_HS_END: (info) => info.upstreamHandshakeEnd,
  US_TX_BEG: (info) => info.firstUpstreamTxByte,
  US_TX_END: (info) => info.lastUpstreamTxByte,
  US_RX_BEG: (info) => info.firstUpstreamRxByte,
  US_RX_END: (info) => info.lastUpstreamRxByte,
  DS_TX_BEG: (info) => info.firstDownstreamTxByte,
  DS_TX_END: (info) => info.lastDownstreamTxByte,
}
const UNITS: Record<string, number> = { ms: 1, us: 1e3, ns: 1e6 }

/** `%COMMON_DURATION(START:END:ms|us|ns)%`. */
export function commonDuration(args: string, path: string): Operator {
  const [from, to, unit = 'ms', ...rest] = args.split(':')
  const start = MOMENTS[from ?? '']
  const end = MOMENTS[to ?? '']
  const scale = UNITS[unit]
  if (!start || !end || scale === undefined || rest.length > 0) {
    throw new ConfigError(
      path,
      `Invalid common duration configuration: ${args}; points are ${Object.keys(MOMENTS).join(', ')}, units ms, us, ns`,
    )
  }
  return number((info) => {
    const a = start(info)
    const b = end(info)
    return a === 0 || b === 0 || b < a ? null : Math.floor((b - a) * scale)
  })
}
