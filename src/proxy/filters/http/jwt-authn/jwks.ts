// Key sets (RFC 7517): parsed once, fetched and refreshed where they are remote.

import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { sendRequest } from '../../../upstream/http-client.ts'
import type { RemoteJwksConfig } from './config.ts'
import { JwtStatus } from './token.ts'

export interface JwksKey {
  readonly kid: string
  readonly alg: string
  readonly kty: string
  readonly crv: string
  readonly key: KeyObject
}

/** The usable keys of a set, or why there are none. */
function parseJwks(text: string): readonly JwksKey[] | JwtStatus {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return JwtStatus.JwksBadJson
  }
  const list = (parsed as { keys?: unknown } | null)?.keys
  if (!Array.isArray(list)) return JwtStatus.JwksNoValidKeys
  const keys = list.flatMap((one: unknown) => parseKey(one) ?? [])
  return keys.length > 0 ? keys : JwtStatus.JwksNoValidKeys
}

function parseKey(value: unknown): JwksKey | null {
  if (typeof value !== 'object' || value === null) return null
  const jwk = value as JsonWebKey & { readonly kid?: unknown; readonly alg?: unknown }
  try {
    const key =
      jwk.kty === 'oct'
        ? createSecretKey(Buffer.from(jwk.k ?? '', 'base64url'))
        : createPublicKey({ key: jwk, format: 'jwk' })
    const text = (field: unknown): string => (typeof field === 'string' ? field : '')
    return { kid: text(jwk.kid), alg: text(jwk.alg), kty: text(jwk.kty), crv: text(jwk.crv), key }
  } catch {
    // One unusable key does not spoil the others.
    return null
  }
}

/** A provider's keys, now or later. */
export interface KeySource {
  /** null: not here yet; `onReady` is called, once, when that changes. */
  keys(onReady: () => void): readonly JwksKey[] | JwtStatus | null
}

export class LocalKeys implements KeySource {
  private readonly parsed: readonly JwksKey[] | JwtStatus
  constructor(text: string) {
    this.parsed = parseJwks(text)
  }
  keys(): readonly JwksKey[] | JwtStatus {
    return this.parsed
  }
}

/** Fetched on demand, or ahead of demand with async_fetch; kept for cache_duration. */
export class RemoteKeys implements KeySource {
  private readonly config: RemoteJwksConfig
  private readonly clusters: ClusterManager
  private readonly success: Counter
  private readonly failed: Counter
  private parsed: readonly JwksKey[] | null = null
  private expiresAt = 0
  private fetching = false
  private waiting: (() => void)[] = []
  /** How the last fetch ended. */
  private last: readonly JwksKey[] | JwtStatus = JwtStatus.FetchFailed
  /** True while those that waited for a fetch are told: they take its result, whatever it is. */
  private telling = false

  constructor(config: RemoteJwksConfig, clusters: ClusterManager, success: Counter, failed: Counter) {
    this.config = config
    this.clusters = clusters
    this.success = success
    this.failed = failed
    if (config.refetchMs !== null) setImmediate(() => this.fetch())
  }

  keys(onReady: () => void): readonly JwksKey[] | JwtStatus | null {
    if (this.parsed !== null && (Date.now() < this.expiresAt || this.config.refetchMs !== null)) return this.parsed
    if (this.telling) return this.last
    this.fetch()
    // A fetch that could not even begin has ended already.
    if (!this.fetching) return this.last
    this.waiting.push(onReady)
    return null
  }

  private fetch(): void {
    if (this.fetching) return
    this.fetching = true
    const headers = new HeaderMap()
    headers.method = 'GET'
    const url = URL.canParse(this.config.uri) ? new URL(this.config.uri) : null
    headers.scheme = url?.protocol === 'https:' ? 'https' : 'http'
    headers.authority = url?.host ?? ''
    headers.path = url ? url.pathname + url.search : '/'
    sendRequest(this.clusters.get(this.config.cluster), headers, null, this.config.timeoutMs, {
      onResponse: (response, body) => {
        const parsed = response.status === 200 ? parseJwks(body.toString('utf8')) : JwtStatus.FetchFailed
        this.onFetched(parsed)
      },
      onFailure: () => this.onFetched(JwtStatus.FetchFailed),
    })
  }

  private onFetched(result: readonly JwksKey[] | JwtStatus): void {
    this.fetching = false
    const { refetchMs, cacheMs } = this.config
    if (typeof result === 'string') {
      this.failed.inc()
      // Old keys are better than none where somebody fetches anew all the time.
      this.last = refetchMs !== null && this.parsed !== null ? this.parsed : result
      if (refetchMs !== null) setTimeout(() => this.fetch(), refetchMs).unref()
    } else {
      this.success.inc()
      this.parsed = result
      this.last = result
      this.expiresAt = Date.now() + cacheMs
      if (refetchMs !== null) setTimeout(() => this.fetch(), cacheMs).unref()
    }
    const { waiting } = this
    this.waiting = []
    this.telling = true
    for (const wake of waiting) wake()
    this.telling = false
  }
}
