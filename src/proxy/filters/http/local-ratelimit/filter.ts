// envoy.filters.http.local_ratelimit: token buckets of this worker (envoy-contract §10.7). A bucket of the filter is shared
// by the listener's connections in a worker, so the configured rate is divided among the workers by how traffic falls.

import { TokenBucket } from '../../../../base/token-bucket.ts'
import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { ConnectionInfo } from '../../../network/connection.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { FractionData } from '../../../route/config.ts'
import { HeaderMutations } from '../../../route/header-mutation.ts'
import { type Descriptor, descriptorsOf } from '../../../route/rate-limit-descriptors.ts'
import { inFraction } from '../../../route/route-match.ts'
import { now } from '../../../stream-info.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { BucketConfig, LocalRateLimitConfig } from './config.ts'

const GRPC_RESOURCE_EXHAUSTED = 8

interface Buckets {
  readonly main: TokenBucket | null
  readonly descriptors: readonly { readonly entries: Descriptor; readonly bucket: TokenBucket }[]
}

function bucketOf(config: BucketConfig): TokenBucket {
  return new TokenBucket(config.maxTokens, config.tokensPerFill, config.fillIntervalMs, now())
}

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
  private readonly byConnection = new WeakMap<ConnectionInfo, Buckets>()

  constructor(config: LocalRateLimitConfig, context: WorkerContext) {
    const scope = context.stats.scope(`${config.statPrefix}.http_local_rate_limit`)
    this.config = config
    this.enabledCount = scope.counter('enabled')
    this.okCount = scope.counter('ok')
    this.limitedCount = scope.counter('rate_limited')
    this.enforcedCount = scope.counter('enforced')
    this.requestHeaders = config.requestHeaders ? new HeaderMutations(config.requestHeaders) : null
    this.responseHeaders = config.responseHeaders ? new HeaderMutations(config.responseHeaders) : null
    this.shared = this.makeBuckets()
  }

  private makeBuckets(): Buckets {
    return {
      main: this.config.bucket ? bucketOf(this.config.bucket) : null,
      descriptors: this.config.descriptors.map(({ entries, bucket }) => ({ entries, bucket: bucketOf(bucket) })),
    }
  }

  buckets(connection: ConnectionInfo): Buckets {
    if (!this.config.perDownstreamConnection) return this.shared
    let own = this.byConnection.get(connection)
    if (!own) {
      own = this.makeBuckets()
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
  private tightest: TokenBucket | null = null
  private limiter: Limiter | null = null

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
    this.limiter = limiter
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
    const { main, descriptors } = limiter.buckets(this.callbacks.streamInfo.downstream)
    const time = now()
    const matched = descriptors.length > 0 ? this.matching(limiter, headers, descriptors) : []
    for (const bucket of matched) {
      this.note(bucket, time)
      if (!bucket.take(time)) return false
    }
    if (main === null || (matched.length > 0 && !limiter.config.alwaysConsumeDefault)) return true
    this.note(main, time)
    return main.take(time)
  }

  private matching(limiter: Limiter, headers: HeaderMap, descriptors: Buckets['descriptors']): readonly TokenBucket[] {
    const route = this.callbacks.route()
    if (route === null) return []
    const facts = { headers, info: this.callbacks.streamInfo, route, localCluster: this.shared.localCluster }
    const requested = descriptorsOf(facts, limiter.config.stage)
    const found = descriptors.filter(({ entries }) => requested.some((one) => sameDescriptor(one, entries)))
    // The strictest first, so that a refusal wastes no token of a wider limit.
    return found.map(({ bucket }) => bucket).sort((a, b) => a.max / a.intervalMs - b.max / b.intervalMs)
  }

  private note(bucket: TokenBucket, time: number): void {
    if (this.tightest === null || bucket.remaining(time) < this.tightest.remaining(time)) this.tightest = bucket
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { limiter, tightest } = this
    if (limiter === null || tightest === null || !limiter.config.xRateLimitHeaders) return FilterHeadersStatus.Continue
    const time = now()
    headers.set('x-ratelimit-limit', String(tightest.max))
    headers.set('x-ratelimit-remaining', String(tightest.remaining(time)))
    headers.set('x-ratelimit-reset', String(Math.ceil(tightest.untilFill(time) / 1000)))
    return FilterHeadersStatus.Continue
  }
}

/** An empty value in the configuration stands for any. */
function sameDescriptor(requested: Descriptor, configured: Descriptor): boolean {
  return (
    requested.length === configured.length &&
    configured.every(([key, value], i) => requested[i]![0] === key && (value === '' || requested[i]![1] === value))
  )
}
