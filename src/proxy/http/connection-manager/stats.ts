// The connection manager's counters (envoy-contract §5.9), looked up once per configuration.

import type { Counter, Gauge, Histogram, Scope } from '../../observe/stats.ts'

export class HcmStats {
  readonly cxTotal: Counter
  readonly cxSslTotal: Counter
  readonly cxHttp1Total: Counter
  readonly cxHttp2Total: Counter
  readonly cxDestroy: Counter
  readonly cxDestroyRemote: Counter
  readonly cxDestroyLocal: Counter
  readonly cxDestroyActiveRq: Counter
  readonly cxDestroyLocalActiveRq: Counter
  readonly cxDestroyRemoteActiveRq: Counter
  readonly cxActive: Gauge
  readonly cxSslActive: Gauge
  readonly cxHttp1Active: Gauge
  readonly cxHttp2Active: Gauge
  readonly cxUpgradesTotal: Counter
  readonly cxUpgradesActive: Gauge
  readonly cxProtocolError: Counter
  readonly cxLengthMs: Histogram
  readonly cxRxBuffered: Gauge
  readonly cxTxBuffered: Gauge
  readonly cxRxBytes: Counter
  readonly cxTxBytes: Counter
  readonly cxDrainClose: Counter
  readonly cxOverloadDisableKeepalive: Counter
  readonly rqOverloadClose: Counter
  readonly cxIdleTimeout: Counter
  readonly cxMaxDuration: Counter
  readonly cxMaxRequests: Counter
  readonly cxDelayedCloseTimeout: Counter
  readonly rqTotal: Counter
  readonly rqHttp1Total: Counter
  readonly rqHttp2Total: Counter
  readonly rqActive: Gauge
  readonly rqResponseBeforeComplete: Counter
  readonly rqRxReset: Counter
  readonly rqTxReset: Counter
  readonly rqNonRelativePath: Counter
  readonly rqTooLarge: Counter
  readonly rqRejectedViaIpDetection: Counter
  readonly rqCompleted: Counter
  readonly rqFailedPathNormalization: Counter
  readonly rqRedirectedNormalizedPath: Counter
  /** By first digit of the status, 1 to 5. */
  readonly rqClass: readonly Counter[]
  readonly rqWsOnNonWsRoute: Counter
  readonly rqTime: Histogram
  readonly rqIdleTimeout: Counter
  readonly rqMaxDuration: Counter
  readonly rqTimeout: Counter
  readonly rqHeaderTimeout: Counter
  readonly rqTooManyPrematureResets: Counter
  readonly flowPaused: Counter
  readonly flowResumed: Counter
  readonly rsTooLarge: Counter

  /** The same answers counted below the listener; null outside listeners. */
  private readonly listenerCompleted: Counter | null
  private readonly listenerClass: readonly Counter[] | null

  /** `scope`: `http.<stat_prefix>`; `listener`: `listener.<address>.http.<stat_prefix>`. */
  constructor(scope: Scope, listener: Scope | null) {
    this.listenerCompleted = listener?.counter('downstream_rq_completed') ?? null
    this.listenerClass = listener && [1, 2, 3, 4, 5].map((digit) => listener.counter(`downstream_rq_${digit}xx`))
    const cx = (name: string): Counter => scope.counter(`downstream_cx_${name}`)
    const rq = (name: string): Counter => scope.counter(`downstream_rq_${name}`)
    this.cxTotal = cx('total')
    this.cxSslTotal = cx('ssl_total')
    this.cxHttp1Total = cx('http1_total')
    this.cxHttp2Total = cx('http2_total')
    this.cxDestroy = cx('destroy')
    this.cxDestroyRemote = cx('destroy_remote')
    this.cxDestroyLocal = cx('destroy_local')
    this.cxDestroyActiveRq = cx('destroy_active_rq')
    this.cxDestroyLocalActiveRq = cx('destroy_local_active_rq')
    this.cxDestroyRemoteActiveRq = cx('destroy_remote_active_rq')
    this.cxActive = scope.gauge('downstream_cx_active')
    this.cxSslActive = scope.gauge('downstream_cx_ssl_active')
    this.cxHttp1Active = scope.gauge('downstream_cx_http1_active')
    this.cxHttp2Active = scope.gauge('downstream_cx_http2_active')
    this.cxUpgradesTotal = cx('upgrades_total')
    this.cxUpgradesActive = scope.gauge('downstream_cx_upgrades_active')
    this.cxProtocolError = cx('protocol_error')
    this.cxLengthMs = scope.histogram('downstream_cx_length_ms', 'ms')
    this.cxRxBuffered = scope.gauge('downstream_cx_rx_bytes_buffered')
    this.cxTxBuffered = scope.gauge('downstream_cx_tx_bytes_buffered')
    this.cxRxBytes = cx('rx_bytes_total')
    this.cxTxBytes = cx('tx_bytes_total')
    this.cxDrainClose = cx('drain_close')
    this.cxOverloadDisableKeepalive = cx('overload_disable_keepalive')
    this.rqOverloadClose = rq('overload_close')
    this.cxIdleTimeout = cx('idle_timeout')
    this.cxMaxDuration = cx('max_duration_reached')
    this.cxMaxRequests = cx('max_requests_reached')
    this.cxDelayedCloseTimeout = cx('delayed_close_timeout')
    this.rqTotal = rq('total')
    this.rqHttp1Total = rq('http1_total')
    this.rqHttp2Total = rq('http2_total')
    this.rqActive = scope.gauge('downstream_rq_active')
    this.rqResponseBeforeComplete = rq('response_before_rq_complete')
    this.rqRxReset = rq('rx_reset')
    this.rqTxReset = rq('tx_reset')
    this.rqNonRelativePath = rq('non_relative_path')
    this.rqTooLarge = rq('too_large')
    this.rqRejectedViaIpDetection = rq('rejected_via_ip_detection')
    this.rqCompleted = rq('completed')
    this.rqFailedPathNormalization = rq('failed_path_normalization')
    this.rqRedirectedNormalizedPath = rq('redirected_with_normalized_path')
    this.rqClass = [1, 2, 3, 4, 5].map((digit) => rq(`${digit}xx`))
    this.rqWsOnNonWsRoute = rq('ws_on_non_ws_route')
    this.rqTime = scope.histogram('downstream_rq_time', 'ms')
    this.rqIdleTimeout = rq('idle_timeout')
    this.rqMaxDuration = rq('max_duration_reached')
    this.rqTimeout = rq('timeout')
    this.rqHeaderTimeout = rq('header_timeout')
    this.rqTooManyPrematureResets = rq('too_many_premature_resets')
    this.flowPaused = scope.counter('downstream_flow_control_paused_reading_total')
    this.flowResumed = scope.counter('downstream_flow_control_resumed_reading_total')
    this.rsTooLarge = scope.counter('rs_too_large')
  }

  countStatus(status: number): void {
    this.rqCompleted.inc()
    this.listenerCompleted?.inc()
    // As in CodeCounters: an integer whatever the status.
    const digit = (status / 100) | 0
    if (digit < 1 || digit > 5) return
    this.rqClass[digit - 1]!.inc()
    if (this.listenerClass !== null) this.listenerClass[digit - 1]!.inc()
  }
}
