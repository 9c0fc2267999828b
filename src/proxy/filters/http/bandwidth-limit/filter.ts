// envoy.filters.http.bandwidth_limit: all bodies that one configuration is for share its bandwidth, in all workers.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter, Gauge, Histogram, Scope } from '../../../observe/stats.ts'
import { now } from '../../../stream-info.ts'
import { type BodySink, RequestSink, ResponseSink } from '../body-sink.ts'
import { PassThroughFilter } from '../pass-through.ts'
import { type LimiterWatch, StreamRateLimiter, sharedTokens, type Tokens } from '../stream-rate-limiter.ts'
import type { BandwidthLimitConfig } from './config.ts'

class DirectionStats {
  readonly enabled: Counter
  readonly enforced: Counter
  readonly incomingTotal: Counter
  readonly allowedTotal: Counter
  readonly pending: Gauge
  readonly incoming: Gauge
  readonly allowed: Gauge
  readonly duration: Histogram

  constructor(scope: Scope, direction: 'request' | 'response') {
    this.enabled = scope.counter(`${direction}_enabled`)
    this.enforced = scope.counter(`${direction}_enforced`)
    this.incomingTotal = scope.counter(`${direction}_incoming_total_size`)
    this.allowedTotal = scope.counter(`${direction}_allowed_total_size`)
    this.pending = scope.gauge(`${direction}_pending`)
    this.incoming = scope.gauge(`${direction}_incoming_size`)
    this.allowed = scope.gauge(`${direction}_allowed_size`)
    this.duration = scope.histogram(`${direction}_transfer_duration`, 'ms')
  }
}

/** One configuration in a worker. */
class Limit {
  readonly config: BandwidthLimitConfig
  readonly request: DirectionStats
  readonly response: DirectionStats
  readonly tokens: Tokens

  constructor(config: BandwidthLimitConfig, context: WorkerContext) {
    const scope = context.stats.scope(`${config.statPrefix}.http_bandwidth_limit`)
    this.config = config
    this.request = new DirectionStats(scope, 'request')
    this.response = new DirectionStats(scope, 'response')
    this.tokens = sharedTokens(config.kibPerSecond, config.memory)
  }
}

class Shared {
  private readonly context: WorkerContext
  private readonly own: Limit
  private readonly ofRoutes = new WeakMap<BandwidthLimitConfig, Limit>()

  constructor(config: BandwidthLimitConfig, context: WorkerContext) {
    this.context = context
    this.own = new Limit(config, context)
  }

  limit(route: BandwidthLimitConfig | undefined): Limit {
    if (route === undefined) return this.own
    let limit = this.ofRoutes.get(route)
    if (!limit) this.ofRoutes.set(route, (limit = new Limit(route, this.context)))
    return limit
  }

  isOn({ config: { enabled } }: Limit): boolean {
    return enabled.key === '' ? enabled.value : this.context.runtime.bool(enabled.key, enabled.value)
  }
}

export function createBandwidthLimitFilter(config: BandwidthLimitConfig, context: WorkerContext): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new BandwidthLimitFilter(shared))
}

/** One body on its way. */
class LimitedBody implements LimiterWatch {
  readonly limiter: StreamRateLimiter
  private readonly stats: DirectionStats
  private readonly fillIntervalMs: number
  private readonly addTrailers: (() => boolean) | null
  private startedMs = 0
  private pending = false
  /** Of the transfer, once it is over, and how much of it was waiting for tokens. */
  durationMs = 0
  delayMs = 0

  constructor(
    limit: Limit,
    stats: DirectionStats,
    sink: BodySink,
    bufferLimit: number,
    addTrailers: (() => boolean) | null,
  ) {
    this.stats = stats
    this.fillIntervalMs = limit.config.fillIntervalMs
    this.addTrailers = addTrailers
    this.limiter = new StreamRateLimiter(sink, limit.tokens, this.fillIntervalMs, bufferLimit, this)
    stats.enabled.inc()
  }

  write(chunk: Buffer, endStream: boolean): FilterDataStatus {
    const { stats } = this
    if (!this.pending) {
      this.pending = true
      this.startedMs = now()
      stats.pending.inc()
    }
    stats.incoming.set(chunk.length)
    stats.incomingTotal.add(chunk.length)
    this.limiter.write(chunk, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  trailers(): FilterTrailersStatus {
    if (this.limiter.trailers()) return FilterTrailersStatus.StopIteration
    this.onEnd()
    return FilterTrailersStatus.Continue
  }

  onAllowed(bytes: number, waiting: boolean): void {
    this.stats.allowed.set(bytes)
    this.stats.allowedTotal.add(bytes)
    if (!waiting) return
    this.stats.enforced.inc()
    this.delayMs += this.fillIntervalMs
  }

  onEnd(): boolean {
    if (!this.pending) return false
    this.durationMs = Math.floor(now() - this.startedMs)
    this.stats.duration.record(this.durationMs)
    this.leave()
    return this.addTrailers?.() ?? false
  }

  destroy(): void {
    this.limiter.destroy()
    if (this.pending) this.leave()
  }

  private leave(): void {
    this.pending = false
    this.stats.pending.dec()
  }
}

class BandwidthLimitFilter extends PassThroughFilter {
  private readonly shared: Shared
  private limit: Limit | null = null
  private request: LimitedBody | null = null
  private response: LimitedBody | null = null

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  private chosen(): Limit {
    this.limit ??= this.shared.limit(this.callbacks.perFilterConfig<BandwidthLimitConfig>())
    return this.limit
  }

  override decodeHeaders(): FilterHeadersStatus {
    const limit = this.chosen()
    const { callbacks } = this
    if (limit.config.request && this.shared.isOn(limit))
      this.request = new LimitedBody(limit, limit.request, new RequestSink(callbacks), callbacks.bufferLimit, null)
    return FilterHeadersStatus.Continue
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    return this.request === null ? FilterDataStatus.Continue : this.request.write(chunk, endStream)
  }

  override decodeTrailers(): FilterTrailersStatus {
    return this.request === null ? FilterTrailersStatus.Continue : this.request.trailers()
  }

  override encodeHeaders(): FilterHeadersStatus {
    const limit = this.chosen()
    const { encoderCallbacks: callbacks } = this
    if (limit.config.response && this.shared.isOn(limit)) {
      const tell = limit.config.responseTrailers ? () => this.tellDelays(limit) : null
      this.response = new LimitedBody(limit, limit.response, new ResponseSink(callbacks), callbacks.bufferLimit, tell)
    }
    return FilterHeadersStatus.Continue
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    return this.response === null ? FilterDataStatus.Continue : this.response.write(chunk, endStream)
  }

  override encodeTrailers(): FilterTrailersStatus {
    return this.response === null ? FilterTrailersStatus.Continue : this.response.trailers()
  }

  override onDestroy(): void {
    this.request?.destroy()
    this.response?.destroy()
  }

  private tellDelays({ config: { trailerPrefix } }: Limit): boolean {
    const callbacks = this.encoderCallbacks
    const trailers: HeaderMap = callbacks.responseTrailers ?? callbacks.addEncodedTrailers()
    const tell = (name: string, ms: number): void => {
      if (ms > 0) trailers.set(`${trailerPrefix}bandwidth-${name}-delay-ms`, String(ms))
    }
    tell('request', this.request?.durationMs ?? 0)
    tell('request-filter', this.request?.delayMs ?? 0)
    tell('response', this.response!.durationMs)
    tell('response-filter', this.response!.delayMs)
    return true
  }
}
