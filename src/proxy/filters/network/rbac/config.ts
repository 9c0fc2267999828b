// envoy.filters.network.rbac: configuration.

import {
  type RBAC,
  RBAC_EnforcementType,
  RBACSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { NETWORK_RBAC_INPUTS } from '../../../matching/inputs.ts'
import { parseRbac, parseRules, type RbacData, refuseHeaders } from '../../../rbac/config.ts'
import { createNetworkRbac } from './filter.ts'

export interface NetworkRbacConfig {
  readonly rules: RbacData | null
  readonly shadowRules: RbacData | null
  readonly shadowRulesStatPrefix: string
  readonly statPrefix: string
  /** Evaluate on every read, not only on the first byte. */
  readonly continuous: boolean
}

const SUPPORTED = new Set([
  'rules',
  'matcher',
  'shadow_rules',
  'shadow_matcher',
  'shadow_rules_stat_prefix',
  'stat_prefix',
  'enforcement_type',
])

export const networkRbacFilter: NetworkFilterExtension<NetworkRbacConfig> = {
  name: 'envoy.filters.network.rbac',
  desc: RBACSchema,
  parse: (message, context) => {
    const rbac = message as RBAC
    refuseUnsupported(RBACSchema, rbac, SUPPORTED, context.path)
    // Also of rules that a matcher beside them outdoes.
    for (const [field, rules] of [
      ['rules', rbac.rules],
      ['shadow_rules', rbac.shadowRules],
    ] as const) {
      if (rules) refuseHeaders(parseRules(rules, context.at(field).path), context.at(field).path)
    }
    return {
      rules: parseRbac(rbac.rules, rbac.matcher, NETWORK_RBAC_INPUTS, '', context),
      shadowRules: parseRbac(rbac.shadowRules, rbac.shadowMatcher, NETWORK_RBAC_INPUTS, 'shadow_', context),
      shadowRulesStatPrefix: rbac.shadowRulesStatPrefix,
      statPrefix: rbac.statPrefix,
      continuous: rbac.enforcementType === RBAC_EnforcementType.CONTINUOUS,
    }
  },
  create: createNetworkRbac,
}
