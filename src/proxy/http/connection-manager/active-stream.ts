// One request and its response on a downstream connection: accepts or refuses the request, runs it through the filter
// chain, writes the answer, and logs the end. Every field is set in the constructor, in order: one hidden class.

import { OwnedTimeout, type TimeoutEntry, type TimeoutHandle, type TimeoutQueue } from '../../../base/timeout-queue.ts'
import type { Connection } from '../../network/connection.ts'
import { reportFault } from '../../network/fault.ts'
import { FilterState } from '../../network/filter.ts'
import type { AccessLogType, LogContext } from '../../observe/access-log.ts'
import { responseFlags } from '../../observe/format/stream-operators.ts'
import { formatGrpcTimeout, streamDuration } from '../../route/grpc-timeout.ts'
import type { Route, RouteTable } from '../../route/route.ts'
import { Flag, now, StreamInfo } from '../../stream-info.ts'
import type { RequestDecoder, ResponseEncoder, StreamCallbacks, StreamResetReason } from '../codec.ts'
import { Protocol, StreamResetReason as Reset } from '../codec.ts'
import type { DownstreamWatermarkCallbacks, ModifyHeaders } from '../filter.ts'
import { HeaderMap } from '../header-map.ts'
import { isGrpcContentType } from '../local-reply.ts'
import { normalized, normalizePath, PathAction } from '../path.ts'
import type { ConnectionManager } from './connection-manager.ts'
import { FilterManager, type FilterManagerOwner } from './filter-manager.ts'
import { normalizeHost } from './host.ts'
import { addProxyStatus } from './proxy-status.ts'
import { REDIRECT_STATE_KEYS } from './redirect-state.ts'
import { hasToken, isUpgrade, mutateRequestHeaders, origin } from './request-headers.ts'
import { TraceReason } from './request-id.ts'
import { mutateResponseHeaders } from './response-headers.ts'
import type { ChainEntry } from './shared.ts'
import { StreamDownstreamInfo } from './stream-downstream-info.ts'

let streamIds = 0
const tellOverload: ModifyHeaders = (headers) => headers.set('x-envoy-local-overloaded', 'true')
const GRPC_DEADLINE_EXCEEDED = 4
const CONNECTION_FAILED = Flag.UF | Flag.UC
const NONE: readonly string[] = []

export class ActiveStream implements RequestDecoder, FilterManagerOwner, StreamCallbacks, LogContext, TimeoutEntry {
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
  isHead = false
  isGrpc = false
  /** The client asked for its connection to close after this response. */
  wantsClose = false
  /** HTTP/2: the connection drains with this response. */
  private drains = false
  private routeTable: RouteTable | null
  private cachedRoute: Route | null = null
  private routeCached = false
  private downstreamWatermarks: DownstreamWatermarkCallbacks | null = null
  private aboveWatermark = 0
  private idle: TimeoutHandle | null = null
  private idleQueue: TimeoutQueue | null
  private requestTimer: TimeoutHandle | null = null
  private headersTimer: TimeoutHandle | null = null
  private durationTimer: TimeoutHandle | null = null
  private durationQueue: TimeoutQueue | null = null
  private logTimer: TimeoutHandle | null = null
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
    this.routeTable = manager.shared.routeTable()
    this.idleQueue = manager.shared.streamIdleQueue
    encoder.flushTimeoutMs = manager.shared.config.streamFlushTimeoutMs
    if (this.idleQueue) this.armIdle()
    const { requestQueue, headersQueue, durationQueue } = manager.shared
    if (requestQueue)
      requestQueue.arm((this.requestTimer = requestQueue.handle(new OwnedTimeout(this, () => this.onRequestTimeout()))))
    if (headersQueue)
      headersQueue.arm((this.headersTimer = headersQueue.handle(new OwnedTimeout(this, () => this.onHeadersTimeout()))))
    if (durationQueue) this.armDuration(durationQueue)
  }

  get connection(): Connection {
    return this.manager.connection
  }
  get streamInfo(): StreamInfo {
    return this.info
  }
  get bufferLimit(): number {
    return this.manager.shared.bufferLimit
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
    const { config, stats } = manager.shared
    this.requestHeaders = headers
    info.protocol = this.encoder.stream.protocol
    this.isHead = headers.method === 'HEAD'
    this.isGrpc = headers.path !== '' && isGrpcContentType(headers.get('content-type'))
    if (endStream) this.onRequestEnd()
    else info.lastDownstreamRxByte = now()
    if (closesConnection(info.protocol, headers)) this.wantsClose = true
    if (this.headersTimer) manager.shared.headersQueue!.disarm(this.headersTimer)
    if (manager.shared.overload?.stopAcceptingRequests) {
      stats.rqOverloadClose.inc()
      const tell = config.appendLocalOverload ? tellOverload : null
      this.sendLocalReply(503, 'envoy overloaded', tell, null, 'overload')
      return
    }
    if (!config.proxy100Continue && headers.get('expect')?.toLowerCase() === '100-continue') {
      const proceed = new HeaderMap()
      proceed.status = 100
      stats.countStatus(100)
      info.responseCode = 100
      this.encoder.encode1xxHeaders(proceed)
      headers.remove('expect')
    }
    if (headers.authority === '' && !manager.hostGiven(headers)) {
      this.sendLocalReply(400, '', null, null, 'missing_host_header')
      return
    }
    const connect = headers.method === 'CONNECT'
    if (!connect || headers.protocol !== '') {
      if (headers.path === '') {
        this.sendLocalReply(404, '', null, null, 'missing_path_rejected')
        return
      }
      if (headers.path.charCodeAt(0) !== 47) {
        stats.rqNonRelativePath.inc()
        this.sendLocalReply(404, '', null, null, 'absolute_path_rejected')
        return
      }
      if (!this.acceptPath(headers)) return
    }
    normalizeHost(headers, config, manager.connection.info.localAddress.port)
    const internalOnly = this.routeTable?.internalOnlyHeaders ?? NONE
    if (!this.recreated) {
      const { earlyHeaderMutations } = manager.shared
      for (let i = 0; i < earlyHeaderMutations.length; i++) earlyHeaderMutations[i]!.apply(headers, info, headers, null)
      mutateRequestHeaders(headers, manager.connection.info, config, manager.shared.node, internalOnly)
      if (origin.rejectStatus !== 0) {
        stats.rqRejectedViaIpDetection.inc()
        this.sendLocalReply(origin.rejectStatus, '', null, null, 'rejecting_because_detection_failed')
        return
      }
      if (origin.remoteAddress !== info.downstream.remoteAddress) {
        info.downstream = new StreamDownstreamInfo(manager.connection.info, origin.remoteAddress)
      }
    }
    info.requestId = headers.get('x-request-id') ?? ''
    const { tracing } = manager.shared
    let reason: TraceReason = TraceReason.NotTraceable
    if (tracing) {
      reason = tracing.decide(headers, this.route())
      info.traced = reason !== TraceReason.NotTraceable
      info.requestId = headers.get('x-request-id') ?? ''
    }
    const idleMs = this.idleOverride()
    if (idleMs !== null) this.rearmIdle(idleMs)
    const flushMs = this.route()?.flushTimeoutMs ?? null
    if (flushMs !== null) this.encoder.flushTimeoutMs = flushMs
    this.limitDuration(headers)
    const allowed = manager.shared.filtersFor(this.upgradeType(headers), this.route())
    if (!allowed) this.wantsClose = true
    // What has no route is no upgrade that a route refuses: the router says that there is none, and counts it.
    const filters = allowed ?? (headers.method === 'CONNECT' && !this.route() ? manager.shared.chain : null)
    if (!filters) {
      stats.rqWsOnNonWsRoute.inc()
      this.drains = info.protocol === Protocol.Http2
      this.sendLocalReply(403, '', null, null, 'upgrade_failed')
      return
    }
    if (allowed && this.upgradeType(headers) !== '') {
      this.tunneling = true
      stats.cxUpgradesTotal.inc()
      stats.cxUpgradesActive.inc()
    }
    const { chain } = this
    const route = this.route()
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
    if (manager.shared.accessLogQueue) this.armPeriodicLog()
    chain.decodeHeaders(headers, endStream)
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
    this.info.bytesReceived += chunk.length
    if (this.idleQueue) this.armIdle()
    if (endStream) this.onRequestEnd()
    else this.info.lastDownstreamRxByte = now()
    if (!this.chain.decodingDone) this.chain.decodeData(chunk, endStream)
    if (endStream) this.maybeEnd()
  }

  private acceptTrailers(trailers: HeaderMap): void {
    this.requestTrailers = trailers
    if (this.idleQueue) this.armIdle()
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
    if (!this.routeCached) {
      // Before x-forwarded-proto is settled no route is chosen (Envoy).
      if (!this.requestHeaders?.has('x-forwarded-proto')) return null
      this.routeCached = true
      this.cachedRoute = this.routeTable?.route(this.requestHeaders, this.info, this.info.random) ?? null
      this.info.route = this.cachedRoute
      this.info.routeName = this.cachedRoute?.name ?? ''
      this.noteCluster()
    }
    return this.cachedRoute
  }

  /** Logs name the cluster of the route even when the request never gets there. */
  private noteCluster(): void {
    const { cachedRoute: route, info } = this
    const cluster = route?.forward
      ? this.manager.shared.clusters.get(route.clusterName(this.requestHeaders!))
      : undefined
    info.upstreamCluster = cluster?.name ?? ''
    info.upstreamClusterStatName = cluster?.statName ?? ''
    info.upstreamClusterMetadata = cluster?.metadata ?? null
  }

  /** The request's id as it now is, where the response shows it; '' = it does not. */
  private requestIdToEcho(): string {
    const request = this.requestHeaders
    if (request === null) return ''
    const shown = this.manager.shared.config.alwaysSetRequestIdInResponse || request.has('x-envoy-force-trace')
    return (shown ? request.get('x-request-id') : undefined) ?? ''
  }

  clearRouteCache(): void {
    this.routeCached = false
    this.cachedRoute = null
    this.info.route = null
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
    if (this.idleQueue) this.armIdle()
    const accepted =
      this.tunneling &&
      (headers.status === 101 || (headers.status === 200 && this.requestHeaders!.method === 'CONNECT'))
    if (this.tunneling && !accepted) this.leaveTunnel()
    mutateResponseHeaders(headers, config, accepted, this.requestIdToEcho())
    if (manager.shared.proxyStatus !== null && this.requestHeaders !== null) {
      addProxyStatus(headers, info, responseFlags(info, false), manager.shared.proxyStatus)
      info.responseCode = headers.status
    }
    manager.shared.tracing?.decorateResponse(headers, this.toldOperation, info.span)
    if (!this.requestDone) stats.rqResponseBeforeComplete.inc()
    if (!accepted) {
      if (this.wantsClose && info.protocol !== Protocol.Http2) manager.closeAfterStreams()
      // The rest of the request would stand in the way of the next one on this connection.
      if (!this.requestDone && info.protocol !== Protocol.Http2) manager.closeAfterStreams()
      manager.onResponseHeaders(this.drains)
      if (info.protocol !== Protocol.Http2) this.sayPersistence(headers)
    }
    if (!info.isHealthCheck) stats.countStatus(headers.status)
    this.encoder.encodeHeaders(headers, endStream)
    if (accepted && config.accessLogOnTunnel) this.log('DownstreamTunnelSuccessfullyEstablished')
    if (endStream) this.onResponseEnd()
  }

  /** Whether the connection will carry another request. */
  private sayPersistence(headers: HeaderMap): void {
    const { manager } = this
    const http10 = this.info.protocol === Protocol.Http10
    // Without a length the body of a response to HTTP/1.0 ends with the connection.
    if (http10 && !headers.has('content-length')) manager.closeAfterStreams()
    if (manager.closing) headers.list.push('connection', 'close')
    else if (http10) headers.list.push('connection', 'keep-alive')
  }

  writeData(chunk: Buffer, endStream: boolean): void {
    if (this.ended) return
    this.info.bytesSent += chunk.length
    if (this.idleQueue) this.armIdle()
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
    // For the log.
    this.route()
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
      this.createChain(this.manager.shared.chain, this.cachedRoute)
    }
    this.tellConnectFailed()
    chain.decodingDone = true
    chain.abandonResponse()
    const route = this.cachedRoute?.forward ? this.cachedRoute : null
    const change: ModifyHeaders | null = route
      ? (reply) => {
          route.finalizeResponseHeaders(reply, info, this.requestHeaders!)
          modify?.(reply)
        }
      : modify
    const { headers, text } = this.manager.shared.localReplies.make(this, status, body, change, grpcStatus)
    const bodyless = this.isHead || this.isGrpc || text === ''
    chain.encodeHeaders(headers, bodyless)
    if (!bodyless && !this.ended) chain.encodeData(Buffer.from(text, 'latin1'), true)
  }

  onRequestTooLarge(): void {
    this.manager.shared.stats.rqTooLarge.inc()
    // HTTP/1 tells of the end of a body behind its last byte, which nobody waits for here (Envoy).
    if (this.info.protocol !== Protocol.Http2) this.requestDone = false
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
      this.encoder.connectFailed = this.upgradeType(this.requestHeaders) !== ''
  }

  pauseRequestBody(pause: boolean): void {
    const { stats } = this.manager.shared
    ;(pause ? stats.flowPaused : stats.flowResumed).inc()
    this.encoder.stream.readDisable(pause)
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

  /** Path normalisation; false when the request was answered. */
  private acceptPath(headers: HeaderMap): boolean {
    const { shared } = this.manager
    const action = normalizePath(headers.path, shared.pathOptions)
    headers.path = normalized.path
    // No gRPC client follows a redirect.
    if (action === PathAction.Reject || (action !== PathAction.Continue && this.isGrpc)) {
      shared.stats.rqFailedPathNormalization.inc()
      this.sendLocalReply(400, '', null, action === PathAction.Reject ? null : 13, 'path_normalization_failed')
      return false
    }
    if (action === PathAction.Continue) return true
    shared.stats.rqRedirectedNormalizedPath.inc()
    this.sendLocalReply(307, '', (h) => h.set('location', headers.path), null, 'path_normalization_failed')
    return false
  }

  /** `connect`, the upgrade type in lower case, or '' for a plain request. */
  private upgradeType(headers: HeaderMap): string {
    if (headers.method === 'CONNECT') return headers.protocol === '' ? 'connect' : headers.protocol.toLowerCase()
    return isUpgrade(headers) ? (headers.getAll('upgrade') ?? '').toLowerCase() : ''
  }

  private leaveTunnel(): void {
    this.tunneling = false
    this.manager.shared.stats.cxUpgradesActive.dec()
  }

  private onRequestEnd(): void {
    this.requestDone = true
    this.info.lastDownstreamRxByte = now()
    if (this.requestTimer) this.manager.shared.requestQueue!.disarm(this.requestTimer)
  }

  private onResponseEnd(): void {
    this.responseDone = true
    this.info.lastDownstreamTxByte = now()
    if (!this.requestDone) {
      // Nobody waits for the rest of a request that has its answer; the codec skips or closes.
      this.chain.decodingDone = true
      this.manager.shared.stats.rqRxReset.inc()
      if (this.requestHeaders && this.upgradeType(this.requestHeaders) !== '') this.endTunnel()
    }
    if (this.encoder.flushing) this.disarm()
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

  private armPeriodicLog(): void {
    const queue = this.manager.shared.accessLogQueue!
    this.logTimer ??= queue.handle(
      new OwnedTimeout(this, () => {
        this.log('DownstreamPeriodic')
        this.armPeriodicLog()
      }),
    )
    queue.arm(this.logTimer)
  }

  /** Once: timers, log, filters, and the connection's bookkeeping. */
  end(): void {
    if (this.ended) return
    this.ended = true
    const { info, manager } = this
    const { shared } = manager
    info.end = now()
    if (this.refusedByCodec) info.setFlag('DPE')
    this.disarm()
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

  private disarm(): void {
    const { shared } = this.manager
    if (this.idle && this.idleQueue) this.idleQueue.disarm(this.idle)
    if (this.durationTimer) this.durationQueue!.disarm(this.durationTimer)
    if (this.requestTimer) shared.requestQueue!.disarm(this.requestTimer)
    if (this.headersTimer) shared.headersQueue!.disarm(this.headersTimer)
    if (this.logTimer) shared.accessLogQueue!.disarm(this.logTimer)
  }

  private armIdle(): void {
    this.idle ??= this.idleQueue!.handle(this)
    this.idleQueue!.arm(this.idle)
  }

  private armDuration(queue: TimeoutQueue): void {
    this.durationQueue = queue
    queue.arm((this.durationTimer = queue.handle(new OwnedTimeout(this, () => this.onDurationTimeout()))))
  }

  /** The route may have its own max_stream_duration. */
  private limitDuration(headers: HeaderMap): void {
    const forward = this.route()?.forward
    const ms = forward ? streamDuration(headers, forward) : null
    if (ms === null) return
    if (this.durationTimer) this.durationQueue!.disarm(this.durationTimer)
    this.durationTimer = null
    if (ms === 0) return
    this.armDuration(this.manager.shared.queue(ms))
    if (this.isGrpc) headers.set('grpc-timeout', formatGrpcTimeout(ms))
  }

  private idleOverride(): number | null {
    return this.route()?.idleTimeoutMs ?? null
  }

  private rearmIdle(ms: number): void {
    if (this.idle) this.idleQueue!.disarm(this.idle)
    this.idle = null
    this.idleQueue = ms > 0 ? this.manager.shared.queue(ms) : null
    if (this.idleQueue) this.armIdle()
  }

  /** The stream idle timer's; the others are rare enough for an object of their own. */
  onTimeout(): void {
    this.manager.shared.stats.rqIdleTimeout.inc()
    this.info.setFlag('SI')
    if (this.responseStarted) this.info.responseCodeDetails = 'stream_idle_timeout'
    this.sendLocalReply(this.requestDone ? 504 : 408, 'stream timeout', null, null, 'stream_idle_timeout')
  }

  private onRequestTimeout(): void {
    this.manager.shared.stats.rqTimeout.inc()
    this.sendLocalReply(408, 'request timeout', null, null, 'request_overall_timeout')
  }

  private onHeadersTimeout(): void {
    this.manager.shared.stats.rqHeaderTimeout.inc()
    this.sendLocalReply(408, 'request header timeout', null, null, 'request_header_timeout')
  }

  private onDurationTimeout(): void {
    this.manager.shared.stats.rqMaxDuration.inc()
    this.sendLocalReply(
      this.requestDone ? 504 : 408,
      'downstream duration timeout',
      null,
      GRPC_DEADLINE_EXCEEDED,
      'max_duration_timeout',
    )
  }
}

/** Whether the request itself ends its connection (RFC 9112 §9.3, and `proxy-connection` of old clients). */
function closesConnection(protocol: string, headers: HeaderMap): boolean {
  if (protocol === Protocol.Http2) return false
  const connection = headers.getAll('connection')
  if (protocol === Protocol.Http10) return connection === undefined || !hasToken(connection, 'keep-alive')
  if (connection !== undefined && hasToken(connection, 'close')) return true
  const old = headers.getAll('proxy-connection')
  return old !== undefined && hasToken(old, 'close')
}
