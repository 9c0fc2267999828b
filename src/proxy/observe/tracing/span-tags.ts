// What spans say of a request, at its end: Envoy's tags, in its order (envoy-contract §19).

import type { HeaderMap } from '../../http/header-map.ts'
import { isGrpcContentType } from '../../http/local-reply.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { LogContext } from '../access-log.ts'
import { responseFlags } from '../format/stream-operators.ts'
import type { Span } from './span.ts'

/** Of the request's own span. `maxPathLength`: bytes of the path in http.url. */
export function tagDownstreamSpan(span: Span, context: LogContext, maxPathLength: number): void {
  const { info, requestHeaders: headers } = context
  if (headers) {
    const id = headers.get('x-request-id')
    if (id !== undefined) span.setTag('guid:x-request-id', id)
    span.setTag('http.url', originalUri(headers, maxPathLength))
    span.setTag('http.method', headers.method)
    span.setTag('downstream_cluster', headers.get('x-envoy-downstream-service-cluster') || '-')
    span.setTag('user_agent', headers.get('user-agent') || '-')
    span.setTag('http.protocol', info.protocol || '-')
    const { ip, text } = info.downstream.directRemoteAddress
    span.setTag('peer.address', ip || text)
    const client = headers.get('x-client-trace-id')
    if (client !== undefined) span.setTag('guid:x-client-trace-id', client)
    if (isGrpcContentType(headers.get('content-type'))) tagGrpcRequest(span, headers)
  }
  span.setTag('request_size', String(info.bytesReceived))
  span.setTag('response_size', String(info.bytesSent))
}

function originalUri(headers: HeaderMap, maxPathLength: number): string {
  const path = headers.get('x-envoy-original-path') ?? headers.path
  return `${headers.get('x-forwarded-proto') ?? ''}://${headers.authority}${path.slice(0, maxPathLength)}`
}

function tagGrpcRequest(span: Span, headers: HeaderMap): void {
  span.setTag('grpc.path', headers.path)
  span.setTag('grpc.authority', headers.authority)
  span.setTag('grpc.content_type', headers.get('content-type') ?? '')
  const timeout = headers.get('grpc-timeout')
  if (timeout !== undefined) span.setTag('grpc.timeout', timeout)
}

/** A cluster as spans name it. */
export interface SpanCluster {
  readonly name: string
  /** alt_stat_name, else the name. */
  readonly statName: string
}

/** Of every span of the request, its attempts' included. `cluster` null = no host was chosen, `status` 0 = no answer. */
export function tagOutcome(span: Span, cluster: SpanCluster | null, status: number, flags: string): void {
  span.setTag('component', 'proxy')
  if (cluster) {
    span.setTag('upstream_cluster', cluster.name)
    span.setTag('upstream_cluster.name', cluster.statName)
  }
  span.setTag('http.status_code', String(status))
  span.setTag('response_flags', flags)
}

export function tagError(span: Span, status: number): void {
  if (status === 0 || (status >= 500 && status < 600)) span.setTag('error', 'true')
}

/** gRPC statuses that stand for a 5xx. */
const GRPC_FAILURES: ReadonlySet<string> = new Set(['2', '4', '12', '13', '14', '15'])

/** From response headers or trailers. */
export function tagGrpcStatus(span: Span, headers: HeaderMap | null): void {
  const status = headers?.get('grpc-status')
  if (!headers || status === undefined) return
  span.setTag('grpc.status_code', status)
  const message = headers.get('grpc-message')
  if (message !== undefined) span.setTag('grpc.message', message)
  if (GRPC_FAILURES.has(status)) span.setTag('error', 'true')
}

export function flagsOf(info: StreamInfo): string {
  return responseFlags(info, false)
}

const MOMENTS = [
  ['lastDownstreamRxByte', 'last_downstream_rx_byte_received'],
  ['firstUpstreamTxByte', 'first_upstream_tx_byte_sent'],
  ['lastUpstreamTxByte', 'last_upstream_tx_byte_sent'],
  ['firstUpstreamRxByte', 'first_upstream_rx_byte_received'],
  ['lastUpstreamRxByte', 'last_upstream_rx_byte_received'],
  ['firstDownstreamTxByte', 'first_downstream_tx_byte_sent'],
  ['lastDownstreamTxByte', 'last_downstream_tx_byte_sent'],
] as const

/** `verbose`: when each side said its first and last byte. */
export function logMoments(span: Span, info: StreamInfo): void {
  for (const [field, event] of MOMENTS) {
    if (info[field] !== 0) span.log(info[field], event)
  }
}
