// envoy.filters.http.rbac: configuration.

import {
  type RBAC,
  type RBACPerRoute,
  RBACPerRouteSchema,
  RBACSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { parseRules, type RulesData } from '../../../rbac/config.ts'
import { createRbacFilter } from './filter.ts'

export interface RbacConfig {
  /** null = not enforced. */
  readonly rules: RulesData | null
  readonly shadowRules: RulesData | null
  readonly rulesStatPrefix: string
  readonly shadowRulesStatPrefix: string
  readonly trackPerRuleStats: boolean
}

const SUPPORTED = new Set([
  'rules',
  'rules_stat_prefix',
  'shadow_rules',
  'shadow_rules_stat_prefix',
  'track_per_rule_stats',
])

function parseRbac(message: RBAC, context: ParseContext): RbacConfig {
  refuseUnsupported(RBACSchema, message, SUPPORTED, context.path)
  return {
    rules: message.rules ? parseRules(message.rules, context.at('rules').path) : null,
    shadowRules: message.shadowRules ? parseRules(message.shadowRules, context.at('shadow_rules').path) : null,
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
