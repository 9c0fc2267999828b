// CEL expressions over a stream (envoy.access_loggers.extension_filters.cel, %CEL()%), on Envoy's attributes.
//
// The evaluator loads on first use: few configurations have an expression, and every sidecar would pay its memory.

import { createRequire } from 'node:module'
import { ConfigError, errorText } from '../../base/errors.ts'
import { fieldBytes } from '../http/header-bytes.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { SslInfo } from '../network/connection.ts'
import { pathWithoutQuery } from '../route/request-path.ts'
import type { LogContext } from './access-log.ts'
import { durationText, timestampText } from './cel-text.ts'
import { grpcStatusOfAnswer } from './format/header-operators.ts'

type Cel = typeof import('@bufbuild/cel')
type CelResult = import('@bufbuild/cel').CelResult
type Attributes = Record<string, unknown>

const require = createRequire(import.meta.url)
const cel = (): Cel => require('@bufbuild/cel') as Cel
const protobuf = () => require('@bufbuild/protobuf') as typeof import('@bufbuild/protobuf')
const reflect = () => require('@bufbuild/protobuf/reflect') as typeof import('@bufbuild/protobuf/reflect')
const wellKnown = () => require('@bufbuild/protobuf/wkt') as typeof import('@bufbuild/protobuf/wkt')

/** Throws ConfigError when the expression does not parse. */
export function checkExpression(expression: string, path: string): void {
  try {
    cel().parse(expression)
  } catch (error) {
    throw new ConfigError(path, `is no CEL expression: ${errorText(error)}`, { cause: error })
  }
}

/** True when the expression is true of the stream; an evaluation error counts as false. */
export function compileExpression(expression: string): (context: LogContext) => boolean {
  const evaluate = compile(expression)
  return (context) => evaluate(context) === true
}

/** The expression's value as JSON data; undefined for an evaluation error. */
export function compileExpressionValue(expression: string): (context: LogContext) => unknown {
  const evaluate = compile(expression)
  return (context) => jsonValue(evaluate(context))
}

/** The expression's value as Envoy prints it: of maps and lists only what they are. undefined for an evaluation error. */
export function compileExpressionText(expression: string): (context: LogContext) => string | undefined {
  const evaluate = compile(expression)
  const message = METADATA_MESSAGE.test(expression)
  return (context) => {
    const value = evaluate(context)
    const { isCelList, isCelMap } = cel()
    if (isCelMap(value)) return message && isEmpty(jsonValue(value)) ? '' : 'CelMap value'
    if (isCelList(value)) return 'CelList value'
    if (value === null) return 'NULL'
    const moment = momentText(value)
    if (moment !== undefined) return moment
    if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
    const plain = jsonValue(value)
    return plain === undefined || plain === null || typeof plain === 'string'
      ? (plain ?? undefined)
      : JSON.stringify(plain)
  }
}

/** These are messages to Envoy, not maps: one without a field has no text. */
const METADATA_MESSAGE = /^\s*(metadata|xds\.(cluster|route|upstream_host)_metadata)\s*$/

function isEmpty(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === undefined || value === null
  return Object.values(value).every(isEmpty)
}

/** Durations and timestamps; undefined = the value is neither. */
function momentText(value: CelResult): string | undefined {
  if (!reflect().isReflectMessage(value)) return undefined
  const { message } = value
  const { DurationSchema, TimestampSchema } = wellKnown()
  const { isMessage } = protobuf()
  if (isMessage(message, DurationSchema)) return durationText(message.seconds * 1_000_000_000n + BigInt(message.nanos))
  return isMessage(message, TimestampSchema) ? timestampText(message.seconds, message.nanos) : undefined
}

/** A value that holds what the library reads only while it evaluates (messages in maps) counts as an error. */
function jsonValue(value: CelResult): unknown {
  try {
    return plainValue(value)
  } catch {
    return undefined
  }
}

function compile(expression: string): (context: LogContext) => CelResult {
  const { celEnv, parse, plan } = cel()
  return withAttributes(plan(celEnv(), parse(expression)) as CelProgram, (name) =>
    new RegExp(`\\b${name}\\b`).test(expression),
  )
}

/** A planned expression. */
export type CelProgram = (variables: Attributes) => CelResult

/** Runs it on a stream. Only the groups of attributes that it `uses` are gathered. */
export function withAttributes(
  program: CelProgram,
  uses: (group: string) => boolean,
): (context: LogContext) => CelResult {
  const groups = Object.entries(GROUPS).filter(([name]) => uses(name))
  return (context) => {
    const variables: Attributes = {}
    for (const [name, gather] of groups) variables[name] = gather(context)
    return program(variables)
  }
}

function plainValue(value: CelResult): unknown {
  const { isCelError, isCelList, isCelMap, isCelUint } = cel()
  if (isCelError(value)) return undefined
  if (typeof value === 'bigint') return Number(value)
  if (isCelUint(value)) return Number(value.value)
  if (isCelList(value)) return Array.from(value, plainValue)
  if (isCelMap(value))
    return Object.fromEntries(
      Array.from(value, ([key, inner]) => [String(plainValue(key)), plainValue(inner)] as const).sort(byName),
    )
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (reflect().isReflectMessage(value)) return protobuf().toJson(value.desc, value.message)
  return typeof value === 'object' && value !== null ? String(value) : value
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1
}

const GROUPS: Readonly<Record<string, (context: LogContext) => Attributes>> = {
  request,
  response,
  connection,
  upstream,
  source: ({ info }) => ({
    address: info.downstream.remoteAddress.text,
    port: BigInt(info.downstream.remoteAddress.port),
  }),
  destination: ({ info }) => ({
    address: info.downstream.localAddress.text,
    port: BigInt(info.downstream.localAddress.port),
  }),
  metadata: ({ info }) => metadataMessage(info.dynamicMetadata) ?? {},
  filter_state: ({ info }) => Object.fromEntries(info.filterState.entries()),
  xds: ({ info }) => ({
    ...present({
      cluster_name: info.upstreamCluster,
      cluster_metadata: metadataMessage(info.upstreamClusterMetadata),
      route_name: info.routeName,
      route_metadata: metadataMessage(info.route?.metadata),
      upstream_host_metadata: metadataMessage(info.upstreamHost?.metadata),
    }),
    filter_chain_name: info.downstream.filterChainName,
  }),
}

/** The fields of a Metadata message that are set; null = there is no message. */
function metadataMessage(metadata: object | null | undefined): Attributes | null {
  if (!metadata) return null
  return Object.keys(metadata).length === 0 ? {} : { filter_metadata: metadata }
}

/** Leaves out what is not known, so that `has()` tells. */
function present(attributes: Attributes): Attributes {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === '') delete attributes[name]
  }
  return attributes
}

const PSEUDO = [':method', ':path', ':authority', ':scheme', ':status'] as const

/** Repeated headers joined, as Envoy's header maps give them. */
function headerValues(headers: HeaderMap | null): Attributes {
  const values: Attributes = {}
  if (headers === null) return values
  for (const name of PSEUDO) {
    const value = headers.get(name)
    if (value !== undefined) values[name] = value
  }
  for (let i = 0; i < headers.list.length; i += 2) values[headers.list[i]!] = headers.getAll(headers.list[i]!)
  return values
}

/** Names and values, pseudo-headers included. */
function blockBytes(headers: HeaderMap | null): number {
  if (headers === null) return 0
  let bytes = fieldBytes(headers, 0)
  for (const name of PSEUDO) bytes += (headers.get(name)?.length ?? -name.length) + name.length
  return bytes
}

function duration(ms: number): Attributes {
  const nanoseconds = BigInt(Math.max(0, Math.round(ms * 1e6)))
  const { DurationSchema } = wellKnown()
  return protobuf().create(DurationSchema, {
    seconds: nanoseconds / 1_000_000_000n,
    nanos: Number(nanoseconds % 1_000_000_000n),
  }) as unknown as Attributes
}

function request({ info, requestHeaders: headers }: LogContext): Attributes {
  const path = headers?.path ?? ''
  const question = path.indexOf('?')
  return present({
    path,
    url_path: pathWithoutQuery(path),
    host: headers?.authority,
    scheme: headers?.scheme,
    method: headers?.method,
    headers: headerValues(headers),
    referer: headers?.get('referer'),
    useragent: headers?.get('user-agent'),
    id: headers?.get('x-request-id'),
    protocol: info.protocol,
    query: question < 0 ? '' : path.slice(question + 1),
    time: wellKnown().timestampFromMs(info.startTimeMs),
    size: BigInt(info.bytesReceived),
    total_size: BigInt(info.bytesReceived + blockBytes(headers)),
    duration: info.end === 0 ? null : duration(info.end - info.start),
  })
}

function response(context: LogContext): Attributes {
  const { info, responseHeaders, responseTrailers } = context
  const grpc = grpcStatusOfAnswer(context)
  return present({
    code: info.responseCode === 0 ? null : BigInt(info.responseCode),
    code_details: info.responseCodeDetails,
    flags: BigInt(info.responseFlags),
    grpc_status: grpc === null ? null : BigInt(grpc),
    headers: headerValues(responseHeaders),
    trailers: headerValues(responseTrailers),
    size: BigInt(info.bytesSent),
    total_size: BigInt(info.bytesSent + blockBytes(responseHeaders) + blockBytes(responseTrailers)),
    backend_latency:
      info.firstUpstreamTxByte === 0 || info.lastUpstreamRxByte === 0
        ? null
        : duration(info.lastUpstreamRxByte - info.firstUpstreamTxByte),
  })
}

function certificateAttributes(ssl: SslInfo | null): Attributes {
  if (ssl === null) return {}
  return {
    tls_version: ssl.version,
    subject_local_certificate: ssl.subjectLocal,
    subject_peer_certificate: ssl.subjectPeer,
    dns_san_local_certificate: ssl.dnsSanLocal[0],
    dns_san_peer_certificate: ssl.dnsSanPeer[0],
    uri_san_local_certificate: ssl.uriSanLocal[0],
    uri_san_peer_certificate: ssl.uriSanPeer[0],
    sha256_peer_certificate_digest: ssl.sha256Peer,
  }
}

function connection({ info }: LogContext): Attributes {
  const ssl = info.downstream.ssl()
  const attributes = present({
    ...certificateAttributes(ssl),
    id: BigInt(info.downstream.connectionId),
    mtls: ssl?.peerCertificatePresented ?? false,
    termination_details: info.connectionTerminationDetails || info.downstream.connectionTerminationDetails,
    transport_failure_reason: info.downstream.downstreamTransportFailureReason,
  })
  return { ...attributes, requested_server_name: info.downstream.requestedServerName }
}

function upstream({ info }: LogContext): Attributes {
  const address = info.upstreamRemoteAddress || info.upstreamHost?.address.text
  return present({
    ...certificateAttributes(info.upstreamConnection?.ssl() ?? null),
    address,
    port: info.upstreamHost ? BigInt(info.upstreamHost.address.port) : null,
    local_address: info.upstreamLocalAddress,
    cluster: info.upstreamCluster,
    transport_failure_reason: info.upstreamTransportFailureReason,
    request_attempt_count: BigInt(info.attemptCount),
    cx_pool_ready_duration: info.upstreamPoolReadyMs < 0 ? null : duration(info.upstreamPoolReadyMs),
  })
}
