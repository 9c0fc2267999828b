// One rule of an AuthorizationPolicy as one RBAC policy.
import { create } from '@bufbuild/protobuf'
import {
  type Permission,
  PermissionSchema,
  type Policy,
  PolicySchema,
  type Principal,
  PrincipalSchema,
} from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import type { AuthorizationOperation, AuthorizationRule, AuthorizationSource } from '../../config/index.ts'
import {
  type Attribute,
  conditionAttribute,
  DESTINATION_PORT,
  HOST,
  METHOD,
  PATH,
  REMOTE_IP,
  REQUEST_PRINCIPAL,
  SOURCE_IP,
  SOURCE_NAMESPACE,
  SOURCE_PRINCIPAL,
  SOURCE_TRUST_DOMAIN,
  sourceServiceAccount,
} from './attributes.ts'
import { expandDomains, expandTrustDomains } from './trust-domain.ts'

/** What a rule is translated for. */
export interface RuleContext {
  readonly tcp: boolean
  /** On TCP a DENY or AUDIT rule ignores what only HTTP has, so that it catches more rather than less; others are unusable. */
  readonly lenient: boolean
  readonly namespace: string
  /** The mesh's trust domain first, then its aliases. */
  readonly trustDomains: readonly string[]
}

/** One attribute with its values. */
interface Group<M> {
  readonly attribute: Attribute<M>
  readonly values: readonly string[]
  readonly notValues: readonly string[]
}

/** Null: a rule about HTTP that cannot be asked of a TCP connection. */
export function rulePolicy(rule: AuthorizationRule, context: RuleContext): Policy | null {
  const { principals: whenWho, permissions: whenWhat } = conditions(rule, context)
  const permissions: Permission[] = []
  for (const to of rule.to?.length ? rule.to : [{}]) {
    const groups = [...operationGroups(to.operation ?? {}), ...whenWhat]
    const rules = matchers(groups, context, orPermissions, notPermission)
    if (!rules) return null
    const all = rules.length > 0 ? rules : [create(PermissionSchema, { rule: { case: 'any', value: true } })]
    permissions.push(create(PermissionSchema, { rule: { case: 'andRules', value: { rules: all } } }))
  }
  const principals: Principal[] = []
  for (const from of rule.from?.length ? rule.from : [{}]) {
    const groups = [...sourceGroups(from.source ?? {}, context), ...whenWho]
    const ids = matchers(groups, context, orPrincipals, notPrincipal)
    if (!ids) return null
    const all = ids.length > 0 ? ids : [create(PrincipalSchema, { identifier: { case: 'any', value: true } })]
    principals.push(create(PrincipalSchema, { identifier: { case: 'andIds', value: { ids: all } } }))
  }
  return create(PolicySchema, { permissions, principals })
}

/** A policy that matches nothing: an AuthorizationPolicy without rules. */
export const MATCH_NEVER: Policy = create(PolicySchema, {
  permissions: [
    create(PermissionSchema, {
      rule: { case: 'notRule', value: create(PermissionSchema, { rule: { case: 'any', value: true } }) },
    }),
  ],
  principals: [
    create(PrincipalSchema, {
      identifier: { case: 'notId', value: create(PrincipalSchema, { identifier: { case: 'any', value: true } }) },
    }),
  ],
})

function group<M>(
  attribute: Attribute<M>,
  values: readonly string[] | undefined,
  notValues: readonly string[] | undefined,
): Group<M> {
  return { attribute, values: values ?? [], notValues: notValues ?? [] }
}

function sourceGroups(source: AuthorizationSource, { trustDomains, namespace }: RuleContext): Group<Principal>[] {
  const expand = (list: readonly string[] | undefined) => expandTrustDomains(list ?? [], trustDomains)
  const domains = (list: readonly string[] | undefined) => expandDomains(list ?? [], trustDomains)
  return [
    group(SOURCE_PRINCIPAL, expand(source.principals), expand(source.notPrincipals)),
    group(REQUEST_PRINCIPAL, source.requestPrincipals, source.notRequestPrincipals),
    group(sourceServiceAccount(namespace), source.serviceAccounts, source.notServiceAccounts),
    group(SOURCE_TRUST_DOMAIN, domains(source.trustDomains), domains(source.notTrustDomains)),
    group(SOURCE_NAMESPACE, source.namespaces, source.notNamespaces),
    group(REMOTE_IP, source.remoteIpBlocks, source.notRemoteIpBlocks),
    group(SOURCE_IP, source.ipBlocks, source.notIpBlocks),
  ]
}

function operationGroups(operation: AuthorizationOperation): Group<Permission>[] {
  return [
    group(HOST, operation.hosts, operation.notHosts),
    group(METHOD, operation.methods, operation.notMethods),
    group(PATH, operation.paths, operation.notPaths),
    group(DESTINATION_PORT, operation.ports, operation.notPorts),
  ]
}

function conditions(rule: AuthorizationRule, context: RuleContext) {
  const principals: Group<Principal>[] = []
  const permissions: Group<Permission>[] = []
  for (const { key, values, notValues } of rule.when ?? []) {
    const found = conditionAttribute(key, context.namespace)
    if (!found) continue
    if (found.about === 'permission') permissions.push(group(found.attribute, values, notValues))
    else if (found.expand) {
      const { expand } = found
      const all = (list: readonly string[] | undefined) => expand(list ?? [], context.trustDomains)
      principals.push(group(found.attribute, all(values), all(notValues)))
    } else principals.push(group(found.attribute, values, notValues))
  }
  return { principals, permissions }
}

/** Every group as matchers: one of its values, and none of its notValues. Null: unusable on TCP. */
function matchers<M>(
  groups: readonly Group<M>[],
  context: RuleContext,
  or: (list: M[]) => M,
  not: (one: M) => M,
): M[] | null {
  const list: M[] = []
  for (const { attribute, values, notValues } of groups) {
    if (values.length === 0 && notValues.length === 0) continue
    if (attribute.httpOnly && context.tcp) {
      if (context.lenient) continue
      return null
    }
    const any = (texts: readonly string[]): M =>
      attribute.all ? attribute.all(texts) : or(texts.map((text) => attribute.one!(text)))
    if (values.length > 0) list.push(any(values))
    if (notValues.length > 0) list.push(not(any(notValues)))
  }
  return list
}

function orPermissions(rules: Permission[]): Permission {
  return create(PermissionSchema, { rule: { case: 'orRules', value: { rules } } })
}

function notPermission(rule: Permission): Permission {
  return create(PermissionSchema, { rule: { case: 'notRule', value: rule } })
}

function orPrincipals(ids: Principal[]): Principal {
  return create(PrincipalSchema, { identifier: { case: 'orIds', value: { ids } } })
}

function notPrincipal(id: Principal): Principal {
  return create(PrincipalSchema, { identifier: { case: 'notId', value: id } })
}
