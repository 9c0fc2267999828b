// envoy.filters.http.ratelimit: configuration, of the filter and of routes.

import {
  type RateLimit,
  type RateLimitPerRoute,
  RateLimitPerRouteSchema,
  RateLimitSchema,
  RateLimitPerRoute_VhRateLimitsOptions as VhRateLimits,
  RateLimit_XRateLimitHeadersRFCVersion as XRateLimitHeaders,
} from '../../../../api/gen/envoy/extensions/filters/http/ratelimit/v3/rate_limit_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type { FractionData, HeaderMutationsData, RateLimitData } from '../../../route/config.ts'
import { parseFraction, parseHeaderMutations } from '../../../route/parse-common.ts'
import { parseOwnRateLimits } from '../../../route/parse-rate-limit.ts'
import type { GrpcTarget } from '../../../upstream/grpc-target.ts'
import { parseService } from '../../common/rate-limit.ts'
import { createRateLimitFilter } from './filter.ts'

export interface RateLimitConfig {
  readonly service: GrpcTarget
  readonly domain: string
  readonly stage: number
  readonly requestType: 'internal' | 'external' | 'both'
  readonly failureModeDeny: boolean
  /** Share of failed calls that are answered with an error; null = by failureModeDeny. */
  readonly failureModeDenyFraction: FractionData | null
  readonly asResourceExhausted: boolean
  readonly xRateLimitHeaders: boolean
  readonly rateLimitedHeader: boolean
  readonly status: number
  readonly statusOnError: number
  readonly responseHeaders: HeaderMutationsData | null
  readonly statPrefix: string
  readonly enabled: FractionData | null
  readonly enforced: FractionData | null
  /** Limits of the filter itself, in place of those of routes; null = those of routes. */
  readonly rateLimits: readonly RateLimitData[] | null
}

/** Of a route or virtual host. */
export interface RateLimitRouteConfig {
  readonly vhRateLimits: 'override' | 'include' | 'ignore'
  /** '' = the filter's. */
  readonly domain: string
  /** In place of all others; null = those. */
  readonly rateLimits: readonly RateLimitData[] | null
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'domain', 'stage', 'request_type', 'timeout', 'failure_mode_deny', 'rate_limited_as_resource_exhausted',
  'rate_limit_service', 'enable_x_ratelimit_headers', 'disable_x_envoy_ratelimited_header', 'rate_limited_status',
  'response_headers_to_add', 'status_on_error', 'stat_prefix', 'filter_enabled', 'filter_enforced',
  'failure_mode_deny_percent', 'rate_limits',
]) // biome-ignore format: one list
/** Envoy reads `override_option` from no route: with every value of it vh_rate_limits decides. */
const ROUTE_SUPPORTED: ReadonlySet<string> = new Set(['vh_rate_limits', 'domain', 'rate_limits', 'override_option'])

const TOO_MANY_REQUESTS = 429
const INTERNAL_SERVER_ERROR = 500

export const rateLimitFilter: HttpFilterExtension<RateLimitConfig, RateLimitRouteConfig> = {
  name: 'envoy.filters.http.ratelimit',
  desc: RateLimitSchema,
  parse: (message, context) => parseRateLimit(message as RateLimit, context),
  routeDesc: RateLimitPerRouteSchema,
  parseRoute: (message, context) => parseRoute(message as RateLimitPerRoute, context),
  create: createRateLimitFilter,
}

function parseRateLimit(message: RateLimit, context: ParseContext): RateLimitConfig {
  refuseUnsupported(RateLimitSchema, message, SUPPORTED, context.path)
  const status = message.rateLimitedStatus?.code ?? 0
  return {
    service: parseService(message.rateLimitService, message.timeout, context),
    domain: message.domain,
    stage: message.stage,
    requestType:
      message.requestType === 'internal' || message.requestType === 'external' ? message.requestType : 'both',
    failureModeDeny: message.failureModeDeny,
    failureModeDenyFraction: parseFraction(message.failureModeDenyPercent),
    asResourceExhausted: message.rateLimitedAsResourceExhausted,
    xRateLimitHeaders: message.enableXRatelimitHeaders === XRateLimitHeaders.DRAFT_VERSION_03,
    rateLimitedHeader: !message.disableXEnvoyRatelimitedHeader,
    // Only errors make sense as a refusal; anything else becomes the default, as in Envoy.
    status: status >= 400 ? status : TOO_MANY_REQUESTS,
    statusOnError: message.statusOnError?.code || INTERNAL_SERVER_ERROR,
    responseHeaders: parseHeaderMutations(message.responseHeadersToAdd, [], 'response', context),
    statPrefix: message.statPrefix,
    enabled: parseFraction(message.filterEnabled),
    enforced: parseFraction(message.filterEnforced),
    rateLimits: message.rateLimits.length > 0 ? parseOwnRateLimits(message.rateLimits, context) : null,
  }
}

const VH = {
  [VhRateLimits.OVERRIDE]: 'override',
  [VhRateLimits.INCLUDE]: 'include',
  [VhRateLimits.IGNORE]: 'ignore',
} as const

function parseRoute(message: RateLimitPerRoute, context: ParseContext): RateLimitRouteConfig {
  refuseUnsupported(RateLimitPerRouteSchema, message, ROUTE_SUPPORTED, context.path)
  return {
    vhRateLimits: VH[message.vhRateLimits] ?? 'override',
    domain: message.domain,
    rateLimits: message.rateLimits.length > 0 ? parseOwnRateLimits(message.rateLimits, context) : null,
  }
}
