// Security filters of one workload's chains: CUSTOM, RequestAuthentication, then AUDIT, DENY and ALLOW.
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { AuthorizationPolicy, RequestAuthentication } from '../../config/index.ts'
import type { HttpSecurityFilters } from '../lds/filters.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { customHttpFilters, customNetworkFilters } from './ext-authz.ts'
import { jwtFilters } from './jwt.ts'
import { type EnforcedAction, httpRbacFilter, networkRbacFilter, rbacRules } from './rbac.ts'
import { policiesFor } from './select.ts'

/** The order in which Envoy must ask. */
const ORDER: readonly EnforcedAction[] = ['AUDIT', 'DENY', 'ALLOW']

/** Security of TCP chains, in its places. */
export interface NetworkSecurityFilters {
  readonly custom: readonly Filter[]
  readonly rbac: readonly Filter[]
}

interface WorkloadSecurity {
  readonly http: HttpSecurityFilters
  readonly network: NetworkSecurityFilters
}

const memo = new WeakMap<ProxyNode, { readonly push: PushContext; readonly security: WorkloadSecurity }>()

/** Every chain of a workload has the same filters, so they are built once per push. */
function securityOf(push: PushContext, proxy: ProxyNode): WorkloadSecurity {
  const known = memo.get(proxy)
  if (known?.push === push) return known.security
  const { rootNamespace } = push.mesh
  const policies = policiesFor(push.authorizationPolicies, rootNamespace, proxy)
  const security: WorkloadSecurity = {
    http: {
      ...authorizationHttpFilters(policies, push),
      jwt: jwtFilters(
        ownFirst(policiesFor(push.requestAuthentications, rootNamespace, proxy), proxy),
        proxy.type,
        push.keySets,
      ),
    },
    network: authorizationNetworkFilters(policies, push),
  }
  memo.set(proxy, { push, security })
  return security
}

/** Rules of one issuer stand in this order: the workload's namespace before the root namespace. */
function ownFirst(policies: readonly RequestAuthentication[], { namespace }: ProxyNode): RequestAuthentication[] {
  const isOwn = ({ metadata }: RequestAuthentication) => metadata.namespace === namespace
  return [...policies.filter(isOwn), ...policies.filter((policy) => !isOwn(policy))]
}

export function httpSecurity(push: PushContext, proxy: ProxyNode): HttpSecurityFilters {
  return securityOf(push, proxy).http
}

export function networkSecurity(push: PushContext, proxy: ProxyNode): NetworkSecurityFilters {
  return securityOf(push, proxy).network
}

/** HTTP filters of the policies that apply to one workload. */
export function authorizationHttpFilters(
  policies: readonly AuthorizationPolicy[],
  push: PushContext,
): { custom: HttpFilter[]; rbac: HttpFilter[] } {
  const trustDomains = trustDomainsOf(push)
  return {
    custom: customHttpFilters(withAction(policies, 'CUSTOM'), push, trustDomains),
    rbac: ORDER.flatMap((action) => {
      const list = withAction(policies, action)
      return list.length > 0 ? [httpRbacFilter(rbacRules(list, action, false, trustDomains))] : []
    }),
  }
}

/** Network filters of the same policies, for TCP chains. */
export function authorizationNetworkFilters(
  policies: readonly AuthorizationPolicy[],
  push: PushContext,
): NetworkSecurityFilters {
  const trustDomains = trustDomainsOf(push)
  return {
    custom: customNetworkFilters(withAction(policies, 'CUSTOM'), push, trustDomains),
    rbac: ORDER.flatMap((action) => {
      const list = withAction(policies, action)
      return list.length > 0 ? [networkRbacFilter(rbacRules(list, action, true, trustDomains))] : []
    }),
  }
}

function trustDomainsOf({ mesh }: PushContext): readonly string[] {
  return [mesh.trustDomain, ...mesh.trustDomainAliases]
}

function withAction(
  policies: readonly AuthorizationPolicy[],
  action: EnforcedAction | 'CUSTOM',
): AuthorizationPolicy[] {
  return policies.filter((policy) => (policy.spec.action ?? 'ALLOW') === action)
}
