// The token buckets of one local rate limit: the default one and those of its descriptors.

import { TokenBucket } from '../../../../base/token-bucket.ts'
import type { Descriptor } from '../../../route/rate-limit-descriptors.ts'
import { now } from '../../../stream-info.ts'
import type { BucketConfig, LocalRateLimitConfig } from './config.ts'

function bucketOf(config: BucketConfig): TokenBucket {
  return new TokenBucket(config.maxTokens, config.tokensPerFill, config.fillIntervalMs, now())
}

/** A descriptor with an entry without value: each value that comes has a bucket of its own, `max` of them at most. */
class Wildcard {
  private readonly entries: Descriptor
  private readonly config: BucketConfig
  private readonly max: number
  /** Oldest use first. */
  private readonly byValues = new Map<string, TokenBucket>()

  constructor(entries: Descriptor, config: BucketConfig, max: number) {
    this.entries = entries
    this.config = config
    this.max = max
  }

  find(requested: Descriptor, key: string): TokenBucket | null {
    const { entries, byValues } = this
    if (requested.length !== entries.length) return null
    for (let i = 0; i < entries.length; i++) {
      const [name, value] = entries[i]!
      if (requested[i]![0] !== name || (value !== '' && requested[i]![1] !== value)) return null
    }
    const bucket = byValues.get(key) ?? bucketOf(this.config)
    byValues.delete(key)
    byValues.set(key, bucket)
    if (byValues.size > this.max) byValues.delete(byValues.keys().next().value!)
    return bucket
  }
}

export class Buckets {
  /** null = no limit of its own. */
  readonly main: TokenBucket | null
  private readonly fixed = new Map<string, TokenBucket>()
  private readonly wildcards: Wildcard[] = []

  constructor(config: LocalRateLimitConfig) {
    this.main = config.bucket && bucketOf(config.bucket)
    for (const { entries, bucket } of config.descriptors) {
      if (entries.some(([, value]) => value === ''))
        this.wildcards.push(new Wildcard(entries, bucket, config.maxDynamicDescriptors))
      else this.fixed.set(JSON.stringify(entries), bucketOf(bucket))
    }
  }

  /** The strictest first, so that a refusal wastes no token of a wider limit. */
  matching(requested: readonly Descriptor[]): readonly TokenBucket[] {
    const found: TokenBucket[] = []
    for (const descriptor of requested) {
      const key = JSON.stringify(descriptor)
      const bucket = this.fixed.get(key) ?? this.dynamic(descriptor, key)
      if (bucket !== null) found.push(bucket)
    }
    return found.length > 1 ? found.sort((a, b) => a.rate - b.rate) : found
  }

  private dynamic(descriptor: Descriptor, key: string): TokenBucket | null {
    for (const wildcard of this.wildcards) {
      const bucket = wildcard.find(descriptor, key)
      if (bucket !== null) return bucket
    }
    return null
  }
}
