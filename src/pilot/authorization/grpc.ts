// RBAC of proxyless gRPC servers.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { RBAC_Action, RBACSchema } from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../api/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { httpFilter } from '../lds/filters.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { MATCH_NEVER, rulePolicy } from './policy.ts'
import { policiesFor } from './select.ts'

const NAME = 'envoy.filters.http.rbac'
const ACTIONS = [
  { action: 'DENY', name: `${NAME}.DENY`, value: RBAC_Action.DENY },
  { action: 'ALLOW', name: NAME, value: RBAC_Action.ALLOW },
] as const

/**
 * DENY and then ALLOW: gRPC knows no other action. As in istiod each rule has a name of its own form. Where all that
 * policies allow is nothing, nothing is allowed; istiod then lets everybody in.
 */
export function grpcRbacFilters(proxy: ProxyNode, push: PushContext): HttpFilter[] {
  const selected = policiesFor(push.authorizationPolicies, push.mesh.rootNamespace, proxy)
  return ACTIONS.flatMap(({ action, name, value }) => {
    const policies = selected.filter(({ spec }) => (spec.action ?? 'ALLOW') === action)
    const rules = create(RBACSchema, { action: value })
    for (const { spec, metadata } of policies) {
      const context = { tcp: false, lenient: action === 'DENY', namespace: metadata.namespace, trustDomains: [] }
      spec.rules?.forEach((rule, i) => {
        const policy = rulePolicy(rule, context)
        if (policy) rules.policies[`${metadata.namespace}-${metadata.name}-${i}`] = policy
      })
    }
    if (Object.keys(rules.policies).length === 0) {
      if (action === 'DENY' || policies.length === 0) return []
      rules.policies.nothing = MATCH_NEVER
    }
    return httpFilter(name, anyPack(HttpRbacSchema, create(HttpRbacSchema, { rules })))
  })
}
