// envoy.config.rbac.v3.RBAC → plain data, shared by the HTTP and the network filter.

import type { CidrRange as CidrMessage } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import {
  ActionSchema,
  type Permission,
  type Policy,
  type Principal,
  type RBAC,
  RBAC_Action,
  RBACSchema,
} from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { UriTemplateMatchConfigSchema } from '../../api/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import { PathMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/path_pb.js'
import type { TypedExtensionConfig as XdsExtensionConfig } from '../../api/gen/xds/core/v3/extension_pb.js'
import type { Matcher } from '../../api/gen/xds/type/matcher/v3/matcher_pb.js'
import { type Cidr, parseCidr } from '../../base/cidr.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { unpackAs } from '../config/extension-registry.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { type MatcherData, parseMatcher } from '../matching/config.ts'
import type { InputKind } from '../matching/inputs.ts'
import { type CelTreeData, parseCelTree } from '../observe/cel-tree.ts'
import { type HeaderMatcherData, parseHeaderMatcher } from '../route/header-matcher.ts'
import { type MetadataMatcherData, parseMetadataMatcher } from '../route/metadata-matcher.ts'
import { parseStringMatcher, type StringMatcherData } from '../route/string-matcher.ts'
import { uriTemplateRegex } from '../route/uri-template.ts'

/** A permission or a principal: one tree of conditions over the same facts. */
export type Condition =
  | { readonly kind: 'any' }
  | { readonly kind: 'and' | 'or'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'header'; readonly matcher: HeaderMatcherData }
  /** Path without query. */
  | { readonly kind: 'path'; readonly matcher: StringMatcherData }
  | { readonly kind: 'uri_template'; readonly regex: string }
  | { readonly kind: 'destination_ip' | 'remote_ip' | 'direct_remote_ip' | 'source_ip'; readonly range: Cidr }
  /** [start, end). */
  | { readonly kind: 'destination_port'; readonly start: number; readonly end: number }
  | { readonly kind: 'metadata'; readonly matcher: MetadataMatcherData }
  | { readonly kind: 'filter_state'; readonly key: string; readonly matcher: StringMatcherData }
  | { readonly kind: 'sni'; readonly matcher: StringMatcherData }
  /** null = any identity. */
  | { readonly kind: 'authenticated'; readonly name: StringMatcherData | null }

export interface PolicyData {
  readonly name: string
  readonly permission: Condition
  readonly principal: Condition
  /** Must be true of the stream, too. */
  readonly condition: CelTreeData | null
}

export interface RulesData {
  readonly action: 'ALLOW' | 'DENY' | 'LOG'
  /** In lexicographic order of their names, which is the order of evaluation. */
  readonly policies: readonly PolicyData[]
}

/** What decides: policies, or a matching tree, which wins where a filter has both. */
export type RbacData =
  | ({ readonly kind: 'rules' } & RulesData)
  | { readonly kind: 'matcher'; readonly matcher: MatcherData<RbacActionData> }

export interface RbacActionData {
  readonly action: RulesData['action']
  /** The policy's name. */
  readonly name: string
}

/** Of the fields `rules` and `matcher`, or `shadow_rules` and `shadow_matcher`; null = neither is set, nothing is decided. */
export function parseRbac(
  rules: RBAC | undefined,
  matcher: Matcher | undefined,
  inputs: ReadonlySet<InputKind>,
  prefix: '' | 'shadow_',
  context: ParseContext,
): RbacData | null {
  if (matcher) {
    return {
      kind: 'matcher',
      matcher: parseMatcher(matcher, { inputs, action: parseAction }, context.at(`${prefix}matcher`)),
    }
  }
  return rules ? { kind: 'rules', ...parseRules(rules, context.at(`${prefix}rules`).path) } : null
}

function parseAction({ name, typedConfig }: XdsExtensionConfig, context: ParseContext): RbacActionData {
  if (!typedConfig) throw new ConfigError(context.path, `action "${name}" has no typed_config`)
  const action = context.unpack(typedConfig, ActionSchema)
  return { action: actionName(action.action), name: action.name }
}

function actionName(action: RBAC_Action): RulesData['action'] {
  return action === RBAC_Action.DENY ? 'DENY' : action === RBAC_Action.LOG ? 'LOG' : 'ALLOW'
}

/** A connection has no headers: rules of TCP that ask for them are refused, wherever they stand (Envoy). */
export function refuseHeaders({ policies }: RulesData, path: string): void {
  for (const { name, permission, principal } of policies) {
    if (!asksForHeaders(permission) && !asksForHeaders(principal)) continue
    throw new ConfigError(
      `${path}.policies["${name}"]`,
      'a header rule is not supported by the network filter: connections have none',
    )
  }
}

function asksForHeaders(condition: Condition): boolean {
  switch (condition.kind) {
    case 'header':
      return true
    case 'not':
      return asksForHeaders(condition.of)
    case 'and':
    case 'or':
      return condition.of.some(asksForHeaders)
    default:
      return false
  }
}

export function parseRules(rules: RBAC, path: string): RulesData {
  refuseUnsupported(RBACSchema, rules, new Set(['action', 'policies']), path)
  const names = Object.keys(rules.policies).sort()
  return {
    action: actionName(rules.action),
    policies: names.map((name) => parsePolicy(name, rules.policies[name]!, `${path}.policies["${name}"]`)),
  }
}

function parsePolicy(name: string, policy: Policy, path: string): PolicyData {
  return {
    name,
    permission: { kind: 'or', of: policy.permissions.map((p, i) => parsePermission(p, `${path}.permissions[${i}]`)) },
    principal: { kind: 'or', of: policy.principals.map((p, i) => parsePrincipal(p, `${path}.principals[${i}]`)) },
    condition: parseCondition(policy, path),
  }
}

function parseCondition({ condition, checkedCondition }: Policy, path: string): CelTreeData | null {
  if (checkedCondition) return parseCelTree(checkedCondition.expr, `${path}.checked_condition`)
  return condition ? parseCelTree(condition, `${path}.condition`) : null
}

function parsePermission({ rule }: Permission, path: string): Condition {
  const all = (rules: readonly Permission[], field: string): Condition[] =>
    rules.map((r, i) => parsePermission(r, `${path}.${field}.rules[${i}]`))
  switch (rule.case) {
    case 'any':
      return { kind: 'any' }
    case 'andRules':
      return { kind: 'and', of: all(rule.value.rules, 'and_rules') }
    case 'orRules':
      return { kind: 'or', of: all(rule.value.rules, 'or_rules') }
    case 'notRule':
      return { kind: 'not', of: parsePermission(rule.value, `${path}.not_rule`) }
    case 'header':
      return { kind: 'header', matcher: parseHeaderMatcher(rule.value, `${path}.header`) }
    case 'urlPath':
      return parsePath(rule.value.rule, `${path}.url_path`)
    case 'destinationIp':
      return { kind: 'destination_ip', range: parseRange(rule.value, `${path}.destination_ip`) }
    case 'destinationPort':
      return { kind: 'destination_port', start: rule.value, end: rule.value + 1 }
    case 'destinationPortRange':
      if (rule.value.start >= rule.value.end) {
        throw new ConfigError(
          `${path}.destination_port_range`,
          `range start ${rule.value.start} cannot be greater or equal than range end ${rule.value.end}`,
        )
      }
      for (const field of ['start', 'end'] as const) {
        const value = rule.value[field]
        if (value >= 0 && value <= 65_536) continue
        throw new ConfigError(`${path}.destination_port_range.${field}`, `range ${field} ${value} is out of bounds`)
      }
      return { kind: 'destination_port', start: rule.value.start, end: rule.value.end }
    case 'metadata':
      return { kind: 'metadata', matcher: parseMetadataMatcher(rule.value, `${path}.metadata`) }
    case 'requestedServerName':
      return { kind: 'sni', matcher: parseStringMatcher(rule.value, `${path}.requested_server_name`) }
    case 'uriTemplate':
      return { kind: 'uri_template', regex: parseTemplate(rule.value, `${path}.uri_template`) }
    case 'matcher':
      throw new ConfigError(`${path}.matcher`, `no RBAC matcher extension "${rule.value.name}" in this proxy`)
    default:
      throw new ConfigError(path, 'a permission needs a rule')
  }
}

function parsePrincipal({ identifier }: Principal, path: string): Condition {
  const all = (ids: readonly Principal[], field: string): Condition[] =>
    ids.map((p, i) => parsePrincipal(p, `${path}.${field}.ids[${i}]`))
  switch (identifier.case) {
    case 'any':
      return { kind: 'any' }
    case 'andIds':
      return { kind: 'and', of: all(identifier.value.ids, 'and_ids') }
    case 'orIds':
      return { kind: 'or', of: all(identifier.value.ids, 'or_ids') }
    case 'notId':
      return { kind: 'not', of: parsePrincipal(identifier.value, `${path}.not_id`) }
    case 'authenticated': {
      const name = identifier.value.principalName
      return {
        kind: 'authenticated',
        name: name ? parseStringMatcher(name, `${path}.authenticated.principal_name`) : null,
      }
    }
    case 'sourceIp':
      return { kind: 'source_ip', range: parseRange(identifier.value, `${path}.source_ip`) }
    case 'directRemoteIp':
      return { kind: 'direct_remote_ip', range: parseRange(identifier.value, `${path}.direct_remote_ip`) }
    case 'remoteIp':
      return { kind: 'remote_ip', range: parseRange(identifier.value, `${path}.remote_ip`) }
    case 'header':
      return { kind: 'header', matcher: parseHeaderMatcher(identifier.value, `${path}.header`) }
    case 'urlPath':
      return parsePath(identifier.value.rule, `${path}.url_path`)
    case 'metadata':
      return { kind: 'metadata', matcher: parseMetadataMatcher(identifier.value, `${path}.metadata`) }
    case 'filterState': {
      const { key, matcher } = identifier.value
      if (matcher.case !== 'stringMatch')
        throw new ConfigError(`${path}.filter_state`, 'only string_match is supported by this proxy')
      return {
        kind: 'filter_state',
        key,
        matcher: parseStringMatcher(matcher.value, `${path}.filter_state.string_match`),
      }
    }
    default:
      throw new ConfigError(path, 'a principal needs an identifier')
  }
}

type PathRule = import('../../api/gen/envoy/type/matcher/v3/path_pb.js').PathMatcher['rule']

function parsePath(rule: PathRule, path: string): Condition {
  if (rule.case !== 'path') throw new ConfigError(path, `${PathMatcherSchema.typeName} needs path`)
  return { kind: 'path', matcher: parseStringMatcher(rule.value, `${path}.path`) }
}

function parseRange(range: CidrMessage, path: string): Cidr {
  const parsed = parseCidr(range.addressPrefix, range.prefixLen ?? 0)
  if (!parsed) throw new ConfigError(path, `malformed IP range ${range.addressPrefix}/${range.prefixLen ?? 0}`)
  return parsed
}

function parseTemplate(extension: TypedExtensionConfig, path: string): string {
  if (!extension.typedConfig) throw new ConfigError(path, `extension "${extension.name}" has no typed_config`)
  const { pathTemplate } = unpackAs(extension.typedConfig, UriTemplateMatchConfigSchema, path)
  return uriTemplateRegex(pathTemplate, `${path}.path_template`)
}
