// Key sets (RFC 7517): parsed once, fetched and refreshed where they are remote.

import { Backoff } from '../../../../base/backoff.ts'
import { parseKeySet, type WebKey } from '../../../../base/json-web-keys.ts'
import { hostAndPath } from '../../../config/host-and-path.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { sendRequest } from '../../../upstream/http-client.ts'
import type { RemoteJwksConfig } from './config.ts'
import { JwtStatus } from './token.ts'

/** A provider's keys, now or later. */
export interface KeySource {
  /** null: not here yet; `onReady` is called, once, when that changes. */
  keys(onReady: () => void): readonly WebKey[] | string | null
}

export class LocalKeys implements KeySource {
  private readonly parsed: readonly WebKey[] | string
  constructor(text: string) {
    this.parsed = parseKeySet(text)
  }
  keys(): readonly WebKey[] | string {
    return this.parsed
  }
}

/** Fetched on demand, or ahead of demand with async_fetch; kept for cache_duration. */
export class RemoteKeys implements KeySource {
  private readonly config: RemoteJwksConfig
  private readonly clusters: ClusterManager
  private readonly success: Counter
  private readonly failed: Counter
  private parsed: readonly WebKey[] | null = null
  private expiresAt = 0
  private fetching = false
  private waiting: (() => void)[] = []
  /** How the last fetch ended. */
  private last: readonly WebKey[] | string = JwtStatus.FetchFailed
  /** True while those that waited for a fetch are told: they take its result, whatever it is. */
  private telling = false
  private retriesLeft = 0
  private backoff: Backoff | null = null

  constructor(config: RemoteJwksConfig, clusters: ClusterManager, success: Counter, failed: Counter) {
    this.config = config
    this.clusters = clusters
    this.success = success
    this.failed = failed
    if (config.refetchMs !== null) setImmediate(() => this.fetch())
  }

  keys(onReady: () => void): readonly WebKey[] | string | null {
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
    const { retry } = this.config
    this.retriesLeft = retry?.retries ?? 0
    this.backoff = retry && new Backoff({ baseMs: retry.baseMs, maxMs: retry.maxMs })
    this.ask()
  }

  private ask(): void {
    const headers = new HeaderMap()
    headers.method = 'GET'
    const { host, path } = hostAndPath(this.config.uri)
    headers.scheme = this.config.uri.startsWith('https:') ? 'https' : 'http'
    headers.authority = host
    headers.path = path
    const cluster = this.clusters.get(this.config.cluster)
    sendRequest(cluster, headers, null, this.config.timeoutMs, {
      onResponse: (response, body) => {
        if (response.status >= 500 && this.askAgain()) return
        const parsed = response.status === 200 ? parseKeySet(body.toString('utf8')) : JwtStatus.FetchFailed
        this.onFetched(parsed)
      },
      onFailure: () => {
        if (cluster === undefined || !this.askAgain()) this.onFetched(JwtStatus.FetchFailed)
      },
    })
  }

  /** False when there are no more attempts. */
  private askAgain(): boolean {
    if (this.backoff === null || this.retriesLeft === 0) return false
    this.retriesLeft--
    setTimeout(() => this.ask(), this.backoff.next()).unref()
    return true
  }

  private onFetched(result: readonly WebKey[] | string): void {
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
