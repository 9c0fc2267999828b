// envoy.filters.network.local_ratelimit: each connection takes a token of the process's bucket, or is closed.

import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { createBucketMemory, SharedTokenBucket } from '../../../../base/shared-token-bucket.ts'
import { TokenBucket } from '../../../../base/token-bucket.ts'
import { durationMs } from '../../../config/duration.ts'
import type { NetworkFilterExtension, ParseContext, WorkerContext } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { CloseType } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import type { Counter } from '../../../observe/stats.ts'
import { now } from '../../../stream-info.ts'

interface LocalRateLimitConfig {
  readonly statPrefix: string
  readonly maxTokens: number
  readonly tokensPerFill: number
  readonly fillIntervalMs: number
  readonly enabled: RuntimeFlag
  /** Filters of equal keys and buckets share one; '' = a bucket of its own. */
  readonly shareKey: string
  /** The bucket of all workers. */
  readonly memory: SharedArrayBuffer
}

/** Envoy's smallest fill_interval. */
const MIN_FILL_INTERVAL_MS = 50

function parse(config: LocalRateLimit, context: ParseContext): LocalRateLimitConfig {
  // validate.rules ask for both.
  const bucket = config.tokenBucket!
  const fillIntervalMs = durationMs(bucket.fillInterval!)
  if (fillIntervalMs < MIN_FILL_INTERVAL_MS) {
    throw new ConfigError(
      context.at('token_bucket.fill_interval').path,
      `local rate limit token bucket fill timer must be >= ${MIN_FILL_INTERVAL_MS}ms`,
    )
  }
  const { maxTokens } = bucket
  const tokensPerFill = bucket.tokensPerFill ?? 1
  return {
    statPrefix: config.statPrefix,
    maxTokens,
    tokensPerFill,
    fillIntervalMs,
    memory: createBucketMemory(maxTokens, tokensPerFill, fillIntervalMs),
    enabled: runtimeFlag(config.runtimeEnabled),
    shareKey: config.shareKey,
  }
}

type Bucket = Pick<TokenBucket, 'take'>

/** Buckets that filters of equal keys share, for each worker: its cluster manager stands for the worker. */
const sharedBuckets = new WeakMap<object, Map<string, Bucket>>()

function bucketOf(config: LocalRateLimitConfig, context: WorkerContext): Bucket {
  const { maxTokens, tokensPerFill, fillIntervalMs, shareKey, memory } = config
  const make = (): Bucket =>
    context.concurrency > 1
      ? new SharedTokenBucket(maxTokens, tokensPerFill, fillIntervalMs, now(), memory)
      : new TokenBucket(maxTokens, tokensPerFill, fillIntervalMs, now())
  if (shareKey === '') return make()
  const ofWorker = sharedBuckets.get(context.clusters) ?? new Map<string, Bucket>()
  sharedBuckets.set(context.clusters, ofWorker)
  // Updates reach all workers in one order: the first filter of a key, whose memory is used, is the same everywhere.
  const key = `${shareKey} ${maxTokens} ${tokensPerFill} ${fillIntervalMs}`
  const bucket = ofWorker.get(key) ?? make()
  ofWorker.set(key, bucket)
  return bucket
}

class LocalRateLimitFilter implements NetworkFilter {
  private readonly config: LocalRateLimitConfig
  private readonly context: WorkerContext
  private readonly bucket: Bucket
  private readonly limited: Counter
  private readonly callbacks: ReadFilterCallbacks

  constructor(
    config: LocalRateLimitConfig,
    context: WorkerContext,
    bucket: Bucket,
    limited: Counter,
    callbacks: ReadFilterCallbacks,
  ) {
    this.config = config
    this.context = context
    this.bucket = bucket
    this.limited = limited
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { enabled } = this.config
    if (!this.context.runtime.bool(enabled.key, enabled.value)) return FilterStatus.Continue
    if (this.bucket.take(now())) return FilterStatus.Continue
    this.limited.inc()
    this.callbacks.connection.close(CloseType.NoFlush)
    return FilterStatus.StopIteration
  }

  onData(): FilterStatus {
    return FilterStatus.Continue
  }

  onEvent(): void {}
}

export const networkLocalRateLimit: NetworkFilterExtension<LocalRateLimitConfig> = {
  name: 'envoy.filters.network.local_ratelimit',
  desc: LocalRateLimitSchema,
  parse: (message, context) => parse(message as LocalRateLimit, context),
  create(config, context) {
    const limited = context.stats.scope(`local_rate_limit.${config.statPrefix}`).counter('rate_limited')
    const bucket = bucketOf(config, context)
    return (callbacks) => new LocalRateLimitFilter(config, context, bucket, limited, callbacks)
  },
}
