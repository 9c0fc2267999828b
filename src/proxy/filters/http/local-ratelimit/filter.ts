// envoy.filters.http.local_ratelimit: token buckets of the process (envoy-contract §10.7).

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Connection } from '../../../network/connection.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { FractionData } from '../../../route/config.ts'
import { HeaderMutations } from '../../../route/header-mutation.ts'
import { describeAll, descriptorsOf, type RequestDescriptor } from '../../../route/rate-limit-descriptors.ts'
import { inFraction } from '../../../route/route-match.ts'
import { now } from '../../../stream-info.ts'
import { PassThroughFilter } from '../pass-through.ts'
import { type Bucket, Buckets, type Match } from './buckets.ts'
import type { LocalRateLimitConfig } from './config.ts'

const GRPC_RESOURCE_EXHAUSTED = 8

/** One configuration at work: the filter's, or a route's. */
class Limiter {
  readonly config: LocalRateLimitConfig
  readonly enabledCount: Counter
  readonly okCount: Counter
  readonly limitedCount: Counter
  readonly enforcedCount: Counter
  readonly requestHeaders: HeaderMutations | null
  readonly responseHeaders: HeaderMutations | null
  private readonly shared: Buckets
  private readonly byConnection = new WeakMap<Connection, Buckets>()

  constructor(config: LocalRateLimitConfig, context: WorkerContext) {
    const scope = context.stats.scope(`${config.statPrefix}.http_local_rate_limit`)
    this.config = config
    this.enabledCount = scope.counter('enabled')
    this.okCount = scope.counter('ok')
    this.limitedCount = scope.counter('rate_limited')
    scope.counter('shadow_mode')
    this.enforcedCount = scope.counter('enforced')
    this.requestHeaders = config.requestHeaders ? new HeaderMutations(config.requestHeaders) : null
    this.responseHeaders = config.responseHeaders ? new HeaderMutations(config.responseHeaders) : null
    this.shared = new Buckets(config, context.concurrency > 1)
  }

  /** By the connection itself: what a stream knows of its client may be its own, from X-Forwarded-For. */
  buckets(connection: Connection): Buckets {
    if (!this.config.perDownstreamConnection) return this.shared
    let own = this.byConnection.get(connection)
    if (!own) {
      own = new Buckets(this.config, false)
      this.byConnection.set(connection, own)
    }
    return own
  }
}

class Shared {
  readonly own: Limiter
  readonly runtime: RuntimeSnapshot
  readonly localCluster: string
  private readonly context: WorkerContext
  private readonly ofRoutes = new WeakMap<LocalRateLimitConfig, Limiter>()

  constructor(config: LocalRateLimitConfig, context: WorkerContext) {
    this.own = new Limiter(config, context)
    this.runtime = context.runtime
    this.localCluster = context.node.cluster
    this.context = context
  }

  limiter(route: LocalRateLimitConfig | undefined): Limiter {
    if (route === undefined) return this.own
    let limiter = this.ofRoutes.get(route)
    if (!limiter) {
      limiter = new Limiter(route, this.context)
      this.ofRoutes.set(route, limiter)
    }
    return limiter
  }
}

export function createLocalRateLimitFilter(config: LocalRateLimitConfig, context: WorkerContext): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new LocalRateLimitFilter(shared))
}

class LocalRateLimitFilter extends PassThroughFilter {
  private readonly shared: Shared
  /** The bucket that x-ratelimit headers tell of: the one that was empty, else the strictest descriptor's. */
  private told: Bucket | null = null
  private isTold = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const limiter = this.shared.limiter(this.callbacks.perFilterConfig<LocalRateLimitConfig>())
    const { config } = limiter
    // Both fractions are nothing unless configured: a limit must be switched on.
    if (!this.drawn(config.enabled)) return FilterHeadersStatus.Continue
    limiter.enabledCount.inc()
    if (this.take(limiter, headers)) {
      limiter.okCount.inc()
      return FilterHeadersStatus.Continue
    }
    limiter.limitedCount.inc()
    const info = this.callbacks.streamInfo
    if (!this.drawn(config.enforced)) {
      limiter.requestHeaders?.apply(headers, info, headers, null)
      return FilterHeadersStatus.Continue
    }
    limiter.enforcedCount.inc()
    info.setFlag('RL')
    this.callbacks.sendLocalReply(
      config.status,
      'local_rate_limited',
      (response) => limiter.responseHeaders?.apply(response, info, headers, response),
      config.asResourceExhausted ? GRPC_RESOURCE_EXHAUSTED : null,
      'local_rate_limited',
    )
    return FilterHeadersStatus.StopIteration
  }

  private drawn(fraction: FractionData | null): boolean {
    return fraction !== null && inFraction(fraction, this.shared.runtime, Math.floor(Math.random() * 1_000_000))
  }

  /** A token of every bucket that the request falls under; false when one is empty. */
  private take(limiter: Limiter, headers: HeaderMap): boolean {
    const buckets = limiter.buckets(this.callbacks.connection)
    const time = now()
    const matched = limiter.config.descriptors.length > 0 ? buckets.matching(this.requested(limiter, headers)) : []
    for (const match of matched) {
      const { bucket, hits, negative } = match
      // Who takes nothing is refused, as in Envoy.
      if (negative ? bucket.take(time, -hits) : hits > 0 && bucket.take(time, hits)) continue
      this.tell(limiter, bucket, match)
      return false
    }
    const { main } = buckets
    this.tell(limiter, matched[0]?.bucket ?? main, matched[0])
    if (main === null || (matched.length > 0 && !limiter.config.alwaysConsumeDefault) || main.take(time)) return true
    this.tell(limiter, main, undefined)
    return false
  }

  private tell({ config }: Limiter, bucket: Bucket | null, match: Match | undefined): void {
    this.told = bucket
    this.isTold = match?.told ?? config.xRateLimitHeaders
  }

  private requested({ config }: Limiter, headers: HeaderMap): readonly RequestDescriptor[] {
    const route = this.callbacks.route()
    if (route === null) return []
    const { localCluster } = this.shared
    const facts = { headers, responseHeaders: null, info: this.callbacks.streamInfo, route, localCluster }
    // There is nothing to take when a request is over. Envoy takes for such limits of routes at once, and leaves out its own.
    return config.rateLimits === null
      ? descriptorsOf(facts, config.stage, config.vhRateLimits, 'both')
      : describeAll(config.rateLimits, facts, 0, 'request')
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { told } = this
    if (told === null || !this.isTold) return FilterHeadersStatus.Continue
    const time = now()
    headers.set('x-ratelimit-limit', String(told.max))
    headers.set('x-ratelimit-remaining', String(told.remaining(time)))
    headers.set('x-ratelimit-reset', String(Math.ceil(told.untilNext(time) / 1000)))
    return FilterHeadersStatus.Continue
  }
}
