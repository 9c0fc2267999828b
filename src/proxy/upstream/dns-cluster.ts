// STRICT_DNS (every address is a host) and LOGICAL_DNS (the name is the one host, its addresses are tried in turn): names resolved again and
// again by the leading worker, which tells the others (peers.ts).

import { isIP } from 'node:net'
import { Backoff } from '../../base/backoff.ts'
import { errorText } from '../../base/errors.ts'
import { ipAddress } from '../network/address.ts'
import { Cluster } from './cluster.ts'
import type { ClusterData, EndpointData } from './config.ts'
import { type Resolution, ResolveError, resolveName } from './dns/resolve.ts'
import { DnsStats } from './dns/stats.ts'
import type { Host } from './host.ts'
import type { ClusterNews } from './peers.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

/** One name of the configuration and what it resolved to last. */
interface Target {
  readonly endpoint: EndpointData
  addresses: readonly string[]
  /** What the other workers have been told; null = nothing. */
  told: readonly string[] | null
  readonly backoff: Backoff
  timer: NodeJS.Timeout | null
  answered: boolean
}

/** Key of the one host of a logical cluster. */
const LOGICAL_HOST = ''

export class DnsCluster extends Cluster {
  private readonly targets: Target[] = []
  private readonly lookUps: DnsStats
  private stopped = false
  /** Names that have not been answered yet, well or not. */
  private unanswered = 0

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    super(data, context, clusters)
    this.lookUps = new DnsStats(context.stats)
    for (const group of data.endpoints?.localities ?? []) {
      for (const endpoint of group.endpoints) {
        const literal = endpoint.address.pipe !== undefined || isIP(endpoint.address.ip) !== 0
        this.targets.push({
          endpoint,
          addresses: literal ? [endpoint.address.ip] : [],
          told: null,
          backoff: new Backoff({ baseMs: data.dns.failureBaseMs, maxMs: data.dns.failureMaxMs }),
          timer: null,
          answered: literal,
        })
      }
    }
  }

  /** The configuration's names are not hosts: only what they resolve to is. */
  override applyEndpoints(): void {
    if (this.targets.some((target) => target.addresses.length > 0)) this.publish()
  }

  override start(): void {
    const names = this.targets.filter((target) => target.addresses.length === 0)
    this.unanswered = names.length
    super.start()
    if (this.sharing.leads) for (const target of names) void this.resolve(target)
    else for (const [index, addresses] of this.sharing.names) this.onAnswer(index, addresses)
  }

  /** The leading worker has had an answer, the first or another one. */
  override onNews(news: ClusterNews): void {
    if (news.kind === 'name') this.onAnswer(news.target, news.addresses)
    else super.onNews(news)
  }

  private onAnswer(index: number, addresses: readonly string[]): void {
    const target = this.targets[index]
    if (target === undefined || this.stopped) return
    this.take(target, addresses)
    this.answered(target)
  }

  /** The one host of a logical cluster is the name, whatever its addresses. */
  protected override hostKey(endpoint: EndpointData, seen: ReadonlySet<string>): string | null {
    if (this.data.type === 'LOGICAL_DNS') return seen.size === 0 ? LOGICAL_HOST : null
    return super.hostKey(endpoint, seen)
  }

  protected override hostAt(address: string): Host | undefined {
    if (this.data.type !== 'LOGICAL_DNS') return super.hostAt(address)
    const host = this.hostByKey(LOGICAL_HOST)
    return host?.address.text === address ? host : undefined
  }

  protected override knowsHosts(): boolean {
    return this.unanswered === 0 || !this.data.waitForWarmOnInit
  }

  private answered(target: Target): void {
    if (target.answered) return
    target.answered = true
    if (--this.unanswered === 0) this.onHostsKnown()
  }

  private async resolve(target: Target): Promise<void> {
    const { dns: settings } = this.data
    this.stats.updateAttempt.inc()
    let wait: number
    try {
      const { addresses, ttlMs } = await this.ask(target.endpoint.address.ip)
      if (this.stopped) return
      this.stats.updateSuccess.inc()
      target.backoff.reset()
      const ttl = settings.respectTtl && ttlMs !== null && ttlMs > 0 ? ttlMs : settings.refreshMs
      wait = ttl + Math.random() * settings.jitterMs
      this.take(target, addresses)
    } catch (error) {
      if (this.stopped) return
      // What was known before stays: a resolver that is away must not empty a cluster.
      this.stats.updateFailure.inc()
      wait = Math.max(1, target.backoff.next())
      this.context.log.debug(
        { cluster: this.name, name: target.endpoint.address.ip, reason: errorText(error) },
        'DNS resolution failed',
      )
    }
    target.timer = setTimeout(() => void this.resolve(target), wait)
    target.timer.unref()
    this.tellAnswer(target)
    this.answered(target)
  }

  private tellAnswer(target: Target): void {
    if (target.told === target.addresses) return
    target.told = target.addresses
    this.sharing.tellName(this.targets.indexOf(target), target.addresses)
  }

  /** A name that is not there, or has no address, is an answer like another: no addresses. */
  private async ask(name: string): Promise<Resolution> {
    const { family, resolver, respectTtl } = this.data.dns
    try {
      return await resolveName(name, family, resolver, respectTtl, this.lookUps)
    } catch (error) {
      if (error instanceof ResolveError && error.noRecords) return { addresses: [], ttlMs: null }
      throw error
    }
  }

  private take(target: Target, addresses: readonly string[]): void {
    const logical = this.data.type === 'LOGICAL_DNS'
    if (addresses.join() === target.addresses.join() || (logical && addresses.length === 0)) {
      this.stats.updateNoRebuild.inc()
      return
    }
    target.addresses = addresses
    const host = logical ? this.hostByKey(LOGICAL_HOST) : undefined
    // The host of a logical cluster is the name: its connections stay, new ones go to the new addresses.
    if (host === undefined) this.publish()
    else host.setAddresses(addresses.map((ip) => ipAddress(ip, target.endpoint.address.port)))
  }

  private publish(): void {
    let next = 0
    const groups = (this.data.endpoints?.localities ?? []).map((group) => ({
      locality: group.locality,
      priority: group.priority,
      weight: group.weight,
      metadata: group.metadata,
      endpoints: group.endpoints.flatMap((endpoint) => {
        const target = this.targets[next++]!
        if (endpoint.address.pipe !== undefined) return [endpoint]
        const addresses = target.addresses.map((ip) => ipAddress(ip, endpoint.address.port))
        const hostname = endpoint.hostname || endpoint.address.ip
        const [first, ...others] = addresses
        if (first === undefined) return []
        return this.data.type === 'LOGICAL_DNS'
          ? [{ ...endpoint, address: first, additionalAddresses: others, hostname }]
          : addresses.map((address) => ({ ...endpoint, address, hostname }))
      }),
    }))
    this.setEndpoints(groups, this.data.endpoints ?? undefined)
  }

  protected override stop(): void {
    this.stopped = true
    for (const target of this.targets) if (target.timer !== null) clearTimeout(target.timer)
    super.stop()
  }
}
