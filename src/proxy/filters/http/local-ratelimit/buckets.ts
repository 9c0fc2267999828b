// The token buckets of one local rate limit: the default one and those of its descriptors. All workers take from them.

import { SharedTokenBucket } from '../../../../base/shared-token-bucket.ts'
import { TokenBucket } from '../../../../base/token-bucket.ts'
import type { Descriptor, RequestDescriptor } from '../../../route/rate-limit-descriptors.ts'
import { now } from '../../../stream-info.ts'
import type { BucketConfig, LocalRateLimitConfig } from './config.ts'
import { SharedBuckets } from './shared-buckets.ts'

/** A bucket as the filter uses it. */
export type Bucket = Pick<TokenBucket, 'max' | 'rate' | 'take' | 'remaining' | 'untilNext'>

/** `shared`: other workers take from it too. */
function bucketOf(config: BucketConfig, shared: boolean): Bucket {
  const { maxTokens, tokensPerFill, fillIntervalMs, memory } = config
  return shared
    ? new SharedTokenBucket(maxTokens, tokensPerFill, fillIntervalMs, now(), memory)
    : new TokenBucket(maxTokens, tokensPerFill, fillIntervalMs, now())
}

/** A descriptor with an entry without value: each value that comes has a bucket of its own, `max` of them at most. */
class Wildcard {
  private readonly entries: Descriptor
  private readonly config: BucketConfig
  private readonly max: number
  private readonly shared: SharedBuckets | null
  /** Of this worker alone. Oldest use first. */
  private readonly byValues = new Map<string, TokenBucket>()

  constructor(entries: Descriptor, config: BucketConfig, max: number, shared: boolean) {
    this.entries = entries
    this.config = config
    this.max = max
    const { maxTokens, tokensPerFill, fillIntervalMs, memory } = config
    this.shared = shared ? new SharedBuckets(maxTokens, tokensPerFill, fillIntervalMs, max, memory) : null
  }

  find(requested: Descriptor, key: string): Bucket | null {
    const { entries } = this
    if (requested.length !== entries.length) return null
    for (let i = 0; i < entries.length; i++) {
      const [name, value] = entries[i]!
      if (requested[i]![0] !== name || (value !== '' && requested[i]![1] !== value)) return null
    }
    return this.shared?.of(key) ?? this.own(key)
  }

  private own(key: string): TokenBucket {
    const { byValues } = this
    const { maxTokens, tokensPerFill, fillIntervalMs } = this.config
    const bucket = byValues.get(key) ?? new TokenBucket(maxTokens, tokensPerFill, fillIntervalMs, now())
    byValues.delete(key)
    byValues.set(key, bucket)
    if (byValues.size > this.max) byValues.delete(byValues.keys().next().value!)
    return bucket
  }
}

/** A bucket that a request falls under, and the tokens that it takes. */
export interface Match {
  readonly bucket: Bucket
  readonly hits: number
  /** They are given back. */
  readonly negative: boolean
  /** x-ratelimit headers tell of it; null = as the configuration says. */
  readonly told: boolean | null
}

export class Buckets {
  /** null = no limit of its own. */
  readonly main: Bucket | null
  private readonly fixed = new Map<string, Bucket>()
  private readonly wildcards: Wildcard[] = []

  /** `shared`: they are those of all workers. */
  constructor(config: LocalRateLimitConfig, shared: boolean) {
    this.main = config.bucket && bucketOf(config.bucket, shared)
    for (const { entries, bucket } of config.descriptors) {
      if (entries.some(([, value]) => value === ''))
        this.wildcards.push(new Wildcard(entries, bucket, config.maxDynamicDescriptors, shared))
      else this.fixed.set(JSON.stringify(entries), bucketOf(bucket, shared))
    }
  }

  /** The strictest first, so that a refusal wastes no token of a wider limit. */
  matching(requested: readonly RequestDescriptor[]): readonly Match[] {
    const found: Match[] = []
    for (const { entries, hits, negative, told } of requested) {
      const key = JSON.stringify(entries)
      const bucket = this.fixed.get(key) ?? this.dynamic(entries, key)
      if (bucket !== null) found.push({ bucket, hits: hits ?? 1, negative, told })
    }
    return found.length > 1 ? found.sort((a, b) => a.bucket.rate - b.bucket.rate) : found
  }

  private dynamic(descriptor: Descriptor, key: string): Bucket | null {
    for (const wildcard of this.wildcards) {
      const bucket = wildcard.find(descriptor, key)
      if (bucket !== null) return bucket
    }
    return null
  }
}
