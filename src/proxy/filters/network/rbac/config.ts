// envoy.filters.network.rbac: configuration.

import {
  type RBAC,
  RBAC_EnforcementType,
  RBACSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { parseRules, type RulesData } from '../../../rbac/config.ts'
import { createNetworkRbac } from './filter.ts'

export interface NetworkRbacConfig {
  readonly rules: RulesData | null
  readonly shadowRules: RulesData | null
  readonly shadowRulesStatPrefix: string
  readonly statPrefix: string
  /** Evaluate on every read, not only on the first byte. */
  readonly continuous: boolean
}

const SUPPORTED = new Set(['rules', 'shadow_rules', 'shadow_rules_stat_prefix', 'stat_prefix', 'enforcement_type'])

export const networkRbacFilter: NetworkFilterExtension<NetworkRbacConfig> = {
  name: 'envoy.filters.network.rbac',
  desc: RBACSchema,
  parse: (message, context) => {
    const rbac = message as RBAC
    refuseUnsupported(RBACSchema, rbac, SUPPORTED, context.path)
    return {
      rules: rbac.rules ? parseRules(rbac.rules, context.at('rules').path) : null,
      shadowRules: rbac.shadowRules ? parseRules(rbac.shadowRules, context.at('shadow_rules').path) : null,
      shadowRulesStatPrefix: rbac.shadowRulesStatPrefix,
      statPrefix: rbac.statPrefix,
      continuous: rbac.enforcementType === RBAC_EnforcementType.CONTINUOUS,
    }
  },
  create: createNetworkRbac,
}
