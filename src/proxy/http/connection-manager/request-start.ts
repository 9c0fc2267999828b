// A request's headers, from the codec to the first filter: accepted or refused, cleaned, routed, and given its filter chain.

import type { Route } from '../../route/route.ts'
import { now } from '../../stream-info.ts'
import { closesConnection, upgradeType } from '../connection-header.ts'
import type { HeaderMap } from '../header-map.ts'
import { isGrpcContentType } from '../local-reply.ts'
import { accepts, chainFor, settlesOrigin } from './acceptance.ts'
import type { ActiveStream } from './active-stream.ts'
import { TraceReason } from './request-id.ts'
import type { ChainEntry } from './shared.ts'

export function startRequest(stream: ActiveStream, headers: HeaderMap, endStream: boolean): void {
  const { manager, info } = stream
  const { config, tracing } = manager.shared
  stream.requestHeaders = headers
  info.protocol = stream.encoder.stream.protocol
  stream.isHead = headers.method === 'HEAD'
  stream.isGrpc = headers.path !== '' && isGrpcContentType(headers.get('content-type'))
  if (endStream) stream.onRequestEnd()
  else info.lastDownstreamRxByte = now()
  if (closesConnection(info.protocol, headers)) stream.wantsClose = true
  stream.timers.onRequestHeaders()
  if (!accepts(stream, headers)) return
  if (!stream.recreated && !settlesOrigin(stream, headers, stream.chosen.internalOnlyHeaders)) return
  info.requestId = headers.get('x-request-id') ?? ''
  let reason: TraceReason = TraceReason.NotTraceable
  if (tracing) {
    reason = tracing.decide(headers, stream.route())
    info.traced = reason !== TraceReason.NotTraceable
    info.requestId = headers.get('x-request-id') ?? ''
  }
  const route = stream.route()
  if (route) followRoute(stream, route, headers)
  const filters = chainFor(stream, headers, upgradeType(headers))
  if (!filters) return
  createChain(stream, filters, route)
  if (tracing) {
    const span = tracing.start(headers, info, reason)
    stream.toldOperation = tracing.decorateRequest(headers, route, span)
    if (span) {
      info.span = span
      info.traceId = span.span.traceId
      info.spanId = span.span.spanId
    }
  }
  if (config.accessLogOnNewRequest) stream.log('DownstreamStart')
  stream.timers.armPeriodicLog()
  stream.chain.decodeHeaders(headers, endStream)
}

function followRoute(stream: ActiveStream, route: Route, headers: HeaderMap): void {
  stream.timers.onRoute(route, headers, stream.isGrpc)
  if (route.flushTimeoutMs !== null) stream.encoder.flushTimeoutMs = route.flushTimeoutMs
}

/** Of what the route has not disabled. */
export function createChain(stream: ActiveStream, filters: readonly ChainEntry[], route: Route | null): void {
  stream.chainCreated = true
  for (let i = 0; i < filters.length; i++) {
    const filter = filters[i]!
    if (route?.filterDisabled(filter.name) ?? filter.disabled) continue
    stream.chain.add(filter.name, filter.factory)
  }
}
