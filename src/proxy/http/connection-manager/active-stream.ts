// One request and its response on a downstream connection: accepts or refuses the request, runs it through the filter
// chain, writes the answer, and logs the end. Every field is set in the constructor, in order: one hidden class.

import type { Connection } from '../../network/connection.ts'
import { reportFault } from '../../network/fault.ts'
import { FilterState } from '../../network/filter.ts'
import type { AccessLogType, LogContext } from '../../observe/access-log.ts'
import type { Route } from '../../route/route.ts'
import { Flag, now, StreamInfo } from '../../stream-info.ts'
import type { RequestDecoder, ResponseEncoder, StreamCallbacks, StreamResetReason } from '../codec.ts'
import { Protocol, StreamResetReason as Reset } from '../codec.ts'
import { closesConnection, upgradeType } from '../connection-header.ts'
import type { DownstreamWatermarkCallbacks, ModifyHeaders } from '../filter.ts'
import type { HeaderMap } from '../header-map.ts'
import { isGrpcContentType } from '../local-reply.ts'
import { accepts, chainFor, settlesOrigin } from './acceptance.ts'
import type { ConnectionManager } from './connection-manager.ts'
import { FilterManager, type FilterManagerOwner } from './filter-manager.ts'
import { exceedsLimits } from './header-limits.ts'
import { REDIRECT_STATE_KEYS } from './redirect-state.ts'
import { TraceReason } from './request-id.ts'
import { finishResponseHead, settlePersistence } from './response-head.ts'
import type { ChainEntry } from './shared.ts'
import { StreamRoute } from './stream-route.ts'
import { StreamTimers, type TimedStream } from './stream-timers.ts'

let streamIds = 0
const CONNECTION_FAILED = Flag.UF | Flag.UC

export class ActiveStream implements RequestDecoder, FilterManagerOwner, StreamCallbacks, LogContext, TimedStream {
  readonly manager: ConnectionManager
  readonly encoder: ResponseEncoder
  readonly chain: FilterManager
  readonly info: StreamInfo
  /** Where the connection manager keeps it, -1 = no more. */
  place = -1
  requestHeaders: HeaderMap | null = null
  requestTrailers: HeaderMap | null = null
  responseHeaders: HeaderMap | null = null
  responseTrailers: HeaderMap | null = null
  /** Only while a local reply is made: logs do not see it, as in Envoy. */
  localReplyBody = ''
  type: AccessLogType = 'DownstreamEnd'
  /** The whole request, the whole response, went through the codec. */
  requestDone = false
  responseStarted = false
  responseDone = false
  ended = false
  /** An upgrade or CONNECT was accepted: bytes flow both ways until both sides end. */
  tunneling = false
  bufferLimit: number
  isHead = false
  isGrpc = false
  /** The client asked for its connection to close after this response. */
  wantsClose = false
  /** HTTP/2: the connection drains with this response. */
  drains = false
  private readonly chosen: StreamRoute
  private downstreamWatermarks: DownstreamWatermarkCallbacks | null = null
  private aboveWatermark = 0
  private readonly timers: StreamTimers
  private recreated = false
  private chainCreated = false
  /** Said to be the client's fault at its end only: what the answer is made of does not know yet (Envoy). */
  private refusedByCodec = false
  /** A fault was met before: the next one ends the stream without an answer. */
  private faulty = false
  /** What the response says the operation is called. */
  private toldOperation = ''

  constructor(manager: ConnectionManager, encoder: ResponseEncoder) {
    this.manager = manager
    this.encoder = encoder
    this.chain = new FilterManager(this)
    const info = new StreamInfo(manager.connection.info, new FilterState(manager.filterState))
    this.info = info
    info.startTimeMs = Date.now()
    info.start = now()
    info.protocol = encoder.stream.protocol
    info.downstreamHeaderBytes = encoder.stream.headerBytes
    info.streamId = ++streamIds
    info.schemeMatchUpstream = manager.shared.config.schemeMatchUpstream
    info.random = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)
    this.chosen = new StreamRoute(manager.shared.routeTable(), info, manager.shared.clusters)
    this.bufferLimit = manager.shared.bufferLimit(info.protocol)
    encoder.flushTimeoutMs = manager.shared.config.streamFlushTimeoutMs
    this.timers = new StreamTimers(this, manager.shared)
  }

  get connection(): Connection {
    return this.manager.connection
  }
  get streamInfo(): StreamInfo {
    return this.info
  }

  /** This stream serves `former`'s request again: what was said of the client holds, headers are clean already. */
  continueFrom(former: ActiveStream): void {
    this.recreated = true
    this.wantsClose = former.wantsClose
    this.info.downstream = former.info.downstream
    for (const key of REDIRECT_STATE_KEYS) {
      const value = former.info.filterState.get(key)
      if (value !== undefined) this.info.filterState.set(key, value)
    }
  }

  /**
   * A fault of our own while this stream was served: it is answered 500, or reset when that is too late or at fault too.
   * The connection and its other streams go on.
   */
  onFault(error: unknown): void {
    reportFault(error, `stream ${this.info.streamId} of connection ${this.connection.id}`)
    if (this.ended) return
    const answerable = !this.faulty && !this.responseStarted
    this.faulty = true
    try {
      if (answerable) {
        this.sendLocalReply(500, '', null, null, 'internal_error')
        return
      }
    } catch (again) {
      reportFault(again, `the answer to a fault of stream ${this.info.streamId}`)
    }
    this.info.responseCodeDetails = 'internal_error'
    this.info.setFlag('LR')
    this.resetStream()
  }

  // ---- from the codec: what is at fault in here must not end the connection

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    try {
      this.acceptHeaders(headers, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    try {
      this.acceptData(chunk, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  decodeTrailers(trailers: HeaderMap): void {
    try {
      this.acceptTrailers(trailers)
    } catch (error) {
      this.onFault(error)
    }
  }

  private acceptHeaders(headers: HeaderMap, endStream: boolean): void {
    const { manager, info } = this
    const { config } = manager.shared
    this.requestHeaders = headers
    info.protocol = this.encoder.stream.protocol
    this.isHead = headers.method === 'HEAD'
    this.isGrpc = headers.path !== '' && isGrpcContentType(headers.get('content-type'))
    if (endStream) this.onRequestEnd()
    else info.lastDownstreamRxByte = now()
    if (closesConnection(info.protocol, headers)) this.wantsClose = true
    this.timers.onRequestHeaders()
    if (!accepts(this, headers)) return
    if (!this.recreated && !settlesOrigin(this, headers, this.chosen.internalOnlyHeaders)) return
    info.requestId = headers.get('x-request-id') ?? ''
    const { tracing } = manager.shared
    let reason: TraceReason = TraceReason.NotTraceable
    if (tracing) {
      reason = tracing.decide(headers, this.route())
      info.traced = reason !== TraceReason.NotTraceable
      info.requestId = headers.get('x-request-id') ?? ''
    }
    const route = this.route()
    if (route) this.followRoute(route, headers)
    const filters = chainFor(this, headers, upgradeType(headers))
    if (!filters) return
    this.createChain(filters, route)
    if (tracing) {
      const span = tracing.start(headers, info, reason)
      this.toldOperation = tracing.decorateRequest(headers, route, span)
      if (span) {
        info.span = span
        info.traceId = span.span.traceId
        info.spanId = span.span.spanId
      }
    }
    if (config.accessLogOnNewRequest) this.log('DownstreamStart')
    this.timers.armPeriodicLog()
    this.chain.decodeHeaders(headers, endStream)
  }

  private followRoute(route: Route, headers: HeaderMap): void {
    this.timers.onRoute(route, headers, this.isGrpc)
    if (route.flushTimeoutMs !== null) this.encoder.flushTimeoutMs = route.flushTimeoutMs
  }

  private createChain(filters: readonly ChainEntry[], route: Route | null): void {
    this.chainCreated = true
    for (let i = 0; i < filters.length; i++) {
      const filter = filters[i]!
      if (route?.filterDisabled(filter.name) ?? filter.disabled) continue
      this.chain.add(filter.name, filter.factory)
    }
  }

  private acceptData(chunk: Buffer, endStream: boolean): void {
    // What a client sends behind its answer is nobody's.
    if (this.ended) return
    this.info.bytesReceived += chunk.length
    this.timers.onActivity()
    if (endStream) this.onRequestEnd()
    else this.info.lastDownstreamRxByte = now()
    if (!this.chain.decodingDone) this.chain.decodeData(chunk, endStream)
    if (endStream) this.maybeEnd()
  }

  private acceptTrailers(trailers: HeaderMap): void {
    if (this.ended) return
    this.requestTrailers = trailers
    this.timers.onActivity()
    this.onRequestEnd()
    if (!this.chain.decodingDone) this.chain.decodeTrailers(trailers)
    this.maybeEnd()
  }

  sendCodecError(status: number, body: string, details: string): void {
    this.refusedByCodec = true
    this.wantsClose = true
    this.manager.shared.stats.cxProtocolError.inc()
    this.sendLocalReply(status, body, null, null, details)
  }

  onResetStream(reason: StreamResetReason, details: string): void {
    const { info, manager } = this
    if (this.ended) return
    manager.shared.stats.rqRxReset.inc()
    if (details !== '') info.responseCodeDetails = details
    if (
      reason === Reset.ConnectionTermination ||
      reason === Reset.RemoteReset ||
      reason === Reset.ConnectError ||
      reason === Reset.RemoteRefusedStreamReset
    ) {
      info.setFlag(reason === Reset.ConnectionTermination ? 'DC' : 'DR')
      if (info.responseCodeDetails === '' || !this.responseStarted)
        info.responseCodeDetails = details || 'downstream_remote_disconnect'
    } else if (reason === Reset.ProtocolError) info.setFlag('DPE')
    this.end()
  }

  onAboveWriteBufferHighWatermark(): void {
    if (this.aboveWatermark++ === 0) this.downstreamWatermarks?.onAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    if (--this.aboveWatermark > 0) return
    try {
      this.downstreamWatermarks?.onBelowWriteBufferLowWatermark()
    } catch (error) {
      this.onFault(error)
    }
  }

  // ---- from the filter chain

  route(): Route | null {
    return this.chosen.of(this.requestHeaders)
  }

  /** The request's id as it now is, where the response shows it; '' = it does not. */
  private requestIdToEcho(): string {
    const request = this.requestHeaders
    if (request === null) return ''
    const shown = this.manager.shared.config.alwaysSetRequestIdInResponse || request.has('x-envoy-force-trace')
    return (shown ? request.get('x-request-id') : undefined) ?? ''
  }

  clearRouteCache(): void {
    this.chosen.clear()
  }

  write1xxHeaders(headers: HeaderMap): void {
    if (this.responseStarted || !this.manager.shared.config.proxy100Continue) return
    this.manager.shared.stats.countStatus(headers.status)
    this.info.responseCode = headers.status
    const id = this.requestIdToEcho()
    if (id !== '') headers.set('x-request-id', id)
    this.encoder.encode1xxHeaders(headers)
  }

  writeHeaders(headers: HeaderMap, endStream: boolean): void {
    const { info, manager } = this
    const { config, stats } = manager.shared
    if (this.ended) return
    this.responseHeaders = headers
    this.responseStarted = true
    info.responseCode = headers.status
    info.firstDownstreamTxByte = now()
    this.timers.onActivity()
    const accepted =
      this.tunneling &&
      (headers.status === 101 || (headers.status === 200 && this.requestHeaders!.method === 'CONNECT'))
    if (this.tunneling && !accepted) this.leaveTunnel()
    finishResponseHead(this, headers, accepted, this.requestIdToEcho())
    if (!this.requestDone) stats.rqResponseBeforeComplete.inc()
    if (!accepted) settlePersistence(this, headers)
    manager.shared.tracing?.decorateResponse(headers, this.toldOperation, info.span)
    if (!info.isHealthCheck) stats.countStatus(headers.status)
    this.encoder.encodeHeaders(headers, endStream)
    if (accepted && config.accessLogOnTunnel) this.log('DownstreamTunnelSuccessfullyEstablished')
    if (endStream) this.onResponseEnd()
  }

  writeData(chunk: Buffer, endStream: boolean): void {
    if (this.ended) return
    this.info.bytesSent += chunk.length
    this.timers.onActivity()
    this.encoder.encodeData(chunk, endStream)
    if (endStream) this.onResponseEnd()
  }

  writeTrailers(trailers: HeaderMap): void {
    if (this.ended) return
    this.responseTrailers = trailers
    this.encoder.encodeTrailers(trailers)
    this.onResponseEnd()
  }

  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void {
    if (this.ended) return
    const { chain, info } = this
    info.responseCodeDetails = details
    // For the log, too.
    const route = this.route()
    if (this.responseStarted) {
      this.resetStream()
      return
    }
    // Whoever sends what is no request may not mean the next one either.
    if (status === 400) {
      const { config } = this.manager.shared
      if (!(config.http1.streamErrorOnInvalidMessage ?? config.streamErrorOnInvalidMessage)) this.wantsClose = true
    }
    // Filters see every answer, also to what is refused before they saw a request (Envoy).
    if (!this.chainCreated) {
      chain.requestHeaders = this.requestHeaders
      this.createChain(this.manager.shared.chain, route)
    }
    this.tellConnectFailed()
    chain.decodingDone = true
    // An answer that is on its way through the filters is not followed by another one (Envoy).
    const direct = chain.responseHeaders !== null
    chain.abandonResponse()
    const change: ModifyHeaders | null = route?.forward
      ? (reply) => {
          route.finalizeResponseHeaders(reply, info, this.requestHeaders!)
          modify?.(reply)
        }
      : modify
    const { headers, text } = this.manager.shared.localReplies.make(this, status, body, change, grpcStatus)
    const bodyless = this.isHead || this.isGrpc || text === ''
    if (direct) this.writeHeaders(headers, bodyless)
    else chain.encodeHeaders(headers, bodyless)
    if (bodyless || this.ended) return
    if (direct) this.writeData(Buffer.from(text, 'latin1'), true)
    else chain.encodeData(Buffer.from(text, 'latin1'), true)
  }

  headersExceedLimits(headers: HeaderMap): boolean {
    const { common, maxRequestHeadersKb } = this.manager.shared.config
    return exceedsLimits(headers, common.maxHeadersCount, maxRequestHeadersKb)
  }

  answerBeforeEnd(): void {
    if (this.info.protocol !== Protocol.Http2) this.requestDone = false
  }

  onRequestTooLarge(): void {
    this.manager.shared.stats.rqTooLarge.inc()
    this.answerBeforeEnd()
    this.sendLocalReply(413, 'Payload Too Large', null, null, 'request_payload_too_large')
  }

  onResponseTooLarge(): void {
    this.manager.shared.stats.rsTooLarge.inc()
    this.sendLocalReply(500, 'Internal Server Error', null, null, 'response_payload_too_large')
  }

  resetStream(): void {
    if (this.ended) return
    const { stats } = this.manager.shared
    stats.rqTxReset.inc()
    // Envoy counts a reset of its own as one received, too.
    stats.rqRxReset.inc()
    this.encoder.stream.callbacks = null
    this.tellConnectFailed()
    // HTTP/1 has no other way to end a response early than to end the connection: end() does it.
    if (this.info.protocol === Protocol.Http2) this.encoder.stream.resetStream(Reset.LocalReset)
    else this.manager.closeAfterStreams()
    this.end()
  }

  /** The codec has its own word for the end of a tunnel whose upstream connection failed. */
  private tellConnectFailed(): void {
    if ((this.info.responseFlags & CONNECTION_FAILED) !== 0 && this.requestHeaders !== null)
      this.encoder.connectFailed = upgradeType(this.requestHeaders) !== ''
  }

  pauseRequestBody(pause: boolean): void {
    const { stats } = this.manager.shared
    ;(pause ? stats.flowPaused : stats.flowResumed).inc()
    // With the stream's end the codec has let go on.
    if (!this.ended) this.encoder.stream.readDisable(pause)
  }

  pauseResponseBody(pause: boolean): void {
    if (pause) this.onAboveWriteBufferHighWatermark()
    else this.onBelowWriteBufferLowWatermark()
  }

  setDownstreamWatermarkCallbacks(callbacks: DownstreamWatermarkCallbacks | null): void {
    this.downstreamWatermarks = callbacks
    for (let i = 0; i < this.aboveWatermark && callbacks; i++) callbacks.onAboveWriteBufferHighWatermark()
  }

  reroute(headers: HeaderMap): Route | null {
    this.requestHeaders = headers
    this.clearRouteCache()
    return this.route()
  }

  restoreRequest(headers: HeaderMap): void {
    this.requestHeaders = headers
  }

  recreateStream(headers: HeaderMap): boolean {
    return this.manager.recreateStream(this, headers)
  }

  // ---- internals

  enterTunnel(): void {
    const { stats } = this.manager.shared
    this.tunneling = true
    stats.cxUpgradesTotal.inc()
    stats.cxUpgradesActive.inc()
  }

  private leaveTunnel(): void {
    this.tunneling = false
    this.manager.shared.stats.cxUpgradesActive.dec()
  }

  private onRequestEnd(): void {
    this.requestDone = true
    this.info.lastDownstreamRxByte = now()
    this.timers.onRequestEnd()
  }

  private onResponseEnd(): void {
    this.responseDone = true
    this.info.lastDownstreamTxByte = now()
    if (!this.requestDone) {
      // Nobody waits for the rest of a request that has its answer; the codec skips or closes.
      this.chain.decodingDone = true
      this.manager.shared.stats.rqRxReset.inc()
      if (this.requestHeaders && upgradeType(this.requestHeaders) !== '') this.endTunnel()
    }
    if (this.encoder.flushing) this.timers.disarm()
    else this.end()
  }

  /** The client has the whole response, or did not take it in time: the flush timeout is the only one that runs until then. */
  onFlushed(): void {
    this.maybeEnd()
  }

  /** One end of a tunnel is the end of both (as in Envoy); one that was refused has no other end. */
  private endTunnel(): void {
    if (this.info.protocol !== Protocol.Http2) this.manager.closeAfterStreams()
    else if (this.tunneling) {
      this.encoder.stream.callbacks = null
      this.encoder.stream.resetStream(Reset.LocalReset)
    }
  }

  private maybeEnd(): void {
    if (this.responseDone && !this.encoder.flushing) this.end()
  }

  private log(type: AccessLogType): void {
    const logs = this.manager.shared.accessLogs
    this.type = type
    for (let i = 0; i < logs.length; i++) logs[i]!.log(this)
    this.type = 'DownstreamEnd'
  }

  logPeriodically(): void {
    this.log('DownstreamPeriodic')
  }

  /** Once: timers, log, filters, and the connection's bookkeeping. */
  end(): void {
    if (this.ended) return
    this.ended = true
    const { info, manager } = this
    const { shared } = manager
    info.end = now()
    if (this.refusedByCodec) info.setFlag('DPE')
    this.timers.disarm()
    if (this.tunneling) shared.stats.cxUpgradesActive.dec()
    const { stream } = this.encoder
    info.downstreamWireBytesReceived = stream.wireBytesReceived
    info.downstreamWireBytesSent = stream.wireBytesSent
    this.chain.destroy()
    shared.stats.rqTime.record(info.end - info.start)
    if (info.isHealthCheck) shared.tracingStats.healthCheck.inc()
    try {
      info.span?.finish(this)
      this.log('DownstreamEnd')
    } catch (error) {
      reportFault(error, `the log of stream ${info.streamId}`)
    }
    manager.onStreamEnd(this)
  }
}
