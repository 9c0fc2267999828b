// The question to a rate limit service and its answer, for the HTTP and the network filter (envoy.service.ratelimit.v3).

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type { HeaderValue } from '../../../api/gen/envoy/config/core/v3/base_pb.js'
import type { RateLimitServiceConfig } from '../../../api/gen/envoy/config/ratelimit/v3/rls_pb.js'
import {
  RateLimitResponse_Code as Code,
  RateLimitRequestSchema,
  type RateLimitResponse,
  type RateLimitResponse_DescriptorStatus,
  RateLimitResponseSchema,
  RateLimitResponse_RateLimit_Unit as Unit,
} from '../../../api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { byteString } from '../../../base/byte-string.ts'
import { fieldValue } from '../../../base/bytes.ts'
import { durationMsOr } from '../../config/duration.ts'
import type { ParseContext } from '../../config/extension.ts'
import type { RequestDescriptor } from '../../route/rate-limit-descriptors.ts'
import { type GrpcTarget, parseGrpcTarget } from '../../upstream/grpc-target.ts'

export const SHOULD_RATE_LIMIT = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit'

const DEFAULT_TIMEOUT_MS = 20

export type Headers = readonly (readonly [name: string, value: string])[]

export interface Answer {
  readonly verdict: 'ok' | 'over_limit'
  readonly requestHeaders: Headers
  readonly responseHeaders: Headers
  /** What became of each descriptor, in order. */
  readonly statuses: readonly RateLimitResponse_DescriptorStatus[]
  /** Byte string. */
  readonly body: string
  readonly metadata: Readonly<Record<string, unknown>> | null
}

/** Where `rate_limit_service` of a filter is asked; `context` is the filter's. */
export function parseService(
  message: RateLimitServiceConfig | undefined,
  timeout: Duration | undefined,
  context: ParseContext,
): GrpcTarget {
  const timeoutMs = durationMsOr(timeout, DEFAULT_TIMEOUT_MS)
  return parseGrpcTarget(message?.grpcService, timeoutMs, context.at('rate_limit_service.grpc_service'))
}

export function encodeQuestion(domain: string, descriptors: readonly RequestDescriptor[]): Uint8Array {
  const request = create(RateLimitRequestSchema, {
    domain,
    descriptors: descriptors.map(({ entries, hits, negative, limit }) => ({
      entries: entries.map(([key, value]) => ({ key, value })),
      ...(hits !== null && { hitsAddend: BigInt(hits) }),
      isNegativeHits: negative,
      ...(limit !== null && { limit }),
    })),
  })
  return toBinary(RateLimitRequestSchema, request)
}

/** null for what is no answer. */
export function decodeAnswer(message: Uint8Array): Answer | null {
  let response: RateLimitResponse
  try {
    response = fromBinary(RateLimitResponseSchema, message)
  } catch {
    return null
  }
  if (response.overallCode !== Code.OK && response.overallCode !== Code.OVER_LIMIT) return null
  return {
    verdict: response.overallCode === Code.OK ? 'ok' : 'over_limit',
    requestHeaders: pairs(response.requestHeadersToAdd),
    responseHeaders: pairs(response.responseHeadersToAdd),
    statuses: response.statuses,
    body: Buffer.from(response.rawBody).toString('latin1'),
    metadata: (response.dynamicMetadata as Record<string, unknown> | undefined) ?? null,
  }
}

function pairs(headers: readonly HeaderValue[]): Headers {
  return headers.map(({ key, value }) => [key.toLowerCase(), fieldValue(byteString(value))])
}

/** Seconds; 0 = of no length that can be told. */
const SECONDS: Readonly<Partial<Record<Unit, number>>> = {
  [Unit.SECOND]: 1,
  [Unit.MINUTE]: 60,
  [Unit.HOUR]: 3600,
  [Unit.DAY]: 86_400,
  [Unit.WEEK]: 604_800,
  [Unit.MONTH]: 2_592_000,
  [Unit.YEAR]: 31_536_000,
}

/**
 * x-ratelimit-limit, -remaining and -reset as draft-polli-ratelimit-headers-03 has them: the limit that is nearest to its
 * end, and the policy of all. Empty when the service names no limit, and when the nearest is not to be told.
 */
export function limitHeaders(
  { statuses }: Answer,
  descriptors: readonly RequestDescriptor[],
  toldByDefault: boolean,
): Headers {
  let nearest: RateLimitResponse_DescriptorStatus | null = null
  let nearestIsTold = false
  let policy = ''
  for (const [i, status] of statuses.entries()) {
    const limit = status.currentLimit
    if (!limit) continue
    const told = descriptors[i]?.told ?? toldByDefault
    if (nearest === null || status.limitRemaining < nearest.limitRemaining) {
      nearest = status
      nearestIsTold = told
    }
    const window = (SECONDS[limit.unit] ?? 0) * (limit.unitMultiplier ?? 1)
    if (window === 0 || !told) continue
    policy += `, ${limit.requestsPerUnit};w=${window}${limit.name === '' ? '' : `;name="${limit.name}"`}`
  }
  if (nearest === null || !nearestIsTold) return []
  return [
    ['x-ratelimit-limit', `${nearest.currentLimit!.requestsPerUnit}${policy}`],
    ['x-ratelimit-remaining', String(nearest.limitRemaining)],
    ['x-ratelimit-reset', String(nearest.durationUntilReset?.seconds ?? 0)],
  ]
}
