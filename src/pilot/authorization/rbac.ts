// RBAC filters of a workload: one an action, enforced and dry-run policies apart.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type RBAC, RBAC_Action, RBACSchema } from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../api/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../api/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { AuthorizationPolicy } from '../../config/index.ts'
import { httpFilter, networkFilter } from '../lds/filters.ts'
import { MATCH_NEVER, rulePolicy } from './policy.ts'

export type EnforcedAction = 'ALLOW' | 'DENY' | 'AUDIT'

const ACTIONS: Readonly<Record<EnforcedAction, RBAC_Action>> = {
  ALLOW: RBAC_Action.ALLOW,
  DENY: RBAC_Action.DENY,
  AUDIT: RBAC_Action.LOG,
}

/** Rules that are enforced and rules that only report; null where there is no policy of the kind. */
export interface RbacRules {
  readonly enforced: RBAC | null
  readonly shadow: RBAC | null
}

function isDryRun(policy: AuthorizationPolicy): boolean {
  return policy.metadata.annotations['istio.io/dry-run'] === 'true'
}

export function rbacRules(
  policies: readonly AuthorizationPolicy[],
  action: EnforcedAction,
  tcp: boolean,
  trustDomains: readonly string[],
): RbacRules {
  let enforced: RBAC | null = null
  let shadow: RBAC | null = null
  for (const policy of policies) {
    let rules: RBAC
    if (isDryRun(policy)) rules = shadow ??= create(RBACSchema, { action: ACTIONS[action] })
    else rules = enforced ??= create(RBACSchema, { action: ACTIONS[action] })
    addPolicies(rules, policy, { tcp, lenient: action !== 'ALLOW', trustDomains, prefix: '', suffix: '' })
  }
  return { enforced, shadow }
}

interface Naming {
  readonly tcp: boolean
  readonly lenient: boolean
  readonly trustDomains: readonly string[]
  readonly prefix: string
  readonly suffix: string
}

/** Adds one RBAC policy a rule, under Istio's names. */
export function addPolicies(rules: RBAC, policy: AuthorizationPolicy, naming: Naming): void {
  const { namespace, name } = policy.metadata
  const nameOf = (i: number): string => `${naming.prefix}ns[${namespace}]-policy[${name}]-rule[${i}]${naming.suffix}`
  const list = policy.spec.rules ?? []
  if (list.length === 0) rules.policies[nameOf(0)] = MATCH_NEVER
  list.forEach((rule, i) => {
    const built = rulePolicy(rule, { ...naming, namespace })
    if (built) rules.policies[nameOf(i)] = built
  })
}

/** Where dry runs are counted: by the action of the rules that are only reported. */
function shadowStatPrefix({ shadow }: RbacRules): string {
  return shadow?.action === RBAC_Action.DENY ? 'istio_dry_run_deny_' : 'istio_dry_run_allow_'
}

export function httpRbacFilter(rules: RbacRules): HttpFilter {
  return httpFilter(
    'envoy.filters.http.rbac',
    anyPack(
      HttpRbacSchema,
      create(HttpRbacSchema, {
        rules: rules.enforced ?? undefined,
        shadowRules: rules.shadow ?? undefined,
        shadowRulesStatPrefix: shadowStatPrefix(rules),
      }),
    ),
  )
}

export function networkRbacFilter(rules: RbacRules): Filter {
  return networkFilter(
    'envoy.filters.network.rbac',
    anyPack(
      NetworkRbacSchema,
      create(NetworkRbacSchema, {
        rules: rules.enforced ?? undefined,
        shadowRules: rules.shadow ?? undefined,
        shadowRulesStatPrefix: shadowStatPrefix(rules),
        statPrefix: 'tcp.',
      }),
    ),
  )
}
