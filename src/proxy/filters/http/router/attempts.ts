// The attempts of one request: the one that runs, those that are late but may still answer first, and the pause before
// the next. What is to be tried again is for RetryState to say.

import { ownedTimeout } from '../../../../base/fault-owner.ts'
import { StreamResetReason as Reset, type StreamResetReason } from '../../../http/codec.ts'
import type { RequestSpan } from '../../../http/connection-manager/tracing.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { httpScheme, schemeOf } from '../../../http/scheme.ts'
import { DetectedClose } from '../../../network/close.ts'
import type { HttpConnPool } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import { noteAttempt } from './attempt-facts.ts'
import { AttemptSpan } from './attempt-span.ts'
import { AttemptStats } from './attempt-stats.ts'
import { HedgedAttempts } from './hedged-attempts.ts'
import { avoidTriedHosts, choosePool } from './host-choice.ts'
import { RequestCopy } from './request-copy.ts'
import { RetryDecision, type RetryState } from './retry-state.ts'
import type { RoutedRequest } from './routed-request.ts'
import { announceTimeouts } from './timeouts.ts'
import { UpstreamRequest, type UpstreamRequestOwner } from './upstream-request.ts'

export interface AttemptsOwner extends UpstreamRequestOwner {
  /** The next attempt finds no host. */
  onNoPool(): void
}

const NO_CHUNKS: readonly Buffer[] = []

export class Attempts {
  private readonly routed: RoutedRequest
  private readonly owner: AttemptsOwner
  private retry: RetryState | null
  current: UpstreamRequest | null = null
  /** Those that are late (hedge_on_per_try_timeout). */
  private hedged: HedgedAttempts | null = null
  /** Where another attempt or an internal redirect may want the body. */
  readonly copy: RequestCopy | null
  count = 0
  /** Zone of the host of the last attempt. */
  zone = ''
  private backOff: NodeJS.Timeout | null = null
  /** The attempt before this one took too long. */
  private timedOut = false
  /** Hosts tried so far, for previous_hosts. */
  private tried: HostDescription[] | null = null

  constructor(routed: RoutedRequest, owner: AttemptsOwner, retry: RetryState | null, endStream: boolean) {
    this.routed = routed
    this.owner = owner
    this.retry = retry
    this.copy = (retry || routed.forward.internalRedirect) && !endStream ? new RequestCopy() : null
  }

  onFault(error: unknown): void {
    this.routed.callbacks.onFault(error)
  }

  // ---- the request

  start(pool: HttpConnPool, endStream: boolean): void {
    const { callbacks, cluster, headers, info, timeouts } = this.routed
    if (info.schemeMatchUpstream) headers.scheme = pool.host.secure ? 'https' : 'http'
    // Direct answers and logs of them keep what came (Envoy).
    else if (headers.scheme !== 'http' && headers.scheme !== 'https')
      headers.scheme =
        httpScheme(headers.scheme) || schemeOf(headers, callbacks.connection.info.transportProtocol === 'tls')
    this.count++
    this.zone = pool.host.locality.zone
    info.attemptCount = this.count
    info.upstreamCloseType = DetectedClose.Normal
    if (this.retry) {
      this.tried ??= []
      this.tried.push(pool.host)
    }
    const request = new UpstreamRequest(this.owner, pool, headers, endStream, timeouts)
    const filters = cluster.httpFilters ?? this.routed.shared.upstreamFilters
    if (filters.length > 0) request.addFilters(filters, callbacks)
    request.stats = AttemptStats.of(cluster, headers, timeouts.perTry)
    this.current = request
    if (info.span) this.trace(info.span, request, headers)
    info.upstreamHost = pool.host
    request.start()
  }

  /** Gives the attempt its span, and the upstream the trace context. */
  private trace(request: RequestSpan, attempt: UpstreamRequest, headers: HeaderMap): void {
    const { config } = request.settings
    const { routed } = this
    if (config.spawnUpstreamSpan || routed.shared.config.startChildSpan)
      attempt.trace = AttemptSpan.ofAttempt(request, routed.logContext(), routed.cluster, attempt.host, this.count - 1)
    if (!config.noContextPropagation) (attempt.trace?.span ?? request.span).inject(headers)
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    if (this.copy) this.keep(this.copy, chunk)
    this.current?.encodeData(chunk, endStream)
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.routed.trailers = trailers
    this.current?.encodeTrailers(trailers)
  }

  /** Keeps a copy for another attempt, up to the buffer limit; beyond it there will be none. */
  private keep(copy: RequestCopy, chunk: Buffer): void {
    const { callbacks, cluster, route } = this.routed
    const limit = route.maxRequestBufferBytes ?? (callbacks.bufferLimit || Number.POSITIVE_INFINITY)
    if (copy.dropped || copy.add(chunk, limit)) return
    cluster.stats.retryOrShadowAbandoned.inc()
    this.releaseRetry()
    this.retry = null
    if (this.current) return
    // Between two attempts there is no upstream to take it.
    callbacks.sendLocalReply(
      507,
      'exceeded request buffer limit while retrying upstream',
      null,
      null,
      'request_payload_exceeded_retry_buffer_limit',
    )
  }

  readDisable(disable: boolean): void {
    this.current?.readDisable(disable)
  }

  // ---- who may answer

  inFlight(request: UpstreamRequest): boolean {
    return request === this.current || (this.hedged?.includes(request) ?? false)
  }

  get late(): readonly UpstreamRequest[] {
    return this.hedged === null ? NOBODY : this.hedged.all
  }

  /** Besides `request` there is an attempt that has not answered, or will be one. */
  othersMayAnswer(request: UpstreamRequest): boolean {
    if (this.hedged === null) return false
    const { current } = this
    return this.backOff !== null || (current !== null && current !== request) || this.hedged.hasOther(request)
  }

  forget(request: UpstreamRequest): void {
    if (this.current === request) this.current = null
    else this.hedged?.forget(request)
  }

  giveUpOn(request: UpstreamRequest): void {
    this.forget(request)
    request.abandon()
  }

  /** This attempt's answer goes downstream: no retry follows, and whoever else was asked is let go. */
  settleOn(request: UpstreamRequest): void {
    this.releaseRetry()
    this.retry = null
    this.copy?.drop()
    this.stopBackOff()
    if (this.hedged) {
      this.forget(request)
      this.current?.abandon()
      this.abandonLate()
    }
    this.current = request
    request.disarmPerTry()
  }

  abandonAll(): void {
    if (this.current !== null) noteAttempt(this.routed.info, this.current)
    this.current?.abandon()
    this.current = null
    this.abandonLate()
  }

  private abandonLate(): void {
    const { hedged } = this
    this.hedged = null
    hedged?.abandon()
  }

  // ---- retries

  /** True when another attempt will follow one that was reset. */
  retryReset(request: UpstreamRequest, reason: StreamResetReason): boolean {
    return this.retryWithout(request, reason, request.sent, false)
  }

  /** True when another attempt will follow one that took too long. */
  retryLate(request: UpstreamRequest): boolean {
    return this.retryWithout(request, Reset.LocalReset, true, true)
  }

  private retryWithout(request: UpstreamRequest, reason: StreamResetReason, sent: boolean, timedOut: boolean): boolean {
    if (!this.retry || request.hedged) return false
    const decision = this.retry.onReset(reason, sent)
    if (decision === RetryDecision.Yes && this.canRetry()) {
      this.retryLater(request, timedOut)
      return true
    }
    this.noteDenied(decision)
    return false
  }

  /** What comes of an attempt's response as far as retries are concerned. */
  judge(headers: HeaderMap, request: UpstreamRequest): Judgement {
    const { retry } = this
    if (!retry) return Judgement.Welcome
    if (request.hedged) return retry.wouldRetry(headers) ? Judgement.Unwanted : Judgement.Welcome
    const decision = retry.onHeaders(headers)
    if (decision !== RetryDecision.Yes || !this.canRetry())
      return this.noteDenied(decision) ? Judgement.Unwanted : Judgement.Welcome
    const { routed } = this
    routed.cluster.stats.countRetried(headers.status, routed.excluded)
    noteAttempt(routed.info, request)
    this.retryLater(request, false)
    return Judgement.Retried
  }

  /** True when a retry was wanted and is not to be had. */
  private noteDenied(decision: RetryDecision): boolean {
    const { info } = this.routed
    if (decision === RetryDecision.NoLimitExceeded) info.setFlag('URX')
    else if (decision === RetryDecision.NoOverflow) info.setFlag('UO')
    else return false
    return true
  }

  /** A late attempt goes on; another one is started beside it, if there are any left. */
  hedge(request: UpstreamRequest): void {
    if (!this.retry || !this.canRetry()) return
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

  /** The whole request so far must still be at hand. */
  private canRetry(): boolean {
    const { routed, copy } = this
    return !routed.finished && (copy === null ? routed.done : !copy.dropped)
  }

  private retryLater(request: UpstreamRequest, timedOut: boolean): void {
    this.timedOut = timedOut
    request.abandon()
    this.current = null
    this.backOff = ownedTimeout(runBackOff, this.retry!.backOffMs(), this)
  }

  retryNow(): void {
    this.backOff = null
    const { routed } = this
    const { headers, info, forward, lb, route, shared, trailers } = routed
    if (routed.finished) return
    this.retry?.onBackOffEnd()
    const policy = this.retry?.policy
    if (policy && this.tried) avoidTriedHosts(lb, policy, this.tried)
    routed.rehash()
    // CDS may have replaced or removed it since.
    const cluster = shared.context.clusters.get(routed.cluster.name)
    const pool = cluster && choosePool(cluster, forward, headers, info.protocol, lb, this.count)
    if (!pool) {
      this.releaseRetry()
      this.owner.onNoPool()
      return
    }
    if (route.virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', String(this.count + 1))
    if (route.virtualHost.includeIsTimeoutRetryHeader) headers.set('x-envoy-is-timeout-retry', String(this.timedOut))
    announceTimeouts(headers, routed.timeouts, forward, routed.sinceDone, {
      suppressEnvoyHeaders: shared.config.suppressEnvoyHeaders,
      grpc: routed.grpc,
    })
    const chunks = this.copy?.chunks ?? NO_CHUNKS
    const bodyless = routed.done && chunks.length === 0 && !trailers
    info.upstreamTransportFailureReason = ''
    this.start(pool, bodyless)
    if (bodyless) return
    for (let i = 0; i < chunks.length; i++) {
      this.current?.encodeData(chunks[i]!, routed.done && !trailers && i === chunks.length - 1)
    }
    if (trailers) this.current?.encodeTrailers(trailers)
  }

  /** The retry in progress no longer counts. */
  releaseRetry(): void {
    this.retry?.release()
  }

  stopBackOff(): void {
    if (this.backOff) clearTimeout(this.backOff)
    this.backOff = null
  }
}

export const Judgement = { Welcome: 0, Unwanted: 1, Retried: 2 } as const
/** Welcome: goes downstream. Unwanted: goes downstream unless another attempt may answer. Retried: gone already. */
export type Judgement = (typeof Judgement)[keyof typeof Judgement]

const NOBODY: readonly UpstreamRequest[] = []

function runBackOff(attempts: Attempts): void {
  attempts.retryNow()
}
