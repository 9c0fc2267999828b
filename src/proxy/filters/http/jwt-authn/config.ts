// envoy.filters.http.jwt_authn: configuration (envoy-contract §10.5).

import type { DataSource } from '../../../../api/gen/envoy/config/core/v3/base_pb.js'
import { type RetryPolicy, RetryPolicySchema } from '../../../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type JwtAuthentication,
  JwtAuthenticationSchema,
  type JwtProvider,
  JwtProviderSchema,
  type JwtRequirement,
  type PerRouteConfig,
  PerRouteConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { parseKeySet } from '../../../../base/json-web-keys.ts'
import { ownValue } from '../../../../base/own-property.ts'
import { readDataSource } from '../../../config/data-source.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type { RouteMatchData } from '../../../route/config.ts'
import { parseRouteMatch } from '../../../route/parse-match.ts'
import { parseStringMatcher, type StringMatcherData } from '../../../route/string-matcher.ts'
import { createJwtAuthnFilter } from './filter.ts'
import { normalizeAudience } from './token.ts'

export interface RemoteJwksConfig {
  readonly uri: string
  readonly cluster: string
  readonly timeoutMs: number
  readonly cacheMs: number
  /** Fetched before it is needed; failed fetches are repeated after this. null = on demand. */
  readonly refetchMs: number | null
  /** null = once is enough. */
  readonly retry: { readonly retries: number; readonly baseMs: number; readonly maxMs: number } | null
}

export interface ProviderConfig {
  readonly name: string
  /** '' = any. */
  readonly issuer: string
  /** Normalised; empty = any. */
  readonly audiences: readonly string[]
  readonly subjects: StringMatcherData | null
  readonly requireExpiration: boolean
  /** Seconds; 0 = unlimited. */
  readonly maxLifetimeS: number
  readonly clockSkewS: number
  /** JSON text of a key set, or where it is. */
  readonly jwks: { readonly local: string } | { readonly remote: RemoteJwksConfig }
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[]
  readonly fromParams: readonly string[]
  readonly fromCookies: readonly string[]
  readonly forward: boolean
  readonly forwardPayloadHeader: string
  readonly padForwardPayloadHeader: boolean
  readonly payloadInMetadata: string
  readonly headerInMetadata: string
  readonly failedStatusInMetadata: string
  readonly spaceDelimitedClaims: readonly string[]
  readonly claimToHeaders: readonly { readonly header: string; readonly claim: string }[]
  readonly clearRouteCache: boolean
  /** Tokens whose signature is remembered; 0 = none. */
  readonly cacheSize: number
}

export type RequirementConfig =
  | { readonly kind: 'provider'; readonly name: string; readonly audiences: readonly string[] | null }
  | { readonly kind: 'any' | 'all'; readonly of: readonly RequirementConfig[] }
  | { readonly kind: 'allow_missing' | 'allow_missing_or_failed' }

export interface JwtAuthnConfig {
  readonly providers: readonly ProviderConfig[]
  /** First match decides; a null requirement lets the request pass. */
  readonly rules: readonly { readonly match: RouteMatchData; readonly requires: RequirementConfig | null }[]
  readonly requirements: Readonly<Record<string, RequirementConfig>>
  /** Where no rule matches: the requirement by the string that the filter state holds under `name`. */
  readonly byFilterState: {
    readonly name: string
    readonly requirements: Readonly<Record<string, RequirementConfig>>
  } | null
  readonly bypassCorsPreflight: boolean
  readonly stripFailureResponse: boolean
}

/** Of a route: off there, or a requirement of requirement_map. */
export interface JwtRouteConfig {
  readonly disabled: boolean
  readonly requirementName: string
}

const PROVIDER_FIELDS: ReadonlySet<string> = new Set([
  'issuer',
  'audiences',
  'subjects',
  'require_expiration',
  'max_lifetime',
  'remote_jwks',
  'local_jwks',
  'forward',
  'from_headers',
  'from_params',
  'from_cookies',
  'forward_payload_header',
  'pad_forward_payload_header',
  'payload_in_metadata',
  'normalize_payload_in_metadata',
  'header_in_metadata',
  'failed_status_in_metadata',
  'clock_skew_seconds',
  'jwt_cache_config',
  'claim_to_headers',
  'clear_route_cache',
])
const FILTER_FIELDS: ReadonlySet<string> = new Set([
  'providers',
  'rules',
  'bypass_cors_preflight',
  'requirement_map',
  'filter_state_rules',
  'strip_failure_response',
])
const DEFAULT_CLOCK_SKEW_S = 60
const DEFAULT_CACHE_MS = 600_000
const DEFAULT_REFETCH_MS = 1000
const DEFAULT_TOKEN_CACHE = 100

export const jwtAuthnFilter: HttpFilterExtension<JwtAuthnConfig, JwtRouteConfig> = {
  name: 'envoy.filters.http.jwt_authn',
  desc: JwtAuthenticationSchema,
  parse: (message, context) => parseJwtAuthn(message as JwtAuthentication, context),
  routeDesc: PerRouteConfigSchema,
  parseRoute: (message) => {
    const specifier = (message as PerRouteConfig).requirementSpecifier
    return {
      disabled: specifier.case === 'disabled' && specifier.value,
      requirementName: specifier.case === 'requirementName' ? specifier.value : '',
    }
  },
  create: createJwtAuthnFilter,
}

function parseJwtAuthn(config: JwtAuthentication, context: ParseContext): JwtAuthnConfig {
  refuseUnsupported(JwtAuthenticationSchema, config, FILTER_FIELDS, context.path)
  const names = new Set(Object.keys(config.providers))
  const requirement = (message: JwtRequirement, at: ParseContext) => parseRequirement(message, names, at)
  const named = (messages: Readonly<Record<string, JwtRequirement>>, field: string) =>
    Object.fromEntries(
      Object.entries(messages).map(([name, message]) => [
        name,
        requirement(message, context.at(`${field}["${name}"]`)),
      ]),
    )
  const requirements = named(config.requirementMap, 'requirement_map')
  const byState = config.filterStateRules
  return {
    providers: Object.entries(config.providers).map(([name, provider]) =>
      parseProvider(name, provider, context.at(`providers["${name}"]`)),
    ),
    rules: config.rules.map((rule, i) => {
      const at = context.at(`rules[${i}]`)
      if (!rule.match) throw new ConfigError(at.at('match').path, 'is required')
      const type = rule.requirementType
      let requires: RequirementConfig | null = null
      if (type.case === 'requires') requires = requirement(type.value, at.at('requires'))
      if (type.case === 'requirementName') {
        requires = ownValue(requirements, type.value) ?? null
        if (requires === null) {
          throw new ConfigError(
            at.at('requirement_name').path,
            `Wrong requirement_name: ${type.value}. It should be one of [${Object.keys(requirements).join(', ')}]`,
          )
        }
      }
      return { match: parseRouteMatch(rule.match, at.at('match')), requires }
    }),
    requirements,
    byFilterState: byState
      ? { name: byState.name, requirements: named(byState.requires, 'filter_state_rules.requires') }
      : null,
    bypassCorsPreflight: config.bypassCorsPreflight,
    stripFailureResponse: config.stripFailureResponse,
  }
}

function parseProvider(name: string, provider: JwtProvider, context: ParseContext): ProviderConfig {
  refuseUnsupported(JwtProviderSchema, provider, PROVIDER_FIELDS, context.path)
  return {
    name,
    issuer: provider.issuer,
    audiences: provider.audiences.map(normalizeAudience),
    subjects: provider.subjects ? parseStringMatcher(provider.subjects, context.at('subjects').path) : null,
    requireExpiration: provider.requireExpiration,
    maxLifetimeS: durationMsOr(provider.maxLifetime, 0) / 1000,
    clockSkewS: provider.clockSkewSeconds || DEFAULT_CLOCK_SKEW_S,
    jwks: parseJwksSource(provider, context),
    fromHeaders: provider.fromHeaders.map((header) => ({
      name: header.name.toLowerCase(),
      prefix: header.valuePrefix,
    })),
    fromParams: provider.fromParams,
    fromCookies: provider.fromCookies,
    forward: provider.forward,
    forwardPayloadHeader: provider.forwardPayloadHeader.toLowerCase(),
    padForwardPayloadHeader: provider.padForwardPayloadHeader,
    payloadInMetadata: provider.payloadInMetadata,
    headerInMetadata: provider.headerInMetadata,
    failedStatusInMetadata: provider.failedStatusInMetadata,
    spaceDelimitedClaims: provider.normalizePayloadInMetadata?.spaceDelimitedClaims ?? [],
    claimToHeaders: provider.claimToHeaders.map(({ headerName, claimName }) => ({
      header: headerName.toLowerCase(),
      claim: claimName,
    })),
    clearRouteCache: provider.clearRouteCache,
    cacheSize: provider.jwtCacheConfig ? provider.jwtCacheConfig.jwtCacheSize || DEFAULT_TOKEN_CACHE : 0,
  }
}

/** The text of a key set with a key that can be used. */
function readKeySet(source: DataSource, path: string): string {
  const text = readDataSource(source, path).toString('utf8')
  const keys = parseKeySet(text)
  if (typeof keys === 'string') throw new ConfigError(path, `invalid local jwks: ${keys}`)
  return text
}

function parseJwksSource(provider: JwtProvider, context: ParseContext): ProviderConfig['jwks'] {
  const source = provider.jwksSourceSpecifier
  if (source.case === 'localJwks') return { local: readKeySet(source.value, context.at('local_jwks').path) }
  if (source.case !== 'remoteJwks') throw new ConfigError(context.path, 'one of remote_jwks, local_jwks is required')
  const at = context.at('remote_jwks')
  const uri = source.value.httpUri
  if (!uri) throw new ConfigError(at.at('http_uri').path, 'is required')
  return {
    remote: {
      uri: uri.uri,
      cluster: uri.httpUpstreamType.value ?? '',
      timeoutMs: durationMsOr(uri.timeout, 0),
      cacheMs: durationMsOr(source.value.cacheDuration, DEFAULT_CACHE_MS),
      refetchMs: source.value.asyncFetch
        ? durationMsOr(source.value.asyncFetch.failedRefetchDuration, DEFAULT_REFETCH_MS)
        : null,
      retry: source.value.retryPolicy ? parseRetry(source.value.retryPolicy, at.at('retry_policy')) : null,
    },
  }
}

const RETRY_FIELDS = new Set(['retry_back_off', 'num_retries'])
const DEFAULT_RETRY_BASE_MS = 1000

/** What is retried is always the same: answers of 5xx, and no answer. */
function parseRetry(policy: RetryPolicy, context: ParseContext): RemoteJwksConfig['retry'] {
  refuseUnsupported(RetryPolicySchema, policy, RETRY_FIELDS, context.path)
  const baseMs = durationMsOr(policy.retryBackOff?.baseInterval, DEFAULT_RETRY_BASE_MS)
  const maxMs = durationMsOr(policy.retryBackOff?.maxInterval, baseMs * 10)
  if (maxMs < baseMs)
    throw new ConfigError(
      context.at('retry_back_off').path,
      'max_interval must be greater than or equal to the base_interval',
    )
  return { retries: Number(policy.numRetries ?? 1), baseMs, maxMs }
}

function parseRequirement(
  message: JwtRequirement,
  providers: ReadonlySet<string>,
  context: ParseContext,
): RequirementConfig {
  const type = message.requiresType
  const known = (name: string): string => {
    if (!providers.has(name)) throw new ConfigError(context.path, `Required provider ['${name}'] is not configured.`)
    return name
  }
  switch (type.case) {
    case 'providerName':
      return { kind: 'provider', name: known(type.value), audiences: null }
    case 'providerAndAudiences':
      return {
        kind: 'provider',
        name: known(type.value.providerName),
        audiences: type.value.audiences.map(normalizeAudience),
      }
    case 'requiresAny':
      return {
        kind: 'any',
        of: type.value.requirements.map((one, i) =>
          parseRequirement(one, providers, context.at(`requires_any.requirements[${i}]`)),
        ),
      }
    case 'requiresAll':
      return {
        kind: 'all',
        of: type.value.requirements.map((one, i) =>
          parseRequirement(one, providers, context.at(`requires_all.requirements[${i}]`)),
        ),
      }
    case 'allowMissing':
      return { kind: 'allow_missing' }
    case 'allowMissingOrFailed':
      return { kind: 'allow_missing_or_failed' }
    default:
      // Nothing is required.
      return { kind: 'all', of: [] }
  }
}
