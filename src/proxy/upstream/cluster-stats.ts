// `cluster.<name>.*` (envoy-contract §12.4), resolved once so that counting is a field access.

import { Http1Stats } from '../http/h1/stats.ts'
import { Http2Stats } from '../http/h2/stats.ts'
import type { Counter, Gauge, Histogram, Scope } from '../observe/stats.ts'
import type { TrackedStatsData } from './config.ts'
import { CodeCounters, ResponseStats } from './response-stats.ts'
import { type BudgetStats, createBudgetStats, createSizeStats, type SizeStats } from './tracked-stats.ts'

export class ClusterStats {
  readonly scope: Scope
  /** Of all clusters: requests of the proxy's own. */
  readonly ownRqTotal: Counter
  readonly cxTotal: Counter
  readonly cxHttp1Total: Counter
  readonly cxHttp2Total: Counter
  readonly cxActive: Gauge
  readonly cxConnectFail: Counter
  readonly cxConnectTimeout: Counter
  readonly cxIdleTimeout: Counter
  readonly cxMaxDurationReached: Counter
  readonly cxConnectAttemptsExceeded: Counter
  readonly cxOverflow: Counter
  readonly cxPoolOverflow: Counter
  readonly cxConnectMs: Histogram
  readonly cxLengthMs: Histogram
  readonly cxDestroy: Counter
  readonly cxDestroyLocal: Counter
  readonly cxDestroyRemote: Counter
  readonly cxDestroyWithActiveRq: Counter
  readonly cxDestroyLocalWithActiveRq: Counter
  readonly cxDestroyRemoteWithActiveRq: Counter
  readonly cxCloseNotify: Counter
  readonly cxRxBytesBuffered: Gauge
  readonly cxTxBytesBuffered: Gauge
  readonly cxRxBytesTotal: Counter
  readonly cxTxBytesTotal: Counter
  readonly cxProtocolError: Counter
  readonly cxMaxRequests: Counter
  readonly cxNoneHealthy: Counter
  readonly rqTotal: Counter
  readonly rqActive: Gauge
  readonly rqPendingTotal: Counter
  readonly rqPendingOverflow: Counter
  readonly rqPendingFailureEject: Counter
  readonly rqPendingActive: Gauge
  readonly rqActiveOverflow: Counter
  readonly rqCancelled: Counter
  readonly rqMaintenanceMode: Counter
  readonly rqTimeout: Counter
  readonly rqMaxDurationReached: Counter
  readonly rqPerTryTimeout: Counter
  readonly rqPerTryIdleTimeout: Counter
  readonly rqRxReset: Counter
  readonly rqTxReset: Counter
  /** Stays 0: a request is over for us when its response is, before such a reset is read; Envoy counts none either. */
  readonly rqRxResetNoError: Counter
  readonly rqPerCx: Histogram
  readonly rqRetry: Counter
  readonly rqRetryBackoffExponential: Counter
  readonly rqRetryBackoffRatelimited: Counter
  readonly rqRetryLimitExceeded: Counter
  readonly rqRetrySuccess: Counter
  readonly rqRetryOverflow: Counter
  readonly retryOrShadowAbandoned: Counter
  readonly internalRedirectFailed: Counter
  readonly internalRedirectSucceeded: Counter
  readonly flowControlPausedReading: Counter
  readonly flowControlResumedReading: Counter
  readonly flowControlBackedUp: Counter
  readonly flowControlDrained: Counter
  readonly membershipChange: Counter
  readonly membershipTotal: Gauge
  readonly membershipHealthy: Gauge
  readonly membershipDegraded: Gauge
  readonly membershipExcluded: Gauge
  readonly maxHostWeight: Gauge
  readonly bindErrors: Counter
  readonly originalDstHostInvalid: Counter
  readonly updateAttempt: Counter
  readonly updateSuccess: Counter
  readonly updateFailure: Counter
  readonly updateNoRebuild: Counter
  readonly updateEmpty: Counter
  readonly lbHealthyPanic: Counter
  readonly lbRecalculateZoneStructures: Counter
  readonly lbZoneClusterTooSmall: Counter
  readonly lbLocalClusterNotOk: Counter
  readonly lbZoneNoCapacityLeft: Counter
  readonly lbZoneRoutingAllDirectly: Counter
  readonly lbZoneRoutingSampled: Counter
  readonly lbZoneRoutingCrossZone: Counter
  readonly lbSubsetsActive: Gauge
  readonly lbSubsetsCreated: Counter
  readonly lbSubsetsRemoved: Counter
  readonly lbSubsetsSelected: Counter
  readonly lbSubsetsFallback: Counter
  readonly lbSubsetsFallbackPanic: Counter
  /** Responses that went downstream. */
  readonly responses: ResponseStats
  private readonly retriedCodes: CodeCounters
  /** By name. */
  private readonly alternatives = new Map<string, ResponseStats>()
  private readonly localZone: string
  private http1Stats: Http1Stats | null = null
  private http2Stats: Http2Stats | null = null

  /** null = not asked for. */
  readonly sizes: SizeStats | null
  readonly budgets: BudgetStats | null

  /**
   * `localZone`: of this proxy, '' = unknown. `once`: for what happens once in a process although every worker takes part;
   * `scope` in the worker that counts it, a scope that nobody sees in the others.
   */
  constructor(scope: Scope, tracked: TrackedStatsData, localZone: string, once: Scope, ownRqTotal: Counter) {
    this.scope = scope
    this.ownRqTotal = ownRqTotal
    this.localZone = localZone
    this.sizes = tracked.sizes ? createSizeStats(scope) : null
    this.budgets = tracked.timeoutBudgets ? createBudgetStats(scope) : null
    this.cxTotal = scope.counter('upstream_cx_total')
    this.cxHttp1Total = scope.counter('upstream_cx_http1_total')
    this.cxHttp2Total = scope.counter('upstream_cx_http2_total')
    this.cxActive = scope.gauge('upstream_cx_active')
    this.cxConnectFail = scope.counter('upstream_cx_connect_fail')
    this.cxConnectTimeout = scope.counter('upstream_cx_connect_timeout')
    this.cxIdleTimeout = scope.counter('upstream_cx_idle_timeout')
    this.cxMaxDurationReached = scope.counter('upstream_cx_max_duration_reached')
    this.cxConnectAttemptsExceeded = scope.counter('upstream_cx_connect_attempts_exceeded')
    this.cxOverflow = scope.counter('upstream_cx_overflow')
    this.cxPoolOverflow = scope.counter('upstream_cx_pool_overflow')
    this.cxConnectMs = scope.histogram('upstream_cx_connect_ms', 'ms')
    this.cxLengthMs = scope.histogram('upstream_cx_length_ms', 'ms')
    this.cxDestroy = scope.counter('upstream_cx_destroy')
    this.cxDestroyLocal = scope.counter('upstream_cx_destroy_local')
    this.cxDestroyRemote = scope.counter('upstream_cx_destroy_remote')
    this.cxDestroyWithActiveRq = scope.counter('upstream_cx_destroy_with_active_rq')
    this.cxDestroyLocalWithActiveRq = scope.counter('upstream_cx_destroy_local_with_active_rq')
    this.cxDestroyRemoteWithActiveRq = scope.counter('upstream_cx_destroy_remote_with_active_rq')
    this.cxCloseNotify = scope.counter('upstream_cx_close_notify')
    this.cxRxBytesBuffered = scope.gauge('upstream_cx_rx_bytes_buffered')
    this.cxTxBytesBuffered = scope.gauge('upstream_cx_tx_bytes_buffered')
    this.cxRxBytesTotal = scope.counter('upstream_cx_rx_bytes_total')
    this.cxTxBytesTotal = scope.counter('upstream_cx_tx_bytes_total')
    this.cxProtocolError = scope.counter('upstream_cx_protocol_error')
    this.cxMaxRequests = scope.counter('upstream_cx_max_requests')
    this.cxNoneHealthy = scope.counter('upstream_cx_none_healthy')
    this.rqTotal = scope.counter('upstream_rq_total')
    this.rqActive = scope.gauge('upstream_rq_active')
    this.rqPendingTotal = scope.counter('upstream_rq_pending_total')
    this.rqPendingOverflow = scope.counter('upstream_rq_pending_overflow')
    this.rqPendingFailureEject = scope.counter('upstream_rq_pending_failure_eject')
    this.rqPendingActive = scope.gauge('upstream_rq_pending_active')
    this.rqActiveOverflow = scope.counter('upstream_rq_active_overflow')
    this.rqCancelled = scope.counter('upstream_rq_cancelled')
    this.rqMaintenanceMode = scope.counter('upstream_rq_maintenance_mode')
    this.rqTimeout = scope.counter('upstream_rq_timeout')
    this.rqMaxDurationReached = scope.counter('upstream_rq_max_duration_reached')
    this.rqPerTryTimeout = scope.counter('upstream_rq_per_try_timeout')
    this.rqPerTryIdleTimeout = scope.counter('upstream_rq_per_try_idle_timeout')
    this.rqRxReset = scope.counter('upstream_rq_rx_reset')
    this.rqTxReset = scope.counter('upstream_rq_tx_reset')
    this.rqRxResetNoError = scope.counter('upstream_rq_rx_reset_no_error')
    this.rqPerCx = scope.histogram('upstream_rq_per_cx', 'unspecified')
    this.rqRetry = scope.counter('upstream_rq_retry')
    this.rqRetryBackoffExponential = scope.counter('upstream_rq_retry_backoff_exponential')
    this.rqRetryBackoffRatelimited = scope.counter('upstream_rq_retry_backoff_ratelimited')
    this.rqRetryLimitExceeded = scope.counter('upstream_rq_retry_limit_exceeded')
    this.rqRetrySuccess = scope.counter('upstream_rq_retry_success')
    this.rqRetryOverflow = scope.counter('upstream_rq_retry_overflow')
    this.retryOrShadowAbandoned = scope.counter('retry_or_shadow_abandoned')
    this.internalRedirectFailed = scope.counter('upstream_internal_redirect_failed_total')
    this.internalRedirectSucceeded = scope.counter('upstream_internal_redirect_succeeded_total')
    this.flowControlPausedReading = scope.counter('upstream_flow_control_paused_reading_total')
    this.flowControlResumedReading = scope.counter('upstream_flow_control_resumed_reading_total')
    this.flowControlBackedUp = scope.counter('upstream_flow_control_backed_up_total')
    this.flowControlDrained = scope.counter('upstream_flow_control_drained_total')
    this.membershipChange = once.counter('membership_change')
    this.membershipTotal = scope.gauge('membership_total')
    this.membershipHealthy = scope.gauge('membership_healthy')
    this.membershipDegraded = scope.gauge('membership_degraded')
    this.membershipExcluded = scope.gauge('membership_excluded')
    this.maxHostWeight = scope.gauge('max_host_weight')
    this.bindErrors = scope.counter('bind_errors')
    this.originalDstHostInvalid = scope.counter('original_dst_host_invalid')
    this.updateAttempt = once.counter('update_attempt')
    this.updateSuccess = once.counter('update_success')
    this.updateFailure = once.counter('update_failure')
    this.updateNoRebuild = once.counter('update_no_rebuild')
    this.updateEmpty = once.counter('update_empty')
    // Of EDS responses that carry an expiry, which the configuration may not.
    for (const name of ['stale', 'timeout_received', 'use_cached']) once.counter(`assignment_${name}`)
    this.lbHealthyPanic = scope.counter('lb_healthy_panic')
    this.lbRecalculateZoneStructures = scope.counter('lb_recalculate_zone_structures')
    this.lbLocalClusterNotOk = scope.counter('lb_local_cluster_not_ok')
    this.lbZoneClusterTooSmall = scope.counter('lb_zone_cluster_too_small')
    this.lbZoneNoCapacityLeft = scope.counter('lb_zone_no_capacity_left')
    this.lbZoneRoutingAllDirectly = scope.counter('lb_zone_routing_all_directly')
    this.lbZoneRoutingSampled = scope.counter('lb_zone_routing_sampled')
    this.lbZoneRoutingCrossZone = scope.counter('lb_zone_routing_cross_zone')
    this.lbSubsetsActive = scope.gauge('lb_subsets_active')
    this.lbSubsetsCreated = scope.counter('lb_subsets_created')
    this.lbSubsetsRemoved = scope.counter('lb_subsets_removed')
    this.lbSubsetsSelected = scope.counter('lb_subsets_selected')
    this.lbSubsetsFallback = scope.counter('lb_subsets_fallback')
    this.lbSubsetsFallbackPanic = scope.counter('lb_subsets_fallback_panic')
    this.responses = new ResponseStats(scope, localZone)
    this.retriedCodes = new CodeCounters(scope, 'retry.')
  }

  /** Codec counters, made when the first connection of their kind is. */
  get http2(): Http2Stats {
    this.http2Stats ??= new Http2Stats(this.scope)
    return this.http2Stats
  }

  get http1(): Http1Stats {
    this.http1Stats ??= new Http1Stats(this.scope)
    return this.http1Stats
  }

  /** Counts connections of that protocol, whose codec's counters are there from now on. */
  ofProtocol(protocol: 'http1' | 'http2'): Counter {
    void this[protocol]
    return protocol === 'http2' ? this.cxHttp2Total : this.cxHttp1Total
  }

  /** `<name>.upstream_rq_*`, as `x-envoy-upstream-alt-stat-name` asks for; null when there are too many. Internal clients choose it. */
  alternative(name: string): ResponseStats | null {
    const known = this.alternatives.get(name)
    if (known !== undefined) return known
    if (!this.scope.admits(name)) return null
    const stats = new ResponseStats(this.scope.scope(name), this.localZone)
    this.alternatives.set(name, stats)
    return stats
  }

  /** A response that was thrown away for another attempt. */
  countRetried(status: number, excluded: boolean): void {
    this.retriedCodes.count(status, excluded)
  }
}
