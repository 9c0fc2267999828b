// Network gateways named by host: the control plane asks DNS, since proxies are sent addresses only.
import { Resolver } from 'node:dns/promises'
import { errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'

/** Answers of DNS for one host; at least as long as the shortest of them lives, it is not asked again. */
export interface ResolvedHost {
  readonly addresses: readonly string[]
  readonly ttlSeconds: number
}
export type ResolveHost = (host: string) => Promise<ResolvedHost>

/** istiod's limits for how soon and how late a name is asked for again. */
const MIN_REFRESH_MS = 5_000
const RETRY_MS = 30_000

/** Asks for both address families; throws when neither has an answer. */
async function resolveHost(host: string): Promise<ResolvedHost> {
  const resolver = new Resolver({ timeout: 5_000, tries: 2 })
  const answers = await Promise.allSettled([
    resolver.resolve4(host, { ttl: true }),
    resolver.resolve6(host, { ttl: true }),
  ])
  const records = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
  const [first] = answers
  if (records.length === 0) throw first.status === 'rejected' ? first.reason : new Error('no address')
  return {
    addresses: records.map(({ address }) => address).sort(),
    ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)),
  }
}

/** Keeps the addresses of the hosts it is told to {@link follow}; a failed lookup keeps the last good answer. */
export class GatewayResolver {
  private readonly log: Logger
  private readonly changed: (addresses: ReadonlyMap<string, readonly string[]>) => void
  private readonly resolve: ResolveHost
  private readonly timers = new Map<string, NodeJS.Timeout | null>()
  private known: ReadonlyMap<string, readonly string[]> = new Map()
  private closed = false

  /** `changed` never runs inside {@link follow}. */
  constructor(
    log: Logger,
    changed: (addresses: ReadonlyMap<string, readonly string[]>) => void,
    resolve: ResolveHost = resolveHost,
  ) {
    this.log = log
    this.changed = changed
    this.resolve = resolve
  }

  follow(hosts: readonly string[]): void {
    for (const [host, timer] of this.timers) {
      if (hosts.includes(host)) continue
      if (timer) clearTimeout(timer)
      this.timers.delete(host)
    }
    for (const host of hosts) {
      if (this.timers.has(host)) continue
      this.timers.set(host, null)
      void this.refresh(host)
    }
  }

  close(): void {
    this.closed = true
    for (const timer of this.timers.values()) if (timer) clearTimeout(timer)
    this.timers.clear()
  }

  private async refresh(host: string): Promise<void> {
    let nextMs = RETRY_MS
    try {
      const { addresses, ttlSeconds } = await this.resolve(host)
      nextMs = Math.max(ttlSeconds * 1000, MIN_REFRESH_MS)
      if (this.timers.has(host) && this.known.get(host)?.join() !== addresses.join()) {
        this.known = new Map([...this.known].filter(([known]) => this.timers.has(known))).set(host, addresses)
        this.changed(this.known)
      }
    } catch (error) {
      if (!this.closed) this.log.warn({ host, reason: errorText(error) }, 'network gateway could not be resolved')
    }
    if (this.closed || !this.timers.has(host)) return
    const timer = setTimeout(() => void this.refresh(host), nextMs)
    timer.unref()
    this.timers.set(host, timer)
  }
}
