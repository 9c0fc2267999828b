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
import { upgradeType } from '../connection-header.ts'
import type { DownstreamWatermarkCallbacks, ModifyHeaders } from '../filter.ts'
import type { HeaderMap } from '../header-map.ts'
import type { ConnectionManager } from './connection-manager.ts'
import { FilterManager, type FilterManagerOwner } from './filter-manager.ts'
import { exceedsLimits } from './header-limits.ts'
import { REDIRECT_STATE_KEYS } from './redirect-state.ts'
import { startRequest } from './request-start.ts'
import { finishResponseHead, settlePersistence } from './response-head.ts'
import { recordEnd } from './stream-end.ts'
import { sendLocalReply } from './stream-local-reply.ts'
import { noteReset } from './stream-reset.ts'
import { StreamRoute } from './stream-route.ts'
import { StreamTimers, type TimedStream } from './stream-timers.ts'
import { endTunnel, leaveTunnel } from './tunnel.ts'

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
  readonly chosen: StreamRoute
  private downstreamWatermarks: DownstreamWatermarkCallbacks | null = null
  private aboveWatermark = 0
  readonly timers: StreamTimers
  recreated = false
  chainCreated = false
  /** Said to be the client's fault at its end only: what the answer is made of does not know yet (Envoy). */
  refusedByCodec = false
  /** A fault was met before: the next one ends the stream without an answer. */
  private faulty = false
  /** What the response says the operation is called. */
  toldOperation = ''

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
      startRequest(this, headers, endStream)
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
    noteReset(info, reason, details, this.responseStarted)
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

  /** The request's id as it now is, where the response shows it. */
  private requestIdToEcho(): string | undefined {
    const request = this.requestHeaders
    if (request === null) return undefined
    const shown = this.manager.shared.config.alwaysSetRequestIdInResponse || request.has('x-envoy-force-trace')
    return shown ? request.get('x-request-id') : undefined
  }

  clearRouteCache(): void {
    this.chosen.clear()
  }

  write1xxHeaders(headers: HeaderMap): void {
    if (this.responseStarted || !this.manager.shared.config.proxy100Continue) return
    this.manager.shared.stats.countStatus(headers.status)
    this.info.responseCode = headers.status
    const id = this.requestIdToEcho()
    if (id !== undefined) headers.set('x-request-id', id)
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
    if (this.tunneling && !accepted) leaveTunnel(this)
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
    sendLocalReply(this, status, body, modify, grpcStatus, details)
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
  tellConnectFailed(): void {
    if ((this.info.responseFlags & CONNECTION_FAILED) !== 0 && this.requestHeaders !== null)
      this.encoder.connectFailed = upgradeType(this.requestHeaders) !== null
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

  onRequestEnd(): void {
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
      if (this.requestHeaders && upgradeType(this.requestHeaders) !== null) endTunnel(this)
    }
    if (this.encoder.flushing) this.timers.disarm()
    else this.end()
  }

  /** The client has the whole response, or did not take it in time: the flush timeout is the only one that runs until then. */
  onFlushed(): void {
    this.maybeEnd()
  }

  private maybeEnd(): void {
    if (this.responseDone && !this.encoder.flushing) this.end()
  }

  log(type: AccessLogType): void {
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
    this.timers.disarm()
    recordEnd(this)
    this.manager.onStreamEnd(this)
  }
}
