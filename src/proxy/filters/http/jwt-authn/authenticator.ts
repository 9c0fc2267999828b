// Requirements against the tokens of one request. Pure but for key sets that must be fetched: then the verdict is
// `pending` and the whole is asked again when they are there.

import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { StringMatch } from '../../../route/string-matcher.ts'
import type { ProviderConfig, RequirementConfig } from './config.ts'
import { extractTokens, type FoundToken } from './extract.ts'
import type { KeySource } from './jwks.ts'
import { audiencesOf, checkSignature, checkTimes, type Jwt, JwtStatus, normalizeAudience, parseJwt } from './token.ts'

/** A provider as a worker uses it. */
export interface Provider {
  readonly config: ProviderConfig
  readonly keys: KeySource
  readonly subject: StringMatch | null
  /** Tokens whose signature was right, oldest first; null = not kept. */
  readonly cache: Map<string, Jwt> | null
}

export interface Verified {
  readonly provider: Provider
  readonly jwt: Jwt
  readonly found: FoundToken
}

export type Verdict =
  | { readonly kind: 'ok'; readonly verified: readonly Verified[] }
  /** `status`: a {@link JwtStatus}, or what is wrong with the keys. */
  | { readonly kind: 'denied'; readonly status: string; readonly provider: Provider | null }
  | { readonly kind: 'pending' }

const PENDING: Verdict = { kind: 'pending' }
const NOTHING: Verdict = { kind: 'ok', verified: [] }

export interface AuthenticatorStats {
  readonly cacheHit: Counter
  readonly cacheMiss: Counter
}

/** One request's evaluation. `wake` is called when a pending verdict should be asked for again. */
export class Authenticator {
  private readonly providers: ReadonlyMap<string, Provider>
  private readonly stats: AuthenticatorStats
  private readonly headers: HeaderMap
  private readonly wake: () => void

  constructor(
    providers: ReadonlyMap<string, Provider>,
    stats: AuthenticatorStats,
    headers: HeaderMap,
    wake: () => void,
  ) {
    this.providers = providers
    this.stats = stats
    this.headers = headers
    this.wake = wake
  }

  evaluate(requirement: RequirementConfig): Verdict {
    switch (requirement.kind) {
      case 'provider':
        return this.byProvider(this.providers.get(requirement.name)!, requirement.audiences)
      case 'any':
        return this.any(requirement.of)
      case 'all':
        return this.all(requirement.of)
      case 'allow_missing':
        return this.whatIsThere()
      case 'allow_missing_or_failed': {
        const verdict = this.whatIsThere()
        return verdict.kind === 'denied' ? NOTHING : verdict
      }
    }
  }

  private any(list: readonly RequirementConfig[]): Verdict {
    let denied: Verdict | null = null
    for (const requirement of list) {
      const verdict = this.evaluate(requirement)
      if (verdict.kind !== 'denied') return verdict
      // A token that was wrong tells more than one that was not there.
      const says = verdict.status !== JwtStatus.Missing && verdict.status !== JwtStatus.UnknownIssuer
      if (denied === null || says) denied = verdict
    }
    return denied ?? NOTHING
  }

  private all(list: readonly RequirementConfig[]): Verdict {
    const verified: Verified[] = []
    for (const requirement of list) {
      const verdict = this.evaluate(requirement)
      if (verdict.kind !== 'ok') return verdict
      verified.push(...verdict.verified)
    }
    return { kind: 'ok', verified }
  }

  private byProvider(provider: Provider, audiences: readonly string[] | null): Verdict {
    const tokens = extractTokens(this.headers, provider.config)
    if (tokens.length === 0) return { kind: 'denied', status: JwtStatus.Missing, provider }
    const verified: Verified[] = []
    for (const found of tokens) {
      const jwt = parseJwt(found.token)
      if (typeof jwt === 'string') return { kind: 'denied', status: jwt, provider }
      const verdict = this.verify(provider, jwt, found, audiences)
      if (verdict.kind !== 'ok') return verdict
      verified.push(...verdict.verified)
    }
    return { kind: 'ok', verified }
  }

  /** Every token in any provider's place must be good; none is good too. */
  private whatIsThere(): Verdict {
    const verified: Verified[] = []
    const seen = new Set<string>()
    for (const place of this.providers.values()) {
      for (const found of extractTokens(this.headers, place.config)) {
        if (seen.has(found.token)) continue
        seen.add(found.token)
        const jwt = parseJwt(found.token)
        if (typeof jwt === 'string') return { kind: 'denied', status: jwt, provider: null }
        const provider = this.providerOf(jwt)
        if (!provider) return { kind: 'denied', status: JwtStatus.UnknownIssuer, provider: null }
        const verdict = this.verify(provider, jwt, found, null)
        if (verdict.kind !== 'ok') return verdict
        verified.push(...verdict.verified)
      }
    }
    return { kind: 'ok', verified }
  }

  private providerOf(jwt: Jwt): Provider | undefined {
    for (const provider of this.providers.values()) {
      if (provider.config.issuer === jwt.payload.iss) return provider
    }
    for (const provider of this.providers.values()) if (provider.config.issuer === '') return provider
    return undefined
  }

  private verify(provider: Provider, jwt: Jwt, found: FoundToken, audiences: readonly string[] | null): Verdict {
    const { config, subject, cache } = provider
    const denied = (status: string): Verdict => ({ kind: 'denied', status, provider })
    if (config.issuer !== '' && jwt.payload.iss !== config.issuer) return denied(JwtStatus.UnknownIssuer)
    if (subject !== null && !subject(typeof jwt.payload.sub === 'string' ? jwt.payload.sub : '')) {
      return denied(JwtStatus.SubjectNotAllowed)
    }
    const late = checkTimes(jwt, Date.now() / 1000, config)
    if (late !== null) return denied(late)
    const wanted = audiences ?? config.audiences
    if (wanted.length > 0 && !audiencesOf(jwt).some((one) => wanted.includes(normalizeAudience(one)))) {
      return denied(JwtStatus.AudienceNotAllowed)
    }
    if (cache?.has(found.token)) {
      this.stats.cacheHit.inc()
      return { kind: 'ok', verified: [{ provider, jwt, found }] }
    }
    const keys = provider.keys.keys(this.wake)
    if (keys === null) return PENDING
    if (typeof keys === 'string') return denied(keys)
    const wrong = checkSignature(jwt, keys)
    if (wrong !== null) return denied(wrong)
    if (cache !== null) {
      this.stats.cacheMiss.inc()
      if (cache.size >= config.cacheSize) cache.delete(cache.keys().next().value!)
      cache.set(found.token, jwt)
    }
    return { kind: 'ok', verified: [{ provider, jwt, found }] }
  }
}
