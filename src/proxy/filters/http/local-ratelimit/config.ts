// envoy.filters.http.local_ratelimit: configuration, of the filter and of routes (a route's replaces the filter's).

import {
  VhRateLimitsOptions,
  XRateLimitHeadersRFCVersion,
} from '../../../../api/gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import type { TokenBucket } from '../../../../api/gen/envoy/type/v3/token_bucket_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { createBucketMemory } from '../../../../base/shared-token-bucket.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type { FractionData, HeaderMutationsData, RateLimitData } from '../../../route/config.ts'
import { parseFraction, parseHeaderMutations } from '../../../route/parse-common.ts'
import { parseOwnRateLimits } from '../../../route/parse-rate-limit.ts'
import type { Descriptor, VhRateLimits } from '../../../route/rate-limit-descriptors.ts'
import { createLocalRateLimitFilter } from './filter.ts'
import { createBucketsMemory } from './shared-buckets.ts'

export interface BucketConfig {
  readonly maxTokens: number
  readonly tokensPerFill: number
  readonly fillIntervalMs: number
  /** Of all workers (base/shared-token-bucket.ts, or shared-buckets.ts for descriptors with an entry without value). */
  readonly memory: SharedArrayBuffer
}

export interface LocalRateLimitConfig {
  readonly statPrefix: string
  readonly status: number
  /** null = no limit of its own. */
  readonly bucket: BucketConfig | null
  readonly descriptors: readonly { readonly entries: Descriptor; readonly bucket: BucketConfig }[]
  readonly enabled: FractionData | null
  readonly enforced: FractionData | null
  readonly requestHeaders: HeaderMutationsData | null
  readonly responseHeaders: HeaderMutationsData | null
  readonly stage: number
  /** Limits of the filter itself, in place of those of routes; null = those of routes. */
  readonly rateLimits: readonly RateLimitData[] | null
  readonly vhRateLimits: VhRateLimits
  /** Values that each wildcard descriptor keeps a bucket for; the one not used for longest makes room. */
  readonly maxDynamicDescriptors: number
  readonly perDownstreamConnection: boolean
  readonly xRateLimitHeaders: boolean
  readonly alwaysConsumeDefault: boolean
  readonly asResourceExhausted: boolean
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'stat_prefix',
  'status',
  'token_bucket',
  'filter_enabled',
  'filter_enforced',
  'request_headers_to_add_when_not_enforced',
  'response_headers_to_add',
  'descriptors',
  'stage',
  'local_rate_limit_per_downstream_connection',
  'enable_x_ratelimit_headers',
  'always_consume_default_token_bucket',
  'rate_limited_as_resource_exhausted',
  'vh_rate_limits',
  'rate_limits',
  'max_dynamic_descriptors',
])
const DEFAULT_MAX_DYNAMIC_DESCRIPTORS = 20
const MIN_FILL_MS = 50
const TOO_MANY_REQUESTS = 429

export const localRateLimitFilter: HttpFilterExtension<LocalRateLimitConfig, LocalRateLimitConfig> = {
  name: 'envoy.filters.http.local_ratelimit',
  desc: LocalRateLimitSchema,
  parse: (message, context) => parseLocalRateLimit(message as LocalRateLimit, context),
  routeDesc: LocalRateLimitSchema,
  parseRoute: (message, context) => parseRoute(message as LocalRateLimit, context),
  create: createLocalRateLimitFilter,
}

function parseLocalRateLimit(message: LocalRateLimit, context: ParseContext): LocalRateLimitConfig {
  refuseUnsupported(LocalRateLimitSchema, message, SUPPORTED, context.path)
  const status = message.status?.code ?? 0
  return {
    statPrefix: message.statPrefix,
    // Only errors make sense as a refusal; anything else becomes the default, as in Envoy.
    status: status >= 400 ? status : TOO_MANY_REQUESTS,
    bucket: message.tokenBucket ? parseBucket(message.tokenBucket, null, context.at('token_bucket')) : null,
    descriptors: parseDescriptors(message, context),
    enabled: parseFraction(message.filterEnabled),
    enforced: parseFraction(message.filterEnforced),
    requestHeaders: parseHeaderMutations(message.requestHeadersToAddWhenNotEnforced, [], 'request', context),
    responseHeaders: parseHeaderMutations(message.responseHeadersToAdd, [], 'response', context),
    stage: message.stage,
    rateLimits: parseOwnLimits(message, context),
    vhRateLimits: VH_RATE_LIMITS[message.vhRateLimits] ?? 'override',
    maxDynamicDescriptors: maxValuesOf(message),
    perDownstreamConnection: message.localRateLimitPerDownstreamConnection,
    xRateLimitHeaders: message.enableXRatelimitHeaders === XRateLimitHeadersRFCVersion.DRAFT_VERSION_03,
    alwaysConsumeDefault: message.alwaysConsumeDefaultTokenBucket ?? true,
    asResourceExhausted: message.rateLimitedAsResourceExhausted,
  }
}

function maxValuesOf(message: LocalRateLimit): number {
  return message.maxDynamicDescriptors ?? DEFAULT_MAX_DYNAMIC_DESCRIPTORS
}

/** A route's limit stands in place of the filter's and must have a bucket. */
function parseRoute(message: LocalRateLimit, context: ParseContext): LocalRateLimitConfig {
  if (!message.tokenBucket)
    throw new ConfigError(
      context.at('token_bucket').path,
      'local rate limit token bucket must be set for per filter configs',
    )
  return parseLocalRateLimit(message, context)
}

function parseDescriptors(message: LocalRateLimit, context: ParseContext): LocalRateLimitConfig['descriptors'] {
  const seen = new Set<string>()
  return message.descriptors.map((descriptor, i) => {
    const at = context.at(`descriptors[${i}]`)
    if (!descriptor.tokenBucket) throw new ConfigError(at.at('token_bucket').path, 'is required')
    const entries = descriptor.entries.map(({ key, value }) => [key, value] as const)
    const key = JSON.stringify(entries)
    if (seen.has(key)) {
      const text = entries.map(([name, value]) => `${name}=${value}`).join(', ')
      throw new ConfigError(at.path, `duplicate descriptor in the local rate descriptor: ${text}`)
    }
    seen.add(key)
    const values = entries.some(([, value]) => value === '') ? maxValuesOf(message) : null
    return { entries, bucket: parseBucket(descriptor.tokenBucket, values, at.at('token_bucket')) }
  })
}

function parseOwnLimits(message: LocalRateLimit, context: ParseContext): RateLimitData[] | null {
  if (message.rateLimits.length === 0) return null
  message.rateLimits.forEach(({ limit }, i) => {
    if (limit) throw new ConfigError(context.at(`rate_limits[${i}].limit`).path, "'limit' field is not supported")
  })
  return parseOwnRateLimits(message.rateLimits, context)
}

const VH_RATE_LIMITS: Readonly<Record<VhRateLimitsOptions, VhRateLimits>> = {
  [VhRateLimitsOptions.OVERRIDE]: 'override',
  [VhRateLimitsOptions.INCLUDE]: 'include',
  [VhRateLimitsOptions.IGNORE]: 'ignore',
}

/** `values`: how many buckets, for a descriptor that has one for each value; null = a single one. */
function parseBucket(bucket: TokenBucket, values: number | null, context: ParseContext): BucketConfig {
  const fillIntervalMs = durationMsOr(bucket.fillInterval, 0)
  if (fillIntervalMs < MIN_FILL_MS) {
    throw new ConfigError(context.at('fill_interval').path, 'local rate limit token bucket fill timer must be >= 50ms')
  }
  const { maxTokens } = bucket
  const tokensPerFill = bucket.tokensPerFill ?? 1
  const memory =
    values === null
      ? createBucketMemory(maxTokens, tokensPerFill, fillIntervalMs)
      : createBucketsMemory(maxTokens, tokensPerFill, fillIntervalMs, values)
  return { maxTokens, tokensPerFill, fillIntervalMs, memory }
}
