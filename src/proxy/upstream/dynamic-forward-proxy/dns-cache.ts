// A DNS cache of a worker: names that requests brought, resolved once, refreshed while they are used, forgotten when they
// are not (envoy.extensions.common.dynamic_forward_proxy). Shared by name between clusters and filters.

import { Backoff } from '../../../base/backoff.ts'
import { ConfigError, errorText } from '../../../base/errors.ts'
import { ipAddress } from '../../network/address.ts'
import type { Address } from '../../network/connection.ts'
import { reportFault } from '../../network/fault.ts'
import type { Counter, Gauge, Scope } from '../../observe/stats.ts'
import { now } from '../../stream-info.ts'
import { type Resolution, ResolveError, resolveName } from '../dns/resolve.ts'
import { DnsStats } from '../dns/stats.ts'
import type { DnsCacheData } from './config.ts'
import { splitHostKey } from './host-key.ts'

/** A name in the cache. */
export interface DnsCacheHost {
  /** `host:port`. */
  readonly key: string
  /** The name has been asked for at least once, with or without success. */
  readonly resolved: boolean
  /** In the order of the answer; empty while there is none. */
  readonly addresses: readonly Address[]
  /** How the last resolution failed, in Envoy's words; '' after a good one. */
  readonly failure: string
}

/** Waits for the first answer. */
export interface DnsCacheWaiter {
  onLoaded(host: DnsCacheHost): void
}

/** Follows the cache: a cluster that has its hosts from it. */
export interface DnsCacheWatcher {
  /** A host got its first address, or another one. */
  onHostUpdated(host: DnsCacheHost): void
  onHostRemoved(host: DnsCacheHost): void
}

export const LoadStatus = { InCache: 0, Loading: 1, Overflow: 2 } as const
export type LoadStatus = (typeof LoadStatus)[keyof typeof LoadStatus]

class CachedHost implements DnsCacheHost {
  readonly key: string
  readonly name: string
  readonly port: number
  readonly backoff: Backoff
  readonly waiters = new Set<DnsCacheWaiter>()
  resolved = false
  addresses: readonly Address[] = []
  failure = ''
  lastUsed = now()
  timer: NodeJS.Timeout | null = null

  constructor(key: string, data: DnsCacheData) {
    this.key = key
    const { host, port } = splitHostKey(key)
    this.name = host
    this.port = port
    this.backoff = new Backoff({ baseMs: data.failureBaseMs, maxMs: data.failureMaxMs })
  }
}

interface Stats {
  readonly queryAttempt: Counter
  readonly querySuccess: Counter
  readonly queryFailure: Counter
  readonly queryTimeout: Counter
  readonly hostAdded: Counter
  readonly hostRemoved: Counter
  readonly hostAddressChanged: Counter
  readonly hostOverflow: Counter
  readonly pendingOverflow: Counter
  readonly numHosts: Gauge
  readonly pendingOpen: Gauge
  readonly pendingRemaining: Gauge
}

export class DnsCache {
  readonly data: DnsCacheData
  private readonly stats: Stats
  private readonly lookUps: DnsStats
  private readonly hosts = new Map<string, CachedHost>()
  private readonly watchers = new Set<DnsCacheWatcher>()
  private pending = 0
  private closed = false

  constructor(data: DnsCacheData, root: Scope) {
    this.data = data
    this.lookUps = new DnsStats(root)
    const scope = root.scope(`dns_cache.${data.name}`)
    this.stats = {
      queryAttempt: scope.counter('dns_query_attempt'),
      querySuccess: scope.counter('dns_query_success'),
      queryFailure: scope.counter('dns_query_failure'),
      queryTimeout: scope.counter('dns_query_timeout'),
      hostAdded: scope.counter('host_added'),
      hostRemoved: scope.counter('host_removed'),
      hostAddressChanged: scope.counter('host_address_changed'),
      hostOverflow: scope.counter('host_overflow'),
      pendingOverflow: scope.counter('dns_rq_pending_overflow'),
      numHosts: scope.gauge('num_hosts'),
      pendingOpen: scope.gauge('circuit_breakers.rq_pending_open'),
      pendingRemaining: scope.gauge('circuit_breakers.rq_pending_remaining'),
    }
    this.countPending(0)
    for (const key of data.preresolve) this.add(key)
  }

  /** `key`: `host:port`. Loading: `waiter` is told later, unless cancelled. */
  load(key: string, waiter: DnsCacheWaiter): LoadStatus {
    let host = this.hosts.get(key)
    if (host === undefined) {
      if (this.hosts.size >= this.data.maxHosts) {
        this.stats.hostOverflow.inc()
        return LoadStatus.Overflow
      }
      host = this.add(key)
    }
    host.lastUsed = now()
    if (host.resolved) return LoadStatus.InCache
    host.waiters.add(waiter)
    return LoadStatus.Loading
  }

  cancel(key: string, waiter: DnsCacheWaiter): void {
    this.hosts.get(key)?.waiters.delete(waiter)
  }

  /** What is known of a name; using it keeps it in the cache. */
  use(key: string): DnsCacheHost | null {
    const host = this.hosts.get(key)
    if (host === undefined) return null
    host.lastUsed = now()
    return host
  }

  /** A request that may have to wait; false = there are too many. Matched by leavePending. */
  enterPending(): boolean {
    if (this.pending >= this.data.maxPendingRequests) {
      this.stats.pendingOverflow.inc()
      return false
    }
    this.countPending(1)
    return true
  }

  leavePending(): void {
    this.countPending(-1)
  }

  private countPending(change: number): void {
    this.pending += change
    const left = this.data.maxPendingRequests - this.pending
    this.stats.pendingOpen.set(left > 0 ? 0 : 1)
    this.stats.pendingRemaining.set(left)
  }

  /** Tells `watcher` of every host that has an address, now and from now on. */
  watch(watcher: DnsCacheWatcher): void {
    this.watchers.add(watcher)
    for (const host of this.hosts.values()) if (host.addresses.length > 0) watcher.onHostUpdated(host)
  }

  unwatch(watcher: DnsCacheWatcher): void {
    this.watchers.delete(watcher)
  }

  close(): void {
    this.closed = true
    for (const host of this.hosts.values()) if (host.timer !== null) clearTimeout(host.timer)
    this.hosts.clear()
  }

  private add(key: string): CachedHost {
    const host = new CachedHost(key, this.data)
    this.hosts.set(key, host)
    this.stats.hostAdded.inc()
    this.stats.numHosts.inc()
    void this.resolve(host)
    return host
  }

  private remove(host: CachedHost): void {
    this.hosts.delete(host.key)
    this.stats.hostRemoved.inc()
    this.stats.numHosts.dec()
    for (const watcher of this.watchers) watcher.onHostRemoved(host)
  }

  private async resolve(host: CachedHost): Promise<void> {
    const { data, stats } = this
    stats.queryAttempt.inc()
    let answer: Resolution | null = null
    let failed = false
    try {
      answer = await withTimeout(
        resolveName(host.name, data.family, data.resolver, true, this.lookUps),
        data.queryTimeoutMs,
      )
      stats.querySuccess.inc()
      host.failure = ''
    } catch (error) {
      if (error === TIMEOUT) stats.queryTimeout.inc()
      // No such name is an answer like another.
      failed = !(error instanceof ResolveError && error.noRecords)
      ;(failed ? stats.queryFailure : stats.querySuccess).inc()
      host.failure =
        error === TIMEOUT ? 'resolve_timeout' : error instanceof ResolveError ? error.details : errorText(error)
    }
    if (this.closed) return
    if (answer !== null) this.setAddresses(host, answer.addresses)
    host.resolved = true
    const waiters = [...host.waiters]
    host.waiters.clear()
    for (const waiter of waiters) {
      try {
        waiter.onLoaded(host)
      } catch (error) {
        // One of many streams: the others go on.
        reportFault(error, 'the resolution of a name')
      }
    }
    if (failed && data.forgetFailures && host.addresses.length === 0) {
      this.remove(host)
      return
    }
    if (!failed) host.backoff.reset()
    const ttlMs = answer?.ttlMs ?? data.refreshMs
    const wait = failed ? Math.max(1, host.backoff.next()) : Math.max(ttlMs, data.minRefreshMs)
    host.timer = setTimeout(() => this.refresh(host), wait)
    host.timer.unref()
  }

  private refresh(host: CachedHost): void {
    host.timer = null
    if (now() - host.lastUsed > this.data.hostTtlMs) this.remove(host)
    else void this.resolve(host)
  }

  private setAddresses(host: CachedHost, ips: readonly string[]): void {
    const before = host.addresses
    const same = before.length === ips.length && ips.every((ip) => before.some((address) => address.ip === ip))
    if (same) return
    host.addresses = ips.map((ip) => ipAddress(ip, host.port))
    this.stats.hostAddressChanged.inc()
    for (const watcher of this.watchers) watcher.onHostUpdated(host)
  }
}

const TIMEOUT = Symbol('timeout')

/** Rejects with TIMEOUT when `work` takes longer; 0 = it may. */
function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  if (timeoutMs <= 0) return work
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(TIMEOUT), timeoutMs)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** The caches of a worker by name. */
export class DnsCaches {
  private readonly stats: Scope
  private readonly caches = new Map<string, DnsCache>()

  constructor(stats: Scope) {
    this.stats = stats
  }

  /** Throws ConfigError when the name is in use with other settings, as Envoy does. */
  get(data: DnsCacheData): DnsCache {
    const known = this.caches.get(data.name)
    if (known !== undefined) {
      if (JSON.stringify(known.data) !== JSON.stringify(data))
        throw new ConfigError('dns_cache_config', `config specified DNS cache '${data.name}' with different settings`)
      return known
    }
    const made = new DnsCache(data, this.stats)
    this.caches.set(data.name, made)
    return made
  }

  close(): void {
    for (const cache of this.caches.values()) cache.close()
    this.caches.clear()
  }
}
