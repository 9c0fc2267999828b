// What each attribute of a rule looks at: a principal (who asks) or a permission (what for).
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  type Permission,
  PermissionSchema,
  type Principal,
  PrincipalSchema,
} from '../../api/gen/envoy/config/rbac/v3/rbac_pb.js'
import { UriTemplateMatchConfigSchema } from '../../api/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js'
import type { StringMatcher } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import {
  ANY_TEXT,
  anyOfTexts,
  cidrRange,
  claimText,
  claimValues,
  exactMatcher,
  headerMatcher,
  metadataMatcher,
  prefixMatcher,
  quoteRegex,
  regexMatcher,
  textMatcher,
} from './matchers.ts'
import { expandDomains, expandTrustDomains } from './trust-domain.ts'

/** How values of one attribute become matchers; `all` makes one matcher of all of them. */
export interface Attribute<M> {
  /** TCP connections have no such thing. */
  readonly httpOnly: boolean
  readonly one?: (value: string) => M
  readonly all?: (values: readonly string[]) => M
}

function principal(identifier: Principal['identifier']): Principal {
  return create(PrincipalSchema, { identifier })
}

function permission(rule: Permission['rule']): Permission {
  return create(PermissionSchema, { rule })
}

function authenticated(principalName: StringMatcher): Principal {
  return create(PrincipalSchema, { identifier: { case: 'authenticated', value: { principalName } } })
}

const SPIFFE = 'spiffe://'

export const SOURCE_PRINCIPAL: Attribute<Principal> = {
  httpOnly: false,
  one: (value) => {
    if (value === '*') return authenticated(ANY_TEXT)
    if (value.startsWith('*')) return authenticated(regexMatcher(`${SPIFFE}.*${quoteRegex(value.slice(1))}`))
    if (value.endsWith('*')) return authenticated(prefixMatcher(SPIFFE + value.slice(0, -1)))
    return authenticated(exactMatcher(SPIFFE + value))
  },
}

/** A wildcard value with everything else quoted. */
function starRegex(value: string, star: string): string {
  return quoteRegex(value).replaceAll('\\*', star)
}

export const SOURCE_NAMESPACE: Attribute<Principal> = {
  httpOnly: false,
  one: (value) => authenticated(regexMatcher(`.*/ns/${starRegex(value, '.*')}/.*`)),
}

/** `sa` in the policy's namespace, or `ns/sa`. */
export function sourceServiceAccount(policyNamespace: string): Attribute<Principal> {
  return {
    httpOnly: false,
    one: (value) => {
      const slash = value.indexOf('/')
      const namespace = quoteRegex(slash < 0 ? policyNamespace : value.slice(0, slash))
      const account = quoteRegex(value.slice(slash + 1))
      return authenticated(regexMatcher(`${SPIFFE}.+/ns/${namespace}/(.+/|)sa/${account}(/.+)?`))
    },
  }
}

export const SOURCE_TRUST_DOMAIN: Attribute<Principal> = {
  httpOnly: false,
  one: (value) => {
    if (value === '*') return authenticated(prefixMatcher(SPIFFE))
    return authenticated(
      value.includes('*')
        ? regexMatcher(`${SPIFFE}${starRegex(value, '[^/]*')}/.*`)
        : prefixMatcher(`${SPIFFE}${value}/`),
    )
  },
}

export const SOURCE_IP: Attribute<Principal> = {
  httpOnly: false,
  one: (value) => principal({ case: 'directRemoteIp', value: cidrRange(value) }),
}

export const REMOTE_IP: Attribute<Principal> = {
  httpOnly: false,
  one: (value) => principal({ case: 'remoteIp', value: cidrRange(value) }),
}

/** `issuer/subject` of the token; several are alternatives. */
export const REQUEST_PRINCIPAL: Attribute<Principal> = {
  httpOnly: true,
  all: (values) => {
    const ids = values.map(issuedTo)
    return ids.length === 1 ? ids[0]! : create(PrincipalSchema, { identifier: { case: 'orIds', value: { ids } } })
  },
}

function issuedTo(value: string): Principal {
  const [issuer, subject] = issuerAndSubject(value)
  const ids = [claimText('iss', issuer), claimText('sub', subject)].map((metadata) =>
    principal({ case: 'metadata', value: metadata }),
  )
  return create(PrincipalSchema, { identifier: { case: 'andIds', value: { ids } } })
}

function issuerAndSubject(value: string): [StringMatcher, StringMatcher] {
  const slash = value.lastIndexOf('/')
  if (slash >= 0) return [textMatcher(value.slice(0, slash)), textMatcher(value.slice(slash + 1))]
  if (value === '*') return [ANY_TEXT, ANY_TEXT]
  if (value.startsWith('*')) return [ANY_TEXT, textMatcher(value)]
  if (value.endsWith('*')) return [textMatcher(value), ANY_TEXT]
  return [exactMatcher(value), exactMatcher('')]
}

function claim(path: readonly string[]): Attribute<Principal> {
  return {
    httpOnly: true,
    all: (values) => principal({ case: 'metadata', value: claimValues(path, values) }),
  }
}

function requestHeader(name: string): Attribute<Principal> {
  return {
    httpOnly: true,
    one: (value) => principal({ case: 'header', value: headerMatcher(name, value) }),
  }
}

export const HOST: Attribute<Permission> = {
  httpOnly: true,
  one: (value) => permission({ case: 'header', value: headerMatcher(':authority', value, true) }),
}

export const METHOD: Attribute<Permission> = {
  httpOnly: true,
  one: (value) => permission({ case: 'header', value: headerMatcher(':method', value) }),
}

export const PATH: Attribute<Permission> = {
  httpOnly: true,
  one: (value) => {
    if (!value.includes('{*}') && !value.includes('{**}')) {
      return create(PermissionSchema, {
        rule: { case: 'urlPath', value: { rule: { case: 'path', value: textMatcher(value) } } },
      })
    }
    const pathTemplate = value.replaceAll('{*}', '*').replaceAll('{**}', '**')
    return create(PermissionSchema, {
      rule: {
        case: 'uriTemplate',
        value: {
          name: 'uri-template',
          typedConfig: anyPack(UriTemplateMatchConfigSchema, create(UriTemplateMatchConfigSchema, { pathTemplate })),
        },
      },
    })
  },
}

export const DESTINATION_PORT: Attribute<Permission> = {
  httpOnly: false,
  one: (value) => permission({ case: 'destinationPort', value: Number(value) }),
}

const DESTINATION_IP: Attribute<Permission> = {
  httpOnly: false,
  one: (value) => permission({ case: 'destinationIp', value: cidrRange(value) }),
}

const CONNECTION_SNI: Attribute<Permission> = {
  httpOnly: false,
  one: (value) => permission({ case: 'requestedServerName', value: textMatcher(value) }),
}

function filterMetadata(filter: string, key: string): Attribute<Permission> {
  return {
    httpOnly: false,
    all: (values) => permission({ case: 'metadata', value: metadataMatcher(filter, [key], anyOfTexts(values)) }),
  }
}

/** Values with every name that the mesh's trust domain has in their place. */
type ExpandAliases = (values: readonly string[], trustDomains: readonly string[]) => string[]

/** The attribute of a condition's key: about the request's sender or about its target. */
export type ConditionAttribute =
  | { readonly about: 'principal'; readonly attribute: Attribute<Principal>; readonly expand?: ExpandAliases }
  | { readonly about: 'permission'; readonly attribute: Attribute<Permission> }

/** Null: a key that istiod does not know (validation refuses it). */
export function conditionAttribute(key: string, policyNamespace: string): ConditionAttribute | null {
  const who = (attribute: Attribute<Principal>): ConditionAttribute => ({ about: 'principal', attribute })
  const what = (attribute: Attribute<Permission>): ConditionAttribute => ({ about: 'permission', attribute })
  switch (key) {
    case 'source.ip':
      return who(SOURCE_IP)
    case 'remote.ip':
      return who(REMOTE_IP)
    case 'source.namespace':
      return who(SOURCE_NAMESPACE)
    case 'source.principal':
      return { about: 'principal', attribute: SOURCE_PRINCIPAL, expand: expandTrustDomains }
    case 'source.serviceAccount':
      return who(sourceServiceAccount(policyNamespace))
    case 'source.trustDomain':
      return { about: 'principal', attribute: SOURCE_TRUST_DOMAIN, expand: expandDomains }
    case 'request.auth.principal':
      return who(REQUEST_PRINCIPAL)
    case 'request.auth.audiences':
      return who(claim(['aud']))
    case 'request.auth.presenter':
      return who(claim(['azp']))
    case 'destination.ip':
      return what(DESTINATION_IP)
    case 'destination.port':
      return what(DESTINATION_PORT)
    case 'connection.sni':
      return what(CONNECTION_SNI)
  }
  const open = key.indexOf('[')
  if (open < 0 || !key.endsWith(']')) return null
  const name = key.slice(0, open)
  const inner = key.slice(open + 1, -1)
  if (name === 'request.headers') return who(requestHeader(inner))
  if (name === 'request.auth.claims') return who(claim(inner.split('][')))
  if (name.startsWith('experimental.envoy.filters.')) {
    return what(filterMetadata(name.slice('experimental.'.length), inner))
  }
  return null
}
