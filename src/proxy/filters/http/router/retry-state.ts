// Whether and when to try again (envoy-contract §7.7). Decisions only: the filter does the trying.

import { decimal } from '../../../../base/decimal.ts'
import { ownValue } from '../../../../base/own-property.ts'
import type { RuntimeSnapshot } from '../../../config/extension.ts'
import { StreamResetReason as Reset, type StreamResetReason } from '../../../http/codec.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { parseRetryGrpcOn, parseRetryOn, RetryOn } from '../../../route/retry-on.ts'
import type { RetryPolicy } from '../../../route/retry-policy.ts'
import type { ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import { countAll, type RequestStats } from './route-stats.ts'

export const RetryDecision = { No: 0, Yes: 1, NoOverflow: 2, NoLimitExceeded: 3 } as const
export type RetryDecision = (typeof RetryDecision)[keyof typeof RetryDecision]

const DEFAULT_BASE_MS = 25

/** GRPC status → bit that retries it. */
const GRPC_BITS: Record<string, number> = {
  '1': RetryOn.GrpcCancelled,
  '4': RetryOn.GrpcDeadlineExceeded,
  '13': RetryOn.GrpcInternal,
  '8': RetryOn.GrpcResourceExhausted,
  '14': RetryOn.GrpcUnavailable,
}

/** null when neither the route nor the request asks for retries. Removes the retry headers from the request. */
export function createRetryState(
  headers: HeaderMap,
  policy: RetryPolicy | null,
  cluster: ThreadLocalCluster,
  priority: 'DEFAULT' | 'HIGH',
  requestStats: readonly RequestStats[],
  runtime: RuntimeSnapshot,
): RetryState | null {
  let retryOn = policy?.retryOn ?? 0
  const on = headers.get('x-envoy-retry-on')
  const grpcOn = headers.get('x-envoy-retry-grpc-on')
  if (on !== undefined) {
    retryOn |= parseRetryOn(on)
    headers.remove('x-envoy-retry-on')
  }
  if (grpcOn !== undefined) {
    retryOn |= parseRetryGrpcOn(grpcOn)
    headers.remove('x-envoy-retry-grpc-on')
  }
  const asked = decimal(headers.get('x-envoy-max-retries'))
  const codes = headers.get('x-envoy-retriable-status-codes')
  const names = headers.get('x-envoy-retriable-header-names')
  headers.remove('x-envoy-max-retries')
  if (codes !== undefined) headers.remove('x-envoy-retriable-status-codes')
  if (names !== undefined) headers.remove('x-envoy-retriable-header-names')
  if (retryOn === 0) return null
  if (policy?.retriableRequestHeaders && !policy.retriableRequestHeaders.some((match) => match(headers))) return null
  // Envoy keeps the lower half of a larger number.
  const retries = asked === null ? (policy?.numRetries ?? 1) : asked % 2 ** 32
  return new RetryState(retryOn, retries, policy, cluster, priority, requestStats, runtime, codes, names)
}

export class RetryState {
  readonly policy: RetryPolicy | null
  private readonly retryOn: number
  private readonly cluster: ThreadLocalCluster
  private readonly priority: 'DEFAULT' | 'HIGH'
  private readonly requestStats: readonly RequestStats[]
  private readonly runtime: RuntimeSnapshot
  private remaining: number
  private attempts = 0
  private held = false
  private readonly extraCodes: ReadonlySet<number> | null
  private readonly extraHeaders: readonly string[]
  private rateLimitedMs = -1

  constructor(
    retryOn: number,
    retries: number,
    policy: RetryPolicy | null,
    cluster: ThreadLocalCluster,
    priority: 'DEFAULT' | 'HIGH',
    requestStats: readonly RequestStats[],
    runtime: RuntimeSnapshot,
    codes: string | undefined,
    names: string | undefined,
  ) {
    this.retryOn = retryOn
    this.remaining = retries
    this.policy = policy
    this.cluster = cluster
    this.priority = priority
    this.requestStats = requestStats
    this.runtime = runtime
    this.extraCodes = codes === undefined ? null : new Set(codes.split(',').map((code) => decimal(code.trim()) ?? 0))
    this.extraHeaders = names === undefined ? [] : names.split(',').map((name) => name.trim().toLowerCase())
  }

  /** The response so far is thrown away when this says Yes. */
  onHeaders(headers: HeaderMap): RetryDecision {
    return this.decide(this.wouldRetry(headers))
  }

  /** Whether the response would be retried were there a retry for it: of an attempt that has its retry already. */
  wouldRetry(headers: HeaderMap): boolean {
    this.rateLimitedMs = -1
    return this.wantsRetryOf(headers)
  }

  /** hedge_on_per_try_timeout: an attempt that is late is always worth another one while there are any left. */
  onHedge(): RetryDecision {
    this.rateLimitedMs = -1
    return this.decide(true)
  }

  /** `sent`: the request's headers had left before the stream was reset. */
  onReset(reason: StreamResetReason, sent: boolean): RetryDecision {
    this.rateLimitedMs = -1
    return this.decide(this.wantsRetryAfter(reason, sent))
  }

  /** A response that needs no retry, or the end: the retry in progress no longer counts. */
  release(): void {
    if (!this.held) return
    this.held = false
    this.cluster.resources(this.priority).retries.dec()
  }

  /** The back-off is over, the next attempt begins: only now it counts (Envoy). */
  onBackOffEnd(): void {
    const { stats } = this.cluster
    stats.rqRetry.inc()
    countAll(this.requestStats, 'retry')
    ;(this.rateLimitedMs >= 0 ? stats.rqRetryBackoffRatelimited : stats.rqRetryBackoffExponential).inc()
  }

  /** Milliseconds until the next attempt, jittered. */
  backOffMs(): number {
    if (this.rateLimitedMs >= 0) return this.rateLimitedMs + Math.random() * this.rateLimitedMs * 0.5
    const base = this.policy?.backOff?.baseMs ?? this.runtime.number('upstream.base_retry_backoff_ms', DEFAULT_BASE_MS)
    const max = this.policy?.backOff?.maxMs ?? base * 10
    return Math.random() * Math.min((2 ** this.attempts - 1) * base, max)
  }

  private decide(wanted: boolean): RetryDecision {
    const { stats } = this.cluster
    // A retry was made, and its outcome asks for no further one.
    if (this.held && !wanted) {
      stats.rqRetrySuccess.inc()
      countAll(this.requestStats, 'retrySuccess')
    }
    if (!wanted) {
      this.release()
      return RetryDecision.No
    }
    if (this.remaining === 0) {
      stats.rqRetryLimitExceeded.inc()
      countAll(this.requestStats, 'retryLimitExceeded')
      return RetryDecision.NoLimitExceeded
    }
    this.release()
    this.remaining--
    const resources = this.cluster.resources(this.priority)
    if (!resources.canRetry()) {
      stats.rqRetryOverflow.inc()
      countAll(this.requestStats, 'retryOverflow')
      return RetryDecision.NoOverflow
    }
    const share = this.runtime.number('upstream.use_retry', 100)
    if (share < 100 && Math.random() * 100 >= share) return RetryDecision.No
    resources.retries.inc()
    this.held = true
    this.attempts++
    return RetryDecision.Yes
  }

  private wantsRetryOf(headers: HeaderMap): boolean {
    const { retryOn, policy } = this
    const { status } = headers
    if (headers.has('x-envoy-ratelimited')) {
      if ((retryOn & RetryOn.EnvoyRateLimited) === 0) return false
      this.noteReset(headers)
      return true
    }
    let wanted = false
    if (status >= 500 && (retryOn & RetryOn.FiveXx) !== 0) wanted = true
    else if ((status === 502 || status === 503 || status === 504) && (retryOn & RetryOn.GatewayError) !== 0)
      wanted = true
    else if (status === 409 && (retryOn & RetryOn.Retriable4xx) !== 0) wanted = true
    else if (
      (retryOn & RetryOn.RetriableStatusCodes) !== 0 &&
      (policy?.retriableStatusCodes.has(status) || this.extraCodes?.has(status))
    )
      wanted = true
    else if ((retryOn & RetryOn.RetriableHeaders) !== 0 && this.hasRetriableHeader(headers)) wanted = true
    else {
      const grpc = headers.get('grpc-status')
      wanted = grpc !== undefined && (retryOn & (ownValue(GRPC_BITS, grpc) ?? 0)) !== 0
    }
    if (wanted) this.noteReset(headers)
    return wanted
  }

  private hasRetriableHeader(headers: HeaderMap): boolean {
    return (
      (this.policy?.retriableHeaders.some((match) => match(headers)) ?? false) ||
      this.extraHeaders.some((name) => headers.has(name))
    )
  }

  /** rate_limited_retry_back_off: the response says when to come back. */
  private noteReset(headers: HeaderMap): void {
    const limited = this.policy?.rateLimitedBackOff
    if (!limited) return
    for (const { name, format } of limited.resetHeaders) {
      const value = decimal(headers.get(name))
      if (value === null) continue
      const seconds = format === 'SECONDS' ? value : value - Math.floor(Date.now() / 1000)
      const ms = seconds * 1000
      if (ms < 0 || ms > limited.maxMs) continue
      // At once is no time to wait for: the usual back-off then.
      if (ms > 1) this.rateLimitedMs = ms
      return
    }
  }

  private wantsRetryAfter(reason: StreamResetReason, sent: boolean): boolean {
    const { retryOn } = this
    if (reason === Reset.Overflow) return false
    if ((retryOn & RetryOn.Reset) !== 0) return true
    if ((retryOn & RetryOn.ResetBeforeRequest) !== 0 && !sent) return true
    if ((retryOn & (RetryOn.FiveXx | RetryOn.GatewayError)) !== 0) return true
    if ((retryOn & RetryOn.RefusedStream) !== 0 && reason === Reset.RemoteRefusedStreamReset) return true
    const connect =
      reason === Reset.LocalConnectionFailure ||
      reason === Reset.RemoteConnectionFailure ||
      reason === Reset.ConnectionTimeout
    return (retryOn & RetryOn.ConnectFailure) !== 0 && connect
  }
}
