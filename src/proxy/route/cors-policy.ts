// CORS policies: the filter's own per-route configuration and the deprecated `cors` fields of routes, which say the same.

import type { CorsPolicy as RouteCorsPolicy } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { CorsPolicy as FilterCorsPolicy } from '../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import type { ParseContext } from '../config/extension.ts'
import type { FractionData } from './config.ts'
import { parseFraction } from './parse-common.ts'
import { parseStringMatcher, type StringMatcherData } from './string-matcher.ts'

export const CORS_FILTER = 'envoy.filters.http.cors'

/** Empty texts and nulls leave the field to a less specific policy. */
export interface CorsPolicyData {
  readonly allowOrigins: readonly StringMatcherData[]
  readonly allowMethods: string
  readonly allowHeaders: string
  readonly exposeHeaders: string
  readonly maxAge: string
  readonly allowCredentials: boolean | null
  readonly allowPrivateNetworkAccess: boolean | null
  readonly forwardNotMatchingPreflights: boolean | null
  readonly filterEnabled: FractionData | null
  readonly shadowEnabled: FractionData | null
}

export function parseCorsPolicy(policy: RouteCorsPolicy | FilterCorsPolicy, context: ParseContext): CorsPolicyData {
  const enabled = 'enabledSpecifier' in policy ? policy.enabledSpecifier.value : policy.filterEnabled
  return {
    allowOrigins: policy.allowOriginStringMatch.map((matcher, i) =>
      parseStringMatcher(matcher, context.at(`allow_origin_string_match[${i}]`).path),
    ),
    allowMethods: policy.allowMethods,
    allowHeaders: policy.allowHeaders,
    exposeHeaders: policy.exposeHeaders,
    maxAge: policy.maxAge,
    allowCredentials: policy.allowCredentials ?? null,
    allowPrivateNetworkAccess: policy.allowPrivateNetworkAccess ?? null,
    forwardNotMatchingPreflights: policy.forwardNotMatchingPreflights ?? null,
    filterEnabled: parseFraction(enabled),
    shadowEnabled: parseFraction(policy.shadowEnabled),
  }
}
