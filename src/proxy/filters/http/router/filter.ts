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
import { localAddress } from '../../../http/connection-manager/remote-address.ts'
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
import { DetectedClose } from '../../../network/close.ts'
import type { Connection } from '../../../network/connection.ts'
import type { AccessLog, LogContext } from '../../../observe/access-log.ts'
import type { Counter } from '../../../observe/stats.ts'
import { updateAuthority } from '../../../route/rewrite.ts'
import type { ForwardAction, Route } from '../../../route/route.ts'
import { now } from '../../../stream-info.ts'
import type { HttpConnPool, LoadBalancerContext, ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import { OVERRIDE_HOST_KEY, type OverrideHost } from '../../../upstream/override-host.ts'
import { percentOf } from '../../../upstream/tracked-stats.ts'
import { AttemptSpan } from './attempt-span.ts'
import { AttemptStats } from './attempt-stats.ts'
import type { RouterConfig } from './config.ts'
import { failureOf, resetBody, resetDetails } from './failure.ts'
import { grpcToHttp } from './grpc-status.ts'
import { type PassedRedirects, passedRedirects, tryInternalRedirect } from './internal-redirect.ts'
import { loadBalancerContext } from './load-balancer-context.ts'
import { startMirror } from './mirror.ts'
import { createRetryState, RetryDecision, type RetryState } from './retry-state.ts'
import { countAll, type RequestStats, RouteStats } from './route-stats.ts'
import { failedStrictHeader } from './strict-headers.ts'
import { isTunnel, TcpTunnelPool } from './tcp-tunnel.ts'
import { announceTimeouts, settleTimeouts, type Timeouts } from './timeouts.ts'
import { UpstreamRequest, type UpstreamRequestOwner } from './upstream-request.ts'

/** Filter state under which other filters leave wishes for the upstream connection. */
export const UPSTREAM_ALPN_KEY = 'envoy.network.application_protocols'
const UPSTREAM_SNI_KEY = 'envoy.network.upstream_server_name'

/** What all streams of one configured router share. */
interface Shared {
  readonly config: RouterConfig
  readonly context: WorkerContext
  readonly upstreamLogs: readonly AccessLog[]
  readonly noRoute: Counter
  readonly noCluster: Counter
  readonly rqDirectResponse: Counter
  readonly rqTotal: Counter
  readonly resetAfterStart: Counter
  readonly passedRedirects: PassedRedirects
  /** In x-forwarded-for of requests of the proxy's own. */
  readonly ownAddress: string
  readonly routeStats: RouteStats
}

export function createRouter(config: RouterConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const scope = context.stats.scope(`http.${statPrefix}`)
  // Envoy has the name and counts nothing in it: redirects are direct responses.
  scope.counter('rq_redirect')
  const shared: Shared = {
    config,
    context,
    upstreamLogs: config.upstreamLogs.map((log) => context.createAccessLog(log)),
    noRoute: scope.counter('no_route'),
    noCluster: scope.counter('no_cluster'),
    rqDirectResponse: scope.counter('rq_direct_response'),
    rqTotal: scope.counter('rq_total'),
    passedRedirects: passedRedirects(scope),
    ownAddress: localAddress(),
    resetAfterStart: scope.counter('rq_reset_after_downstream_response_started'),
    routeStats: new RouteStats(context.stats),
  }
  return (callbacks) => callbacks.addStreamDecoderFilter(new RouterFilter(shared))
}

const NO_STATS: readonly RequestStats[] = []

class RouterFilter implements StreamDecoderFilter, UpstreamRequestOwner, DownstreamWatermarkCallbacks, TimeoutEntry {
  private readonly shared: Shared
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
  private hedged: UpstreamRequest[] | null = null
  private requestStats: readonly RequestStats[] = NO_STATS
  private mirrors: UpstreamRequest[] | null = null
  /** The request's body, kept for another attempt or an internal redirect; null = not kept. */
  private kept: Buffer[] | null = null
  private keptBytes = 0
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

  constructor(shared: Shared) {
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
      this.answerDirectly(route, headers)
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
    const clusterName = route.clusterName(headers)
    const cluster = shared.context.clusters.get(clusterName)
    if (!cluster) {
      shared.noCluster.inc()
      info.setFlag('NC')
      callbacks.sendLocalReply(forward.clusterNotFoundStatus, '', null, null, 'cluster_not_found')
      return FilterHeadersStatus.StopIteration
    }
    this.cluster = cluster
    info.virtualClusterName = route.virtualClusterName(headers)
    this.requestStats = shared.routeStats.of(route, info.virtualClusterName)
    if (config.strictCheckHeaders.length > 0) {
      const bad = failedStrictHeader(headers, config.strictCheckHeaders)
      if (bad) {
        info.setFlag('IH')
        callbacks.sendLocalReply(
          400,
          `invalid header '${bad}' with value '${headers.get(bad)}'`,
          null,
          null,
          `request_headers_failed_strict_check{${bad}}`,
        )
        return FilterHeadersStatus.StopIteration
      }
    }
    if (this.refusedByOverload(cluster)) return FilterHeadersStatus.StopIteration
    const pool = this.choosePool(cluster, headers)
    if (!pool) {
      this.answerNoHost()
      return FilterHeadersStatus.StopIteration
    }
    const tunnel = headers.method === 'CONNECT' || headers.has('upgrade')
    this.timeouts = settleTimeouts(headers, forward, {
      suppressEnvoyHeaders: config.suppressEnvoyHeaders,
      respectExpectedTimeout: config.respectExpectedTimeout,
      grpc: this.grpc,
      tunnel,
    })
    if (this.timeouts.maxStreamDuration === 0)
      this.timeouts.maxStreamDuration = cluster.data.http.common.maxStreamDurationMs
    if (route.virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', '1')
    route.finalizeRequestHeaders(headers, info, !config.suppressEnvoyHeaders)
    if (forward.autoHostRewrite && pool.host.hostname !== '')
      updateAuthority(headers, pool.host.hostname, forward.appendXForwardedHost, !config.suppressEnvoyHeaders)
    this.retry = tunnel
      ? null
      : createRetryState(headers, forward.retryPolicy, cluster, forward.priority, this.requestStats)
    if ((this.retry || forward.internalRedirect) && !endStream) this.kept = []
    if (forward.mirrors.length > 0 && headers.method !== 'CONNECT') this.startMirrors(headers, endStream)
    callbacks.setDownstreamWatermarkCallbacks(this)
    if (endStream) this.onRequestComplete()
    this.attempt(pool, headers, endStream)
    return FilterHeadersStatus.StopIteration
  }

  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.kept) this.keep(chunk)
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
    if (this.current !== null) this.noteAttempt(this.current)
    this.current?.abandon()
    this.current = null
    this.abandonHedged()
    this.retry?.release()
  }

  onFault(error: unknown): void {
    this.callbacks.onFault(error)
  }

  // ---- choices

  private choosePool(cluster: ThreadLocalCluster, headers: HeaderMap): HttpConnPool | null {
    const { callbacks } = this
    const forward = this.forward!
    const info = callbacks.streamInfo
    let lb = this.lb
    if (!lb) {
      lb = loadBalancerContext()
      this.lb = lb
      lb.downstream = info.downstream
      lb.downstreamState = info.filterState
      lb.dynamicMetadata = info.dynamicMetadata
      lb.headers = headers
      lb.metadataMatch = forward.metadataMatch
      if (forward.hashPolicy) lb.hash = forward.hashPolicy.hash(headers, info, this)
      lb.alpnOverride = (info.filterState.get(UPSTREAM_ALPN_KEY) as readonly string[] | undefined) ?? null
      lb.sniOverride = (info.filterState.get(UPSTREAM_SNI_KEY) as string | undefined) ?? null
      lb.overrideHost = (info.filterState.get(OVERRIDE_HOST_KEY) as OverrideHost | undefined) ?? null
    }
    // A retry may go anywhere.
    if (this.attempts > 0) lb.overrideHost = null
    lb.attempt = this.attempts
    if (forward.connectTerminates && isTunnel(headers, forward.connectTerminates.allowPost)) {
      const tcpPool = cluster.tcpPool(forward.priority, lb)
      return tcpPool && new TcpTunnelPool(tcpPool)
    }
    return cluster.httpPool(forward.priority, info.protocol, lb)
  }

  /** A hash policy made a cookie. */
  addSetCookie(cookie: string): void {
    this.setCookies ??= []
    this.setCookies.push(cookie)
  }

  /** After the first attempt: hosts tried before are passed over where the policy says so. */
  private avoidTriedHosts(): void {
    const policy = this.retry?.policy
    const { lb } = this
    if (!policy || !lb) return
    this.avoidTriedPriorities(policy.previousPrioritiesFrequency, lb)
    if (policy.hostPredicates.length === 0) return
    lb.hostSelectionRetryCount = policy.hostSelectionMaxAttempts
    lb.shouldSelectAnotherHost = (host) =>
      policy.hostPredicates.some((predicate) => {
        if (predicate.kind === 'previous_hosts')
          return this.tried?.some((other) => other.address.text === host.address.text) ?? false
        if (predicate.kind === 'omit_canary_hosts') return host.canary
        const labels = host.metadata['envoy.lb'] ?? {}
        return Object.entries(predicate.metadata).every(([key, value]) => labels[key] === value)
      })
  }

  /** previous_priorities: after so many attempts the priorities tried until then are left alone. */
  private avoidTriedPriorities(frequency: number, lb: LoadBalancerContext): void {
    if (frequency === 0 || this.tried === null || this.attempts % frequency !== 0) return
    lb.excludedPriorities = new Set(this.tried.map((host) => host.priority))
  }

  private attempt(pool: HttpConnPool, headers: HeaderMap, endStream: boolean): void {
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

  private refusedByOverload(cluster: ThreadLocalCluster): boolean {
    const { callbacks, shared } = this
    const info = callbacks.streamInfo
    const maintenance = shared.context.runtime.fraction(cluster.maintenanceKey, 0)
    if (maintenance > 0 && info.random % 1_000_000 < maintenance) {
      cluster.stats.rqMaintenanceMode.inc()
      info.setFlag('UO')
      callbacks.sendLocalReply(
        503,
        'maintenance mode',
        (h) => h.set('x-envoy-overloaded', 'true'),
        null,
        'maintenance_mode',
      )
      return true
    }
    if (cluster.dropMillionths > 0 && info.random % 1_000_000 < cluster.dropMillionths) {
      const always = cluster.dropMillionths >= 1_000_000
      info.setFlag(always ? 'UDO' : 'DO')
      const header = always ? 'x-envoy-unconditional-drop-overload' : 'x-envoy-drop-overload'
      callbacks.sendLocalReply(
        503,
        'drop overload',
        (h) => h.set(header, 'true'),
        null,
        always ? 'unconditional_drop_overload' : 'drop_overload',
      )
      return true
    }
    return false
  }

  private startMirrors(headers: HeaderMap, endStream: boolean): void {
    const { callbacks } = this
    const info = callbacks.streamInfo
    for (const mirror of this.forward!.mirrors) {
      if (!mirror.selects(info.random)) continue
      const request = startMirror(
        mirror,
        headers,
        endStream,
        this.shared.context.clusters,
        info,
        this.timeouts!.global,
        this.shared.ownAddress,
        info.span && { request: info.span, context: this.logContext() },
      )
      if (!request) continue
      this.mirrors ??= []
      this.mirrors.push(request)
    }
  }

  /** Keeps a copy for another attempt, up to the buffer limit; beyond it there will be none. */
  private keep(chunk: Buffer): void {
    this.keptBytes += chunk.length
    const limit = this.route?.maxRequestBufferBytes ?? this.callbacks.bufferLimit
    if (this.keptBytes <= limit) {
      if (chunk.length > 0) this.kept!.push(Buffer.from(chunk))
      return
    }
    this.kept = null
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

  private answerDirectly(route: Route, headers: HeaderMap): void {
    const { shared, callbacks } = this
    const direct = route.direct!
    const info = callbacks.streamInfo
    // Redirects too: Envoy leaves rq_redirect at zero.
    shared.rqDirectResponse.inc()
    info.responseCode = direct.status
    const location = direct.location(headers, !shared.config.suppressEnvoyHeaders)
    callbacks.sendLocalReply(
      direct.status,
      direct.body,
      (response) => {
        if (location !== '') response.set('location', location)
        route.finalizeResponseHeaders(response, info, headers)
      },
      null,
      'direct_response',
    )
  }

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
    info.upstreamProtocol = protocol
    info.upstreamLocalAddress = connection.info.localAddress.text
    info.upstreamRemoteAddress = connection.info.remoteAddress.text
    info.upstreamConnectionId = connection.id
    if (info.connectionIdsAttempted === null) info.connectionIdsAttempted = [connection.id]
    else if (info.connectionIdsAttempted.at(-1) !== connection.id) info.connectionIdsAttempted.push(connection.id)
    info.upstreamConnection = connection.info
    info.upstreamFilterState = connection.info.filterState ?? null
    if (this.attempts > 1) request.continueBytes(info)
    info.upstreamConnectStart = connection.info.connectStart ?? 0
    info.upstreamConnectEnd = connection.info.connectEnd ?? 0
    info.upstreamHandshakeEnd = connection.info.handshakeEnd ?? 0
    countAll(this.requestStats, 'total')
    this.noteHost(request.host)
    for (let i = 0; i < this.downstreamFull; i++) request.readDisable(true)
  }

  onNoHost(details: string, request: UpstreamRequest): void {
    if (this.finished || request !== this.current) return
    this.current = null
    this.callbacks.streamInfo.upstreamHost = null
    this.retry?.release()
    this.answerNoHost(details)
  }

  /** As in Envoy a host counts as attempted once there is a connection to it. */
  private noteHost(host: HostDescription): void {
    const info = this.callbacks.streamInfo
    info.upstreamHost = host
    if (info.hostsAttempted === null) info.hostsAttempted = [host]
    else if (info.hostsAttempted.at(-1) !== host) info.hostsAttempted.push(host)
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
        cluster.stats.countRetried(status)
        this.noteAttempt(request)
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
    this.noteAttempt(request)
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
    this.noteAttempt(request)
    this.disarm()
    const { cluster } = this
    if (cluster && this.requestDone)
      cluster.stats.budgets?.used.record(percentOf(info.lastUpstreamRxByte - this.requestDoneAt, this.timeouts!.global))
    if (cluster && this.shared.config.dynamicStats && this.requestDone) {
      const ms = info.lastUpstreamRxByte - this.requestDoneAt
      cluster.stats.recordTime(ms, this.isInternal(), request.host.canary, request.host.locality.zone)
      for (let i = 0; i < this.requestStats.length; i++) this.requestStats[i]!.recordTime(ms)
    }
    this.logUpstream()
    // A response that ends before the request leaves an upstream that still reads it: the stream is reset on destroy.
    if (this.requestDone) this.current = null
  }

  /** Logs tell of the last attempt, however it ended. */
  private noteAttempt(request: UpstreamRequest): void {
    const info = this.callbacks.streamInfo
    info.upstreamPoolReadyMs = request.poolReadyMs
    info.firstUpstreamTxByte = request.firstTxAt
    info.lastUpstreamTxByte = request.lastTxAt
    info.firstUpstreamRxByte = request.firstRxAt
    const { stream } = request
    if (stream === null) return
    info.upstreamHeaderBytes = stream.headerBytes
    info.upstreamWireBytesReceived = request.receivedBefore + stream.wireBytesReceived
    info.upstreamWireBytesSent = request.sentBefore + stream.wireBytesSent
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
    this.noteAttempt(request)
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
      this.shared.resetAfterStart.inc()
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
    if (this.hedged) for (const request of this.hedged) this.noteGlobalTimeout(request, status)
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
    if (this.current !== null) this.noteAttempt(this.current)
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
    request.hedged = true
    this.hedged ??= []
    this.hedged.push(request)
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
    return (
      this.backOff !== null ||
      (current !== null && current !== request) ||
      this.hedged.some((other) => other !== request)
    )
  }

  private forget(request: UpstreamRequest): void {
    if (this.current === request) this.current = null
    else if (this.hedged) this.hedged = this.hedged.filter((other) => other !== request)
  }

  private giveUpOn(request: UpstreamRequest): void {
    this.forget(request)
    request.abandon()
  }

  private abandonHedged(): void {
    if (!this.hedged) return
    const list = this.hedged
    this.hedged = null
    for (const request of list) request.abandon()
  }

  /** This attempt's answer goes downstream: no retry follows, and whoever else was asked is let go. */
  private settleOn(request: UpstreamRequest): void {
    this.retry?.release()
    this.retry = null
    this.kept = null
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
    return !this.finished && (this.kept !== null || (this.requestDone && this.keptBytes === 0))
  }

  private retryLater(request: UpstreamRequest, timedOut = false): void {
    this.timedOut = timedOut
    request.abandon()
    this.current = null
    this.backOff = ownedTimeout(runBackOff, this.retry!.backOffMs(), this)
  }

  retryNow(): void {
    this.backOff = null
    const { cluster, headers, callbacks } = this
    if (this.finished || !cluster || !headers) return
    this.avoidTriedHosts()
    const pool = this.choosePool(cluster, headers)
    if (!pool) {
      this.retry?.release()
      this.answerNoHost()
      return
    }
    if (this.route!.virtualHost.includeRequestAttemptCount)
      headers.set('x-envoy-attempt-count', String(this.attempts + 1))
    if (this.route!.virtualHost.includeIsTimeoutRetryHeader)
      headers.set('x-envoy-is-timeout-retry', String(this.timedOut))
    announceTimeouts(headers, this.timeouts!, this.forward!, this.requestDone ? now() - this.requestDoneAt : 0, {
      suppressEnvoyHeaders: this.shared.config.suppressEnvoyHeaders,
      grpc: this.grpc,
    })
    const { kept, trailers } = this
    const bodyless = this.requestDone && (kept === null || kept.length === 0) && !trailers
    callbacks.streamInfo.upstreamTransportFailureReason = ''
    this.attempt(pool, headers, bodyless)
    if (bodyless) return
    const chunks = kept ?? []
    for (let i = 0; i < chunks.length; i++) {
      this.current?.encodeData(chunks[i]!, this.requestDone && !trailers && i === chunks.length - 1)
    }
    if (trailers) this.current?.encodeTrailers(trailers)
  }

  private redirectInternally(response: HeaderMap): boolean {
    const { cluster, callbacks, headers } = this
    const policy = this.forward!.internalRedirect!
    if (!this.requestDone || !headers || !policy.responseCodes.includes(response.status)) return false
    const overflowed = this.kept === null && this.keptBytes > 0
    const request = overflowed
      ? null
      : tryInternalRedirect(headers, response, policy, callbacks, this.shared.passedRedirects)
    // A redirect that makes a GET of it leaves the body behind.
    if (request && this.kept && request.method === headers.method)
      for (const chunk of this.kept) callbacks.addDecodedData(chunk)
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
      response.set('x-envoy-attempt-count', String(this.attempts))
  }

  private isInternal(): boolean {
    return this.headers?.get('x-envoy-internal') === 'true'
  }

  private countResponse(status: number, headers: HeaderMap | null = null): void {
    const { cluster } = this
    if (!cluster || !this.shared.config.dynamicStats) return
    for (let i = 0; i < this.requestStats.length; i++) this.requestStats[i]!.countResponse(status)
    const grpc = this.grpc && !this.shared.config.suppressGrpcFailureStats ? headers?.get('grpc-status') : undefined
    const canary = headers?.get('x-envoy-upstream-canary') === 'true' || (this.current?.host.canary ?? false)
    cluster.stats.countResponse(grpc === undefined ? status : grpcToHttp(grpc), this.isInternal(), canary, this.zone)
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
