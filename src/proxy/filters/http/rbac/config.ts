// envoy.filters.http.rbac: configuration.

import {
  type RBAC,
  type RBACPerRoute,
  RBACPerRouteSchema,
  RBACSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { HTTP_RBAC_INPUTS } from '../../../matching/inputs.ts'
import { parseRbac as parseRbacData, type RbacData } from '../../../rbac/config.ts'
import { createRbacFilter } from './filter.ts'

export interface RbacConfig {
  /** null = not enforced. */
  readonly rules: RbacData | null
  readonly shadowRules: RbacData | null
  readonly rulesStatPrefix: string
  readonly shadowRulesStatPrefix: string
  readonly trackPerRuleStats: boolean
}

const SUPPORTED = new Set([
  'rules',
  'matcher',
  'shadow_matcher',
  'rules_stat_prefix',
  'shadow_rules',
  'shadow_rules_stat_prefix',
  'track_per_rule_stats',
])

function parseRbac(message: RBAC, context: ParseContext): RbacConfig {
  refuseUnsupported(RBACSchema, message, SUPPORTED, context.path)
  return {
    rules: parseRbacData(message.rules, message.matcher, HTTP_RBAC_INPUTS, '', context),
    shadowRules: parseRbacData(message.shadowRules, message.shadowMatcher, HTTP_RBAC_INPUTS, 'shadow_', context),
    rulesStatPrefix: message.rulesStatPrefix,
    shadowRulesStatPrefix: message.shadowRulesStatPrefix,
    trackPerRuleStats: message.trackPerRuleStats,
  }
}

/** Of a route: replaces the filter's rules; null turns the filter off there. */
export interface RbacRouteConfig {
  readonly rbac: RbacConfig | null
}

export const rbacFilter: HttpFilterExtension<RbacConfig, RbacRouteConfig> = {
  name: 'envoy.filters.http.rbac',
  desc: RBACSchema,
  parse: (message, context) => parseRbac(message as RBAC, context),
  routeDesc: RBACPerRouteSchema,
  parseRoute: (message, context) => {
    const { rbac } = message as RBACPerRoute
    return { rbac: rbac ? parseRbac(rbac, context.at('rbac')) : null }
  },
  create: createRbacFilter,
}
