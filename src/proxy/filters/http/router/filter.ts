// envoy.filters.http.router: the terminal filter. Chooses cluster and host, forwards, retries, answers failures.

import { ownedTimeout } from '../../../../base/fault-owner.ts'
import {
  type TimeoutEntry,
  type TimeoutHandle,
  type TimeoutQueue,
  timeoutQueue,
} from '../../../../base/timeout-queue.ts'
import type { WorkerContext } from '../../../config/extension.ts'
import { type Protocol, StreamResetReason as Reset, type StreamResetReason } from '../../../http/codec.ts'
import type { RequestSpan } from '../../../http/connection-manager/tracing.ts'
import {
  type DownstreamWatermarkCallbacks,
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import { schemeOf } from '../../../http/scheme.ts'
import { DetectedClose } from '../../../network/close.ts'
import type { Connection } from '../../../network/connection.ts'
import type { LogContext } from '../../../observe/access-log.ts'
import type { Counter } from '../../../observe/stats.ts'
import { updateAuthority } from '../../../route/rewrite.ts'
import type { ForwardAction, Route } from '../../../route/route.ts'
import { now } from '../../../stream-info.ts'
import type { HttpConnPool, LoadBalancerContext, ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import type { ResponseStats } from '../../../upstream/response-stats.ts'
import { percentOf } from '../../../upstream/tracked-stats.ts'
import { acceptedCluster, answerDirectly } from './answers.ts'
import { noteAttempt, noteConnection } from './attempt-facts.ts'
import { AttemptSpan } from './attempt-span.ts'
import { AttemptStats } from './attempt-stats.ts'
import type { RouterConfig } from './config.ts'
import { failureOf, resetBody, resetDetails } from './failure.ts'
import { grpcToHttp } from './grpc-status.ts'
import { HedgedAttempts } from './hedged-attempts.ts'
import { avoidTriedHosts, choosePool, requestContext } from './host-choice.ts'
import { tryInternalRedirect } from './internal-redirect.ts'
import { startMirrors } from './mirror.ts'
import { RequestCopy } from './request-copy.ts'
import { createRetryState, RetryDecision, type RetryState } from './retry-state.ts'
import { countAll, type RequestStats } from './route-stats.ts'
import { createRouterShared, type RouterShared } from './shared.ts'
import { announceTimeouts, settleTimeouts, type Timeouts } from './timeouts.ts'
import { UpstreamRequest, type UpstreamRequestOwner } from './upstream-request.ts'

export function createRouter(config: RouterConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const shared = createRouterShared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamDecoderFilter(new RouterFilter(shared))
}

const ALTERNATIVE_STAT_NAME = 'x-envoy-upstream-alt-stat-name'
const NO_STATS: readonly RequestStats[] = []
const NO_CHUNKS: readonly Buffer[] = []

class RouterFilter implements StreamDecoderFilter, UpstreamRequestOwner, DownstreamWatermarkCallbacks, TimeoutEntry {
  private readonly shared: RouterShared
  private callbacks!: StreamDecoderFilterCallbacks
  private route: Route | null = null
  private forward: ForwardAction | null = null
  private cluster: ThreadLocalCluster | null = null
  private headers: HeaderMap | null = null
  private trailers: HeaderMap | null = null
  private lb: LoadBalancerContext | null = null
  private timeouts: Timeouts | null = null
  private retry: RetryState | null = null
  private current: UpstreamRequest | null = null
  /** Attempts that are late but may still answer first (hedge_on_per_try_timeout). */
  private hedged: HedgedAttempts | null = null
  private requestStats: readonly RequestStats[] = NO_STATS
  /** Counts its responses under another name, too. */
  private alternative: ResponseStats | null = null
  private mirrors: UpstreamRequest[] | null = null
  /** Where another attempt or an internal redirect may want the body. */
  private copy: RequestCopy | null = null
  private requestDone = false
  private requestDoneAt = 0
  private responseStarted = false
  /** A 1xx of the upstream went downstream. */
  private informed = false
  private finished = false
  private grpc = false
  private attempts = 0
  /** Zone of the host of the last attempt. */
  private zone = ''
  private setCookies: string[] | null = null
  private globalQueue: TimeoutQueue | null = null
  private global: TimeoutHandle | null = null
  private backOff: NodeJS.Timeout | null = null
  /** The attempt before this one took too long. */
  private timedOut = false
  private downstreamFull = 0
  /** Hosts tried so far, for previous_hosts. */
  private tried: HostDescription[] | null = null

  constructor(shared: RouterShared) {
    this.shared = shared
  }

  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.callbacks = callbacks
  }

  // ---- request

  decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared, callbacks } = this
    const { config } = shared
    const info = callbacks.streamInfo
    shared.rqTotal.inc()
    const route = callbacks.route()
    if (!route) {
      shared.noRoute.inc()
      info.setFlag('NR')
      callbacks.sendLocalReply(404, '', null, null, 'route_not_found')
      return FilterHeadersStatus.StopIteration
    }
    this.route = route
    if (route.direct) {
      answerDirectly(shared, callbacks, route, headers)
      return FilterHeadersStatus.StopIteration
    }
    const { forward } = route
    if (!forward) {
      // non_forwarding_action: a client of ours would use it; a server has nowhere to send it.
      info.setFlag('NR')
      callbacks.sendLocalReply(404, '', null, null, 'route_not_found')
      return FilterHeadersStatus.StopIteration
    }
    this.forward = forward
    this.headers = headers
    this.grpc = isGrpcContentType(headers.get('content-type'))
    const cluster = acceptedCluster(shared, callbacks, route, headers)
    if (!cluster) return FilterHeadersStatus.StopIteration
    this.cluster = cluster
    this.requestStats = shared.routeStats.of(route, info.virtualClusterName)
    const name = headers.get(ALTERNATIVE_STAT_NAME)
    if (name !== undefined) {
      this.alternative = cluster.stats.alternative(name)
      headers.remove(ALTERNATIVE_STAT_NAME)
    }
    this.timeouts = settleTimeouts(headers, forward, {
      suppressEnvoyHeaders: config.suppressEnvoyHeaders,
      respectExpectedTimeout: config.respectExpectedTimeout,
      grpc: this.grpc,
    })
    if (this.timeouts.maxStreamDuration === 0)
      this.timeouts.maxStreamDuration = cluster.data.http.common.maxStreamDurationMs
    if (route.virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', '1')
    // Before the host is chosen: hash policies see the request as it leaves (Envoy).
    route.finalizeRequestHeaders(headers, info, !config.suppressEnvoyHeaders)
    const lb = requestContext(forward, headers, info, this)
    this.lb = lb
    const pool = choosePool(cluster, forward, headers, info.protocol, lb, 0)
    if (!pool) {
      this.answerNoHost()
      return FilterHeadersStatus.StopIteration
    }
    if (forward.autoHostRewrite && pool.host.hostname !== '')
      updateAuthority(headers, pool.host.hostname, forward.appendXForwardedHost, !config.suppressEnvoyHeaders)
    this.retry = createRetryState(headers, forward.retryPolicy, cluster, forward.priority, this.requestStats)
    if ((this.retry || forward.internalRedirect) && !endStream) this.copy = new RequestCopy()
    if (forward.mirrors.length > 0 && headers.method !== 'CONNECT') this.mirrors = this.startMirrors(headers, endStream)
    callbacks.setDownstreamWatermarkCallbacks(this)
    if (endStream) this.onRequestComplete()
    this.attempt(pool, headers, endStream)
    return FilterHeadersStatus.StopIteration
  }

  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.copy) this.keep(this.copy, chunk)
    this.current?.encodeData(chunk, endStream)
    if (this.mirrors) for (const mirror of this.mirrors) mirror.encodeData(chunk, endStream)
    if (endStream) this.onRequestComplete()
    return FilterDataStatus.StopIterationNoBuffer
  }

  decodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    this.trailers = trailers
    this.current?.encodeTrailers(trailers)
    if (this.mirrors) for (const mirror of this.mirrors) mirror.encodeTrailers(trailers)
    this.onRequestComplete()
    return FilterTrailersStatus.StopIteration
  }

  onDestroy(): void {
    this.finished = true
    this.disarm()
    this.callbacks.setDownstreamWatermarkCallbacks(null)
    if (this.current !== null) noteAttempt(this.callbacks.streamInfo, this.current)
    this.current?.abandon()
    this.current = null
    this.abandonHedged()
    // A copy of what will never be whole has no end of its own.
    if (this.mirrors && !this.requestDone) for (const mirror of this.mirrors) mirror.abandon()
    this.retry?.release()
  }

  onFault(error: unknown): void {
    this.callbacks.onFault(error)
  }

  /** A hash policy made a cookie. */
  addSetCookie(cookie: string): void {
    this.setCookies ??= []
    this.setCookies.push(cookie)
  }

  private attempt(pool: HttpConnPool, headers: HeaderMap, endStream: boolean): void {
    if (this.callbacks.streamInfo.schemeMatchUpstream) headers.scheme = pool.host.secure ? 'https' : 'http'
    // Direct answers and logs of them keep what came (Envoy).
    else if (headers.scheme !== 'http' && headers.scheme !== 'https')
      headers.scheme = schemeOf(headers, this.callbacks.connection.info.transportProtocol === 'tls')
    this.attempts++
    this.zone = pool.host.locality.zone
    this.callbacks.streamInfo.attemptCount = this.attempts
    this.callbacks.streamInfo.upstreamCloseType = DetectedClose.Normal
    if (this.retry) {
      this.tried ??= []
      this.tried.push(pool.host)
    }
    const request = new UpstreamRequest(this, pool, headers, endStream, this.timeouts!)
    request.stats = AttemptStats.of(this.cluster!, headers, this.timeouts!.perTry)
    this.current = request
    const { streamInfo: info } = this.callbacks
    if (info.span) this.trace(info.span, request, headers)
    info.upstreamHost = pool.host
    request.start()
  }

  /** Gives the attempt its span, and the upstream the trace context. */
  private trace(request: RequestSpan, attempt: UpstreamRequest, headers: HeaderMap): void {
    const { config } = request.settings
    if (config.spawnUpstreamSpan || this.shared.config.startChildSpan)
      attempt.trace = AttemptSpan.ofAttempt(request, this.logContext(), this.cluster!, attempt.host, this.attempts - 1)
    if (!config.noContextPropagation) (attempt.trace?.span ?? request.span).inject(headers)
  }

  private logContext(): LogContext {
    return {
      info: this.callbacks.streamInfo,
      requestHeaders: this.headers,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: '',
      type: 'UpstreamEnd',
    }
  }

  private startMirrors(headers: HeaderMap, endStream: boolean): UpstreamRequest[] {
    const { shared } = this
    const info = this.callbacks.streamInfo
    const trace = info.span && { request: info.span, context: this.logContext() }
    const { clusters } = shared.context
    return startMirrors(this.forward!.mirrors, headers, endStream, clusters, info, {
      timeoutMs: this.timeouts!.global,
      ownAddress: shared.ownAddress,
      trace,
    })
  }

  /** Keeps a copy for another attempt, up to the buffer limit; beyond it there will be none. */
  private keep(copy: RequestCopy, chunk: Buffer): void {
    if (copy.dropped || copy.add(chunk, this.route?.maxRequestBufferBytes ?? this.callbacks.bufferLimit)) return
    this.cluster!.stats.retryOrShadowAbandoned.inc()
    this.retry?.release()
    this.retry = null
    if (this.current) return
    // Between two attempts there is no upstream to take it.
    this.callbacks.sendLocalReply(
      507,
      'exceeded request buffer limit while retrying upstream',
      null,
      null,
      'request_payload_exceeded_retry_buffer_limit',
    )
  }

  private onRequestComplete(): void {
    if (this.requestDone) return
    this.requestDone = true
    this.requestDoneAt = now()
    const ms = this.timeouts?.global ?? 0
    if (ms <= 0 || this.finished) return
    this.globalQueue = timeoutQueue(ms)
    this.global = this.globalQueue.handle(this)
    this.globalQueue.arm(this.global)
  }

  // ---- answers of our own

  private answerNoHost(details = 'no_healthy_upstream'): void {
    const { callbacks } = this
    // The attempt counts although it found nobody.
    callbacks.streamInfo.attemptCount = Math.max(1, this.attempts)
    callbacks.streamInfo.setFlag('UH')
    const wish = this.lb?.overrideHost
    const status = wish?.strict && wish.missing ? wish.statusWhenMissing : 503
    this.countResponse(status)
    this.reply(status, 'no healthy upstream', details)
  }

  /** A local answer after the route was chosen. */
  private reply(status: number, body: string, details: string, overloaded = false): void {
    this.disarm()
    this.callbacks.sendLocalReply(
      status,
      body,
      (response) => {
        if (overloaded && !this.shared.config.suppressEnvoyHeaders) response.set('x-envoy-overloaded', 'true')
        this.addResponseHeaders(response)
      },
      null,
      details,
    )
  }

  // ---- upstream

  onUpstreamReady(request: UpstreamRequest, connection: Connection, protocol: Protocol): void {
    const info = this.callbacks.streamInfo
    if (this.attempts > 1) request.continueBytes(info)
    noteConnection(info, request.host, connection, protocol)
    countAll(this.requestStats, 'total')
    for (let i = 0; i < this.downstreamFull; i++) request.readDisable(true)
  }

  onNoHost(details: string, request: UpstreamRequest): void {
    if (this.finished || request !== this.current) return
    this.current = null
    this.callbacks.streamInfo.upstreamHost = null
    this.retry?.release()
    this.answerNoHost(details)
  }

  onUpstream1xx(headers: HeaderMap, request: UpstreamRequest): void {
    // The client has seen a part of this attempt's answer: no other attempt may follow.
    this.settleOn(request)
    this.informed = true
    this.countResponse(headers.status)
    this.callbacks.encode1xxHeaders(headers)
  }

  onUpstreamHeaders(headers: HeaderMap, endStream: boolean, request: UpstreamRequest): void {
    const { cluster, callbacks, route } = this
    if (this.finished || !cluster || !route || !this.inFlight(request)) return
    const info = callbacks.streamInfo
    const { status } = headers
    const grpcStatus = this.grpc ? headers.get('grpc-status') : undefined
    if (!request.timeoutNoted)
      cluster.onResponse(request.host, grpcStatus === undefined ? status : grpcToHttp(grpcStatus))
    if (headers.get('x-envoy-immediate-health-check-fail') !== undefined)
      cluster.onImmediateHealthCheckFail(request.host)
    let unwanted = false
    if (this.retry && request.hedged) unwanted = this.retry.wouldRetry(headers)
    else if (this.retry) {
      const decision = this.retry.onHeaders(headers)
      if (decision === RetryDecision.Yes && this.canRetry()) {
        cluster.stats.countRetried(status, this.excluded)
        noteAttempt(info, request)
        this.retryLater(request)
        return
      }
      unwanted = this.noteDenied(decision)
    }
    if (this.forward?.internalRedirect && this.redirectInternally(headers)) return
    if (unwanted && this.othersMayAnswer(request)) {
      this.giveUpOn(request)
      return
    }
    this.settleOn(request)
    this.responseStarted = true
    noteAttempt(info, request)
    this.countResponse(status, headers)
    // The time since the request was complete; an answer that comes before has none.
    if (!this.shared.config.suppressEnvoyHeaders && this.requestDone) {
      const since = Math.max(this.requestDoneAt, request.startedAt)
      headers.set('x-envoy-upstream-service-time', String(Math.max(0, Math.round(now() - since))))
    }
    info.responseCode = status
    info.responseCodeDetails = 'via_upstream'
    route.finalizeResponseHeaders(headers, info, this.headers!)
    this.addResponseHeaders(headers)
    if (endStream) this.onUpstreamComplete(request)
    callbacks.encodeHeaders(headers, endStream, 'via_upstream')
  }

  onUpstreamData(chunk: Buffer, endStream: boolean, request: UpstreamRequest): void {
    if (this.finished || request !== this.current) return
    if (endStream) this.onUpstreamComplete(request)
    this.callbacks.encodeData(chunk, endStream)
  }

  onUpstreamTrailers(trailers: HeaderMap, request: UpstreamRequest): void {
    if (this.finished || request !== this.current) return
    this.onUpstreamComplete(request)
    this.callbacks.encodeTrailers(trailers)
  }

  private onUpstreamComplete(request: UpstreamRequest): void {
    const info = this.callbacks.streamInfo
    info.lastUpstreamRxByte = now()
    noteAttempt(info, request)
    this.disarm()
    const { cluster } = this
    if (cluster && this.requestDone)
      cluster.stats.budgets?.used.record(percentOf(info.lastUpstreamRxByte - this.requestDoneAt, this.timeouts!.global))
    if (cluster && this.shared.config.dynamicStats && this.requestDone) {
      const ms = info.lastUpstreamRxByte - this.requestDoneAt
      const { canary, locality } = request.host
      const internal = this.isInternal()
      cluster.stats.responses.recordTime(ms, internal, canary, locality.zone)
      this.alternative?.recordTime(ms, internal, canary, locality.zone)
      for (let i = 0; i < this.requestStats.length; i++) this.requestStats[i]!.recordTime(ms)
    }
    this.logUpstream()
    // A response that ends before the request leaves an upstream that still reads it: the stream is reset on destroy.
    if (this.requestDone) this.current = null
  }

  private logUpstream(): void {
    const { upstreamLogs } = this.shared
    if (upstreamLogs.length === 0) return
    const context = this.logContext()
    for (const log of upstreamLogs) log.log(context)
  }

  onUpstreamReset(reason: StreamResetReason, transportFailureReason: string, request: UpstreamRequest): void {
    const { cluster, callbacks } = this
    if (this.finished || !cluster) return
    const info = callbacks.streamInfo
    cluster.onReset(request.host, reason)
    info.upstreamHost = request.host
    noteAttempt(info, request)
    if (transportFailureReason !== '') info.upstreamTransportFailureReason = transportFailureReason
    if (!this.inFlight(request)) return
    if (this.retryReset(request, reason)) return
    this.forget(request)
    const { status, flag } = failureOf(reason)
    if (!this.responseStarted && !this.informed) this.countResponse(status)
    if (this.othersMayAnswer(request)) return
    info.setFlag(flag)
    this.logUpstream()
    const details = resetDetails(reason, transportFailureReason, this.responseStarted || this.informed)
    if (this.responseStarted) {
      // Of gRPC whose outcome was to come in trailers, as in Envoy.
      if (this.grpc && info.responseCode < 500) this.shared.resetAfterStart.inc()
      info.responseCodeDetails = details
      this.disarm()
      callbacks.resetStream()
      return
    }
    this.reply(status, resetBody(reason, this.attempts > 1), details, reason === Reset.Overflow)
  }

  // ---- timeouts

  /** The global timeout. */
  onTimeout(): void {
    const { cluster } = this
    if (this.finished || !cluster) return
    cluster.stats.budgets?.used.record(100)
    const status = this.timeouts!.altResponse ? 204 : 504
    if (this.current) this.noteGlobalTimeout(this.current, status)
    if (this.hedged) for (const request of this.hedged.all) this.noteGlobalTimeout(request, status)
    this.giveUp('UT', 'response_timeout', 'upstream request timeout', status)
  }

  private noteGlobalTimeout(request: UpstreamRequest, status: number): void {
    const cluster = this.cluster!
    cluster.stats.rqTimeout.inc()
    countAll(this.requestStats, 'timeout')
    if (request.responded) return
    if (!request.timeoutNoted) cluster.onTimeout(request.host)
    this.countResponse(status)
  }

  onPerTryTimeout(request: UpstreamRequest): void {
    this.onAttemptTimeout(request, this.cluster?.stats.rqPerTryTimeout, 'upstream_per_try_timeout')
  }

  onPerTryIdleTimeout(request: UpstreamRequest): void {
    this.onAttemptTimeout(request, this.cluster?.stats.rqPerTryIdleTimeout, 'upstream_per_try_idle_timeout')
  }

  onMaxStreamDuration(request: UpstreamRequest): void {
    if (this.finished || !this.inFlight(request)) return
    this.cluster?.stats.rqMaxDurationReached.inc()
    if (this.retryReset(request, Reset.LocalReset)) return
    this.giveUpOn(request)
    this.giveUp(
      'UMSDR',
      'upstream_max_stream_duration_reached',
      'upstream max stream duration reached',
      this.requestDone ? 504 : 408,
    )
  }

  private onAttemptTimeout(request: UpstreamRequest, count: Counter | undefined, details: string): void {
    const { cluster } = this
    if (this.finished || !cluster || !this.inFlight(request)) return
    if (this.timeouts!.hedgeOnPerTry) {
      this.hedge(request)
      return
    }
    count?.inc()
    cluster.onTimeout(request.host)
    if (this.retryReset(request, Reset.LocalReset, true)) return
    const status = this.timeouts!.altResponse ? 204 : 504
    if (!this.responseStarted) this.countResponse(status)
    cluster.stats.budgets?.used.record(percentOf(now() - this.requestDoneAt, this.timeouts!.global))
    this.giveUp('UT', details, 'upstream request timeout', status)
  }

  private giveUp(flag: 'UT' | 'UMSDR', details: string, body: string, status: number): void {
    const { callbacks } = this
    callbacks.streamInfo.setFlag(flag)
    if (this.current !== null) noteAttempt(this.callbacks.streamInfo, this.current)
    this.current?.abandon()
    this.current = null
    this.abandonHedged()
    if (this.responseStarted) {
      callbacks.streamInfo.responseCodeDetails = details
      this.disarm()
      callbacks.resetStream()
      return
    }
    this.reply(status, status === 204 ? '' : body, details)
  }

  // ---- retries

  /** True when another attempt will follow one that was reset. */
  private retryReset(request: UpstreamRequest, reason: StreamResetReason, timedOut = false): boolean {
    if (this.responseStarted || !this.retry || request.hedged) return false
    const decision = this.retry.onReset(reason, timedOut || request.sent)
    if (decision === RetryDecision.Yes && this.canRetry()) {
      this.retryLater(request, timedOut)
      return true
    }
    this.noteDenied(decision)
    return false
  }

  /** True when a retry was wanted and is not to be had. */
  private noteDenied(decision: RetryDecision): boolean {
    const info = this.callbacks.streamInfo
    if (decision === RetryDecision.NoLimitExceeded) info.setFlag('URX')
    else if (decision === RetryDecision.NoOverflow) info.setFlag('UO')
    else return false
    return true
  }

  /** A late attempt goes on; another one is started beside it, if there are any left. */
  private hedge(request: UpstreamRequest): void {
    this.cluster!.onTimeout(request.host)
    request.timeoutNoted = true
    if (this.responseStarted || !this.retry || !this.canRetry()) return
    const decision = this.retry.onHedge()
    if (decision !== RetryDecision.Yes) {
      this.noteDenied(decision)
      return
    }
    this.hedged ??= new HedgedAttempts()
    this.hedged.add(request)
    this.current = null
    this.timedOut = true
    this.backOff = ownedTimeout(runBackOff, this.retry.backOffMs(), this)
  }

  private inFlight(request: UpstreamRequest): boolean {
    return request === this.current || (this.hedged?.includes(request) ?? false)
  }

  /** Besides `request` there is an attempt that has not answered, or will be one. */
  private othersMayAnswer(request: UpstreamRequest): boolean {
    if (this.hedged === null) return false
    const { current } = this
    return this.backOff !== null || (current !== null && current !== request) || this.hedged.hasOther(request)
  }

  private forget(request: UpstreamRequest): void {
    if (this.current === request) this.current = null
    else this.hedged?.forget(request)
  }

  private giveUpOn(request: UpstreamRequest): void {
    this.forget(request)
    request.abandon()
  }

  private abandonHedged(): void {
    const { hedged } = this
    this.hedged = null
    hedged?.abandon()
  }

  /** This attempt's answer goes downstream: no retry follows, and whoever else was asked is let go. */
  private settleOn(request: UpstreamRequest): void {
    this.retry?.release()
    this.retry = null
    this.copy?.drop()
    if (this.backOff) clearTimeout(this.backOff)
    this.backOff = null
    if (this.hedged) {
      this.forget(request)
      this.current?.abandon()
      this.abandonHedged()
    }
    this.current = request
    request.disarmPerTry()
  }

  /** The whole request so far must still be at hand. */
  private canRetry(): boolean {
    return !this.finished && (this.copy === null ? this.requestDone : !this.copy.dropped)
  }

  private retryLater(request: UpstreamRequest, timedOut = false): void {
    this.timedOut = timedOut
    request.abandon()
    this.current = null
    this.backOff = ownedTimeout(runBackOff, this.retry!.backOffMs(), this)
  }

  retryNow(): void {
    this.backOff = null
    const { cluster, headers, callbacks, forward, lb } = this
    if (this.finished || !cluster || !headers || !forward || !lb) return
    const policy = this.retry?.policy
    if (policy && this.tried) avoidTriedHosts(lb, policy, this.tried, this.attempts)
    const pool = choosePool(cluster, forward, headers, callbacks.streamInfo.protocol, lb, this.attempts)
    if (!pool) {
      this.retry?.release()
      this.answerNoHost()
      return
    }
    if (this.route!.virtualHost.includeRequestAttemptCount)
      headers.set('x-envoy-attempt-count', String(this.attempts + 1))
    if (this.route!.virtualHost.includeIsTimeoutRetryHeader)
      headers.set('x-envoy-is-timeout-retry', String(this.timedOut))
    announceTimeouts(headers, this.timeouts!, forward, this.requestDone ? now() - this.requestDoneAt : 0, {
      suppressEnvoyHeaders: this.shared.config.suppressEnvoyHeaders,
      grpc: this.grpc,
    })
    const { trailers } = this
    const chunks = this.copy?.chunks ?? NO_CHUNKS
    const bodyless = this.requestDone && chunks.length === 0 && !trailers
    callbacks.streamInfo.upstreamTransportFailureReason = ''
    this.attempt(pool, headers, bodyless)
    if (bodyless) return
    for (let i = 0; i < chunks.length; i++) {
      this.current?.encodeData(chunks[i]!, this.requestDone && !trailers && i === chunks.length - 1)
    }
    if (trailers) this.current?.encodeTrailers(trailers)
  }

  private redirectInternally(response: HeaderMap): boolean {
    const { cluster, callbacks, headers } = this
    const policy = this.forward!.internalRedirect!
    if (!this.requestDone || !headers || !policy.responseCodes.includes(response.status)) return false
    const { copy } = this
    const request = copy?.dropped
      ? null
      : tryInternalRedirect(headers, response, policy, callbacks, this.shared.passedRedirects)
    // A redirect that makes a GET of it leaves the body behind.
    if (request && copy && request.method === headers.method)
      for (const chunk of copy.chunks) if (chunk.length > 0) callbacks.addDecodedData(chunk)
    if (request) {
      callbacks.streamInfo.responseCode = response.status
      callbacks.streamInfo.responseCodeDetails = 'internal_redirect'
    }
    if (request && callbacks.recreateStream(request)) {
      cluster!.stats.internalRedirectSucceeded.inc()
      return true
    }
    if (request) callbacks.restoreRequest(headers)
    cluster!.stats.internalRedirectFailed.inc()
    return false
  }

  // ---- helpers

  private addResponseHeaders(response: HeaderMap): void {
    if (this.setCookies) for (const cookie of this.setCookies) response.add('set-cookie', cookie)
    if (this.route?.virtualHost.includeAttemptCountInResponse)
      response.set('x-envoy-attempt-count', String(Math.max(1, this.attempts)))
  }

  private isInternal(): boolean {
    return this.headers?.get('x-envoy-internal') === 'true'
  }

  private countResponse(status: number, headers: HeaderMap | null = null): void {
    const { cluster } = this
    if (!cluster || !this.shared.config.dynamicStats) return
    for (let i = 0; i < this.requestStats.length; i++) this.requestStats[i]!.countResponse(status)
    const canary = headers?.get('x-envoy-upstream-canary') === 'true' || (this.current?.host.canary ?? false)
    const { excluded, zone } = this
    const internal = this.isInternal()
    cluster.stats.responses.countResponse(status, internal, canary, zone, excluded)
    this.alternative?.countResponse(status, internal, canary, zone, excluded)
  }

  /** Not counted by status: gRPC, where that is wished. */
  private get excluded(): boolean {
    return this.grpc && this.shared.config.suppressGrpcFailureStats
  }

  private disarm(): void {
    if (this.global) this.globalQueue!.disarm(this.global)
    if (this.backOff) clearTimeout(this.backOff)
    this.backOff = null
  }

  pauseDownstream(pause: boolean): void {
    const { callbacks, cluster } = this
    if (pause) {
      cluster?.stats.flowControlBackedUp.inc()
      callbacks.onDecoderFilterAboveWriteBufferHighWatermark()
    } else {
      cluster?.stats.flowControlDrained.inc()
      callbacks.onDecoderFilterBelowWriteBufferLowWatermark()
    }
  }

  onAboveWriteBufferHighWatermark(): void {
    this.downstreamFull++
    this.cluster?.stats.flowControlPausedReading.inc()
    this.current?.readDisable(true)
  }

  onBelowWriteBufferLowWatermark(): void {
    if (this.downstreamFull === 0) return
    this.downstreamFull--
    this.cluster?.stats.flowControlResumedReading.inc()
    this.current?.readDisable(false)
  }
}

function runBackOff(filter: RouterFilter): void {
  filter.retryNow()
}
