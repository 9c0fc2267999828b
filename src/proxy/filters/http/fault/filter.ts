// envoy.filters.http.fault: delays requests, then aborts them, and slows responses, for a share of those that match
// (envoy-contract §10.2).

import { ownedTimeout } from '../../../../base/fault-owner.ts'
import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter, Gauge, Scope } from '../../../observe/stats.ts'
import { compileHeaderMatchers, type HeadersMatch } from '../../../route/header-matcher.ts'
import { ResponseSink } from '../body-sink.ts'
import { PassThroughFilter } from '../pass-through.ts'
import { DEFAULT_FILL_INTERVAL_MS, StreamRateLimiter, tokensFor } from '../stream-rate-limiter.ts'
import type { FaultConfig, Share } from './config.ts'

const DELAY_HEADER = 'x-envoy-fault-delay-request'
const DELAY_PERCENT_HEADER = 'x-envoy-fault-delay-request-percentage'
const ABORT_HEADER = 'x-envoy-fault-abort-request'
const ABORT_GRPC_HEADER = 'x-envoy-fault-abort-grpc-request'
const ABORT_PERCENT_HEADER = 'x-envoy-fault-abort-request-percentage'
const THROUGHPUT_HEADER = 'x-envoy-fault-throughput-response'
const THROUGHPUT_PERCENT_HEADER = 'x-envoy-fault-throughput-response-percentage'

/** A configuration that can do nothing: what Istio puts into every chain. */
function isIdle(config: FaultConfig): boolean {
  return config.delay === null && config.abort === null && config.responseRateLimit === null
}

class Shared {
  readonly scope: Scope
  readonly runtime: RuntimeSnapshot
  readonly abortsInjected: Counter
  readonly delaysInjected: Counter
  readonly responsesSlowed: Counter
  readonly faultsOverflow: Counter
  private readonly activeGauge: Gauge
  /** Of all workers. */
  private readonly active: Int32Array
  private readonly matchers = new WeakMap<FaultConfig, HeadersMatch>()

  constructor({ activeFaults }: FaultConfig, context: WorkerContext, statPrefix: string) {
    this.scope = context.stats.scope(`http.${statPrefix}.fault`)
    this.runtime = context.runtime
    this.abortsInjected = this.scope.counter('aborts_injected')
    this.delaysInjected = this.scope.counter('delays_injected')
    this.responsesSlowed = this.scope.counter('response_rl_injected')
    this.faultsOverflow = this.scope.counter('faults_overflow')
    this.activeGauge = this.scope.gauge('active_faults')
    this.active = new Int32Array(activeFaults)
  }

  /** One more, unless there are `limit` already. */
  begin(limit: number): boolean {
    if (Atomics.add(this.active, 0, 1) >= limit) {
      Atomics.sub(this.active, 0, 1)
      return false
    }
    this.activeGauge.inc()
    return true
  }

  end(): void {
    Atomics.sub(this.active, 0, 1)
    this.activeGauge.dec()
  }

  /** Configurations of routes live as long as their table: each is compiled once. */
  matches(config: FaultConfig, headers: HeaderMap): boolean {
    let match = this.matchers.get(config)
    if (!match) {
      match = compileHeaderMatchers(config.headers)
      this.matchers.set(config, match)
    }
    return match(headers)
  }
}

export function createFaultFilter(config: FaultConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new FaultFilter(config, shared))
}

/** A decimal number in a header, or `fallback`. */
function numberHeader(headers: HeaderMap, name: string, fallback: number | null): number | null {
  const text = headers.get(name)
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : fallback
}

class FaultFilter extends PassThroughFilter {
  private readonly own: FaultConfig
  private readonly shared: Shared
  private config: FaultConfig
  private timer: NodeJS.Timeout | null = null
  private active = false
  private headers: HeaderMap | null = null
  private downstreamCluster = ''
  private limiter: StreamRateLimiter | null = null

  constructor(config: FaultConfig, shared: Shared) {
    super()
    this.own = config
    this.config = config
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.config = this.callbacks.perFilterConfig<FaultConfig>() ?? this.own
    if (isIdle(this.config) || !this.applies(headers)) return FilterHeadersStatus.Continue
    if (!this.config.disableDownstreamClusterStats) {
      const name = headers.get('x-envoy-downstream-service-cluster') ?? ''
      if (name !== '' && this.shared.scope.admits(name)) this.downstreamCluster = name
    }
    this.limitResponse(headers)
    const delayMs = this.delayMs(headers)
    if (delayMs > 0) {
      if (!this.begin()) return FilterHeadersStatus.Continue
      this.shared.delaysInjected.inc()
      this.countFor('delays_injected')
      this.note()
      this.callbacks.streamInfo.setFlag('DI')
      this.headers = headers
      this.timer = ownedTimeout(onDelayOver, delayMs, this)
      return FilterHeadersStatus.StopIteration
    }
    return this.abort(headers) ? FilterHeadersStatus.StopIteration : FilterHeadersStatus.Continue
  }

  private applies(headers: HeaderMap): boolean {
    const { upstreamCluster, downstreamNodes } = this.config
    if (upstreamCluster !== '') {
      const route = this.callbacks.route()
      if (route === null || route.forward === null || route.clusterName(headers) !== upstreamCluster) return false
    }
    if (downstreamNodes.length > 0 && !downstreamNodes.includes(headers.get('x-envoy-downstream-service-node') ?? ''))
      return false
    return this.shared.matches(this.config, headers)
  }

  /** A share, drawn anew for every kind of fault; a header of the client can only lower it. */
  private drawn(
    { millionths, unitMillionths }: Share,
    runtimeKey: string,
    headers: HeaderMap,
    percentHeader: string | null,
  ): boolean {
    let share = this.shared.runtime.fraction(runtimeKey, millionths)
    if (percentHeader !== null) {
      const asked = numberHeader(headers, percentHeader, null)
      if (asked !== null) share = Math.min(share, asked * unitMillionths)
    }
    return share > 0 && Math.random() * 1_000_000 < share
  }

  private delayMs(headers: HeaderMap): number {
    const { delay, runtimeKeys } = this.config
    if (delay === null) return 0
    const byHeader = delay.fixedMs === null
    if (!this.drawn(delay.share, runtimeKeys.delayPercent, headers, byHeader ? DELAY_PERCENT_HEADER : null)) return 0
    if (byHeader) return numberHeader(headers, DELAY_HEADER, 0)!
    return this.shared.runtime.number(runtimeKeys.delayDuration, delay.fixedMs!)
  }

  /** Slows the response, whoever makes it, if this request was drawn for it. */
  private limitResponse(headers: HeaderMap): void {
    const { responseRateLimit, runtimeKeys } = this.config
    if (responseRateLimit === null) return
    const { kibPerSecond, share } = responseRateLimit
    const rate = kibPerSecond ?? numberHeader(headers, THROUGHPUT_HEADER, 0)!
    const percentHeader = kibPerSecond === null ? THROUGHPUT_PERCENT_HEADER : null
    if (rate === 0 || !this.drawn(share, runtimeKeys.responseRateLimitPercent, headers, percentHeader)) return
    if (!this.begin()) return
    this.shared.responsesSlowed.inc()
    const { bufferLimit } = this.encoderCallbacks
    this.limiter = new StreamRateLimiter(
      new ResponseSink(this.encoderCallbacks),
      tokensFor(rate),
      DEFAULT_FILL_INTERVAL_MS,
      bufferLimit,
    )
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.limiter === null) return FilterDataStatus.Continue
    this.limiter.write(chunk, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeTrailers(): FilterTrailersStatus {
    return this.limiter?.trailers() ? FilterTrailersStatus.StopIteration : FilterTrailersStatus.Continue
  }

  /** True when the request was answered. */
  private abort(headers: HeaderMap): boolean {
    const { abort, runtimeKeys } = this.config
    if (abort === null) return false
    if (!this.drawn(abort.share, runtimeKeys.abortPercent, headers, abort.byHeader ? ABORT_PERCENT_HEADER : null))
      return false
    let httpStatus =
      abort.httpStatus === 0 ? 0 : this.shared.runtime.number(runtimeKeys.abortHttpStatus, abort.httpStatus)
    let grpcStatus =
      abort.grpcStatus === null ? null : this.shared.runtime.number(runtimeKeys.abortGrpcStatus, abort.grpcStatus)
    if (abort.byHeader) {
      grpcStatus = numberHeader(headers, ABORT_GRPC_HEADER, null)
      httpStatus = numberHeader(headers, ABORT_HEADER, 0)!
      if (httpStatus < 200 || httpStatus > 599) httpStatus = 0
      if (httpStatus === 0 && grpcStatus === null) return false
    }
    if (!this.begin()) return false
    this.shared.abortsInjected.inc()
    this.countFor('aborts_injected')
    this.note()
    this.callbacks.streamInfo.setFlag('FI')
    this.callbacks.sendLocalReply(httpStatus || 200, 'fault filter abort', null, grpcStatus, 'fault_filter_abort')
    return true
  }

  /** Counts an active fault, once for a request; false when there are too many. */
  private begin(): boolean {
    if (this.active) return true
    const { maxActiveFaults, runtimeKeys } = this.config
    const limit =
      maxActiveFaults === null
        ? Number.POSITIVE_INFINITY
        : this.shared.runtime.number(runtimeKeys.maxActiveFaults, maxActiveFaults)
    this.active = this.shared.begin(limit)
    if (!this.active) this.shared.faultsOverflow.inc()
    return this.active
  }

  private countFor(name: string): void {
    if (this.downstreamCluster !== '') this.shared.scope.counter(`${this.downstreamCluster}.${name}`).inc()
  }

  private note(): void {
    const { filterMetadata } = this.config
    if (filterMetadata === null) return
    for (const key of Object.keys(filterMetadata)) {
      this.callbacks.streamInfo.setDynamicMetadata('envoy.filters.http.fault', key, filterMetadata[key])
    }
  }

  /** The delay is over: the request goes on, or is aborted now. */
  onFault(error: unknown): void {
    this.callbacks.onFault(error)
  }

  onDelayOver(): void {
    this.timer = null
    const headers = this.headers!
    this.headers = null
    if (!this.abort(headers)) this.callbacks.continueDecoding()
  }

  override decodeData(): FilterDataStatus {
    // What comes during a delay waits for it without limit of the client's making: reading pauses when the buffer is full.
    return this.timer === null ? FilterDataStatus.Continue : FilterDataStatus.StopIterationAndWatermark
  }

  override decodeTrailers(): FilterTrailersStatus {
    return this.timer === null ? FilterTrailersStatus.Continue : FilterTrailersStatus.StopIteration
  }

  override onDestroy(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.limiter?.destroy()
    if (this.active) this.shared.end()
  }
}

function onDelayOver(filter: FaultFilter): void {
  filter.onDelayOver()
}
