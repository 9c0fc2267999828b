// envoy.filters.http.jwt_authn: requests show a token that a provider vouches for, or are turned away.

import { byteString } from '../../../../base/byte-string.ts'
import { fieldValue } from '../../../../base/bytes.ts'
import { ownValue } from '../../../../base/own-property.ts'
import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { pathWithoutQuery } from '../../../route/request-path.ts'
import { RouteMatcher } from '../../../route/route-match.ts'
import { compileStringMatcher } from '../../../route/string-matcher.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import { Authenticator, type AuthenticatorStats, type Provider, type Verdict, type Verified } from './authenticator.ts'
import type { JwtAuthnConfig, JwtRouteConfig, ProviderConfig, RequirementConfig } from './config.ts'
import { removeToken } from './extract.ts'
import { LocalKeys, RemoteKeys } from './jwks.ts'
import { JwtStatus } from './token.ts'

const METADATA_NAMESPACE = 'envoy.filters.http.jwt_authn'
/** Longest URL in a challenge. */
const MAX_REALM = 256

interface Rule {
  readonly matcher: RouteMatcher
  readonly requires: RequirementConfig | null
}

class Shared implements AuthenticatorStats {
  readonly config: JwtAuthnConfig
  readonly runtime: RuntimeSnapshot
  readonly providers: ReadonlyMap<string, Provider>
  readonly rules: readonly Rule[]
  /** Headers that only this filter may set. */
  readonly ownHeaders: readonly string[]
  readonly allowed: Counter
  readonly denied: Counter
  readonly corsBypassed: Counter
  readonly cacheHit: Counter
  readonly cacheMiss: Counter

  constructor(config: JwtAuthnConfig, context: WorkerContext, statPrefix: string) {
    const scope = context.stats.scope(`http.${statPrefix}.jwt_authn`)
    this.config = config
    this.runtime = context.runtime
    this.allowed = scope.counter('allowed')
    this.denied = scope.counter('denied')
    this.corsBypassed = scope.counter('cors_preflight_bypassed')
    this.cacheHit = scope.counter('jwt_cache_hit')
    this.cacheMiss = scope.counter('jwt_cache_miss')
    const fetched = scope.counter('jwks_fetch_success')
    const failed = scope.counter('jwks_fetch_failed')
    this.providers = new Map(
      config.providers.map((provider) => [
        provider.name,
        {
          config: provider,
          keys:
            'local' in provider.jwks
              ? new LocalKeys(provider.jwks.local)
              : new RemoteKeys(provider.jwks.remote, context.clusters, fetched, failed),
          subject: provider.subjects ? compileStringMatcher(provider.subjects) : null,
          cache: provider.cacheSize > 0 ? new Map() : null,
        },
      ]),
    )
    this.rules = config.rules.map(({ match, requires }) => ({
      matcher: new RouteMatcher(match, context.runtime),
      requires,
    }))
    this.ownHeaders = config.providers.flatMap((provider) => [
      ...(provider.forwardPayloadHeader ? [provider.forwardPayloadHeader] : []),
      ...provider.claimToHeaders.map(({ header }) => header),
    ])
  }
}

export function createJwtAuthnFilter(
  config: JwtAuthnConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamDecoderFilter(new JwtAuthnFilter(shared))
}

class JwtAuthnFilter extends PassThroughDecoderFilter {
  private readonly shared: Shared
  private requirement: RequirementConfig | null = null
  private headers: HeaderMap | null = null
  private authenticator: Authenticator | null = null
  private waiting = false
  private destroyed = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { shared } = this
    for (let i = 0; i < shared.ownHeaders.length; i++) headers.remove(shared.ownHeaders[i]!)
    if (shared.config.bypassCorsPreflight && isPreflight(headers)) {
      shared.corsBypassed.inc()
      return FilterHeadersStatus.Continue
    }
    const route = this.callbacks.perFilterConfig<JwtRouteConfig>()
    if (route?.disabled) return FilterHeadersStatus.Continue
    if (route !== undefined && route.requirementName !== '') {
      const requirement = ownValue(shared.config.requirements, route.requirementName)
      if (requirement === undefined) {
        shared.denied.inc()
        this.callbacks.sendLocalReply(
          403,
          `Wrong requirement_name: ${route.requirementName}`,
          null,
          null,
          'jwt_authn_access_denied{wrong_requirement_name}',
        )
        return FilterHeadersStatus.StopIteration
      }
      this.requirement = requirement
    } else this.requirement = this.ruleFor(headers)
    if (this.requirement === null) {
      shared.allowed.inc()
      return FilterHeadersStatus.Continue
    }
    this.headers = headers
    this.authenticator = new Authenticator(shared.providers, shared, headers, () => this.wake())
    const verdict = this.authenticator.evaluate(this.requirement)
    if (verdict.kind === 'pending') {
      this.waiting = true
      return FilterHeadersStatus.StopIteration
    }
    return this.decide(verdict) ? FilterHeadersStatus.Continue : FilterHeadersStatus.StopIteration
  }

  private ruleFor(headers: HeaderMap): RequirementConfig | null {
    const info = this.callbacks.streamInfo
    const path = pathWithoutQuery(headers.path)
    for (const { matcher, requires } of this.shared.rules) {
      if (matcher.matchesPath(path) && matcher.matches(headers, path, info, info.random)) return requires
    }
    const { byFilterState } = this.shared.config
    if (byFilterState === null) return null
    const state = info.filterState.get(byFilterState.name)
    return (typeof state === 'string' && ownValue(byFilterState.requirements, state)) || null
  }

  /** Others wait for the same keys: a fault of this stream is not theirs. */
  private wake(): void {
    try {
      this.onKeys()
    } catch (error) {
      this.callbacks.onFault(error)
    }
  }

  /** A key set came, or failed to come. */
  private onKeys(): void {
    if (!this.waiting || this.destroyed) return
    const verdict = this.authenticator!.evaluate(this.requirement!)
    if (verdict.kind === 'pending') return
    this.waiting = false
    if (this.decide(verdict)) this.callbacks.continueDecoding()
  }

  /** True when the request may go on. */
  private decide(verdict: Exclude<Verdict, { kind: 'pending' }>): boolean {
    if (verdict.kind === 'denied') {
      this.deny(verdict.status, verdict.provider)
      return false
    }
    this.shared.allowed.inc()
    for (const one of verdict.verified) this.apply(one)
    return true
  }

  private apply({ provider: { config }, jwt, found }: Verified): void {
    const headers = this.headers!
    if (!config.forward) removeToken(headers, found)
    if (config.forwardPayloadHeader !== '') {
      const encoded = jwt.encodedPayload
      const padding = config.padForwardPayloadHeader ? '='.repeat((4 - (encoded.length % 4)) % 4) : ''
      headers.set(config.forwardPayloadHeader, encoded + padding)
    }
    for (const { header, claim } of config.claimToHeaders) {
      const text = claimText(jwt.payload, claim)
      if (text !== null) headers.set(header, fieldValue(byteString(text)))
    }
    const info = this.callbacks.streamInfo
    if (config.payloadInMetadata !== '') {
      info.setDynamicMetadata(METADATA_NAMESPACE, config.payloadInMetadata, normalized(jwt.payload, config))
    }
    if (config.headerInMetadata !== '') info.setDynamicMetadata(METADATA_NAMESPACE, config.headerInMetadata, jwt.header)
    if (config.clearRouteCache) this.callbacks.clearRouteCache()
  }

  private deny(status: string, provider: Provider | null): void {
    const { shared } = this
    shared.denied.inc()
    const code = status === JwtStatus.AudienceNotAllowed ? 403 : 401
    const key = provider?.config.failedStatusInMetadata
    if (key) this.callbacks.streamInfo.setDynamicMetadata(METADATA_NAMESPACE, key, { code, message: status })
    const strip = shared.config.stripFailureResponse
    const challenge = code === 401 && !strip ? this.challenge(status) : null
    this.callbacks.sendLocalReply(
      code,
      strip ? '' : status,
      challenge === null ? null : (response) => response.set('www-authenticate', challenge),
      null,
      `jwt_authn_access_denied{${status.replace(/\s/g, '_')}}`,
    )
  }

  private challenge(status: string): string {
    const headers = this.headers!
    const path = headers.get('x-envoy-original-path') ?? headers.path
    const realm = `${headers.scheme}://${headers.authority}${path}`.slice(0, MAX_REALM)
    return `Bearer realm="${realm}"${status === JwtStatus.Missing ? '' : ', error="invalid_token"'}`
  }

  override decodeData(): FilterDataStatus {
    return this.waiting ? FilterDataStatus.StopIterationAndWatermark : FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    return this.waiting ? FilterTrailersStatus.StopIteration : FilterTrailersStatus.Continue
  }

  override onDestroy(): void {
    this.destroyed = true
  }
}

function isPreflight(headers: HeaderMap): boolean {
  return headers.method === 'OPTIONS' && !!headers.get('origin') && !!headers.get('access-control-request-method')
}

/** Claims that are lists written with blanks (`scope`) become lists. */
function normalized(
  payload: Readonly<Record<string, unknown>>,
  config: ProviderConfig,
): Readonly<Record<string, unknown>> {
  if (config.spaceDelimitedClaims.length === 0) return payload
  const changed: Record<string, unknown> = { ...payload }
  for (const claim of config.spaceDelimitedClaims) {
    const value = payload[claim]
    if (typeof value === 'string') changed[claim] = value.split(' ').filter((part) => part !== '')
  }
  return changed
}

/** `a.b` goes into nested objects; what is no scalar travels as base64url JSON. */
function claimText(payload: Readonly<Record<string, unknown>>, claim: string): string | null {
  let value: unknown = payload
  for (const part of claim.split('.')) {
    if (typeof value !== 'object' || value === null) return null
    value = (value as Record<string, unknown>)[part]
  }
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return value
  if (typeof value === 'object') return Buffer.from(JSON.stringify(value)).toString('base64url')
  return String(value)
}
