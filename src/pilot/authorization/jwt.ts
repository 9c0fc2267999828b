// RequestAuthentication: which tokens are accepted, and where they are found.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  JwtAuthenticationSchema,
  type JwtProvider,
  JwtProviderSchema,
  type JwtRequirement,
  JwtRequirementSchema,
} from '../../api/gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import type { HttpFilter } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { JwtRule, RequestAuthentication } from '../../config/index.ts'
import { httpFilter } from '../lds/filters.ts'
import { compareText } from '../model/host.ts'
import type { ProxyType } from '../model/node.ts'
import { type KeySetMap, keySetSource, UNREACHABLE_KEY_SET } from './key-sets.ts'

/** The jwt_authn filter of a workload's policies; none when they have no rules. */
export function jwtFilters(
  policies: readonly RequestAuthentication[],
  type: ProxyType,
  keySets: KeySetMap,
): HttpFilter[] {
  const rules = policies
    .flatMap((policy) => policy.spec.jwtRules ?? [])
    .sort((a, b) => compareText(a.issuer ?? '', b.issuer ?? ''))
  if (rules.length === 0) return []
  const providers: Record<string, JwtProvider> = {}
  rules.forEach((rule, i) => {
    providers[`origins-${i}`] = provider(rule, type, keySets)
  })
  const names = Object.keys(providers)
  const config = create(JwtAuthenticationSchema, {
    providers,
    bypassCorsPreflight: true,
    rules: [
      {
        match: { pathSpecifier: { case: 'prefix', value: '/' } },
        requirementType: { case: 'requires', value: requirement(names) },
      },
    ],
  })
  return [httpFilter('envoy.filters.http.jwt_authn', anyPack(JwtAuthenticationSchema, config))]
}

/** A token may be missing, but one that is there must be valid for its provider. */
function requirement(names: readonly string[]): JwtRequirement {
  const one = (name: string): JwtRequirement =>
    create(JwtRequirementSchema, { requiresType: { case: 'providerName', value: name } })
  const missing = create(JwtRequirementSchema, { requiresType: { case: 'allowMissing', value: {} } })
  const any = (requirements: JwtRequirement[]): JwtRequirement =>
    create(JwtRequirementSchema, { requiresType: { case: 'requiresAny', value: { requirements } } })
  if (names.length === 1) return any([one(names[0]!), missing])
  const all = create(JwtRequirementSchema, {
    requiresType: { case: 'requiresAll', value: { requirements: names.map((name) => any([one(name), missing])) } },
  })
  return any([...names.map(one), all])
}

/** Claims that hold several words, whatever else a rule names. */
const SPACE_DELIMITED = ['scope', 'permission']

function provider(rule: JwtRule, type: ProxyType, keySets: KeySetMap): JwtProvider {
  return create(JwtProviderSchema, {
    issuer: rule.issuer,
    audiences: [...(rule.audiences ?? [])],
    forward: rule.forwardOriginalToken ?? false,
    forwardPayloadHeader: rule.outputPayloadToHeader,
    payloadInMetadata: 'payload',
    normalizePayloadInMetadata: {
      spaceDelimitedClaims: rule.spaceDelimitedClaims?.length
        ? [...new Set([...rule.spaceDelimitedClaims, ...SPACE_DELIMITED])].sort()
        : [...SPACE_DELIMITED],
    },
    // Routes of a gateway may match on claims: the route is chosen again once they are known.
    clearRouteCache: type === 'router',
    fromHeaders: rule.fromHeaders?.map(({ name, prefix }) => ({ name, valuePrefix: prefix })),
    fromParams: [...(rule.fromParams ?? [])],
    fromCookies: [...(rule.fromCookies ?? [])],
    claimToHeaders: rule.outputClaimToHeaders?.map(({ header, claim }) => ({ headerName: header, claimName: claim })),
    jwksSourceSpecifier: {
      case: 'localJwks',
      value: { specifier: { case: 'inlineString', value: keySet(rule, keySets) } },
    },
  })
}

/** The keys: written in the rule, fetched by the control plane, or a key nobody has, so that tokens fail. */
function keySet(rule: JwtRule, keySets: KeySetMap): string {
  const source = keySetSource(rule)
  if (source === undefined) return rule.jwks!
  return keySets.get(source) ?? UNREACHABLE_KEY_SET
}
