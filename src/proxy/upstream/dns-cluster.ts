// STRICT_DNS (every address is a host) and LOGICAL_DNS (the first address is the one host): names resolved again and
// again, each worker for itself.

import { promises as dns, Resolver } from 'node:dns'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import { Backoff } from '../../base/backoff.ts'
import { errorText } from '../../base/errors.ts'
import { ipAddress } from '../network/address.ts'
import { Cluster } from './cluster.ts'
import type { ClusterData, DnsData, EndpointData } from './config.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

/** Addresses of a name and how long they hold. */
export interface Resolution {
  readonly addresses: readonly string[]
  /** Milliseconds; null when the source does not say. */
  readonly ttlMs: number | null
}

/** Asks for a name's addresses as the cluster's dns_lookup_family says. Rejects when there are none. */
async function resolveName(name: string, data: DnsData): Promise<Resolution> {
  const families: readonly (4 | 6)[] =
    data.family === 'V4_ONLY' ? [4] : data.family === 'V6_ONLY' ? [6] : data.family === 'V4_PREFERRED' ? [4, 6] : [6, 4]
  const both = data.family === 'ALL'
  const found: string[] = []
  let ttlMs: number | null = null
  let failure: unknown
  for (const family of families) {
    try {
      const answer = await resolveFamily(name, family, data)
      found.push(...answer.addresses)
      if (answer.ttlMs !== null) ttlMs = ttlMs === null ? answer.ttlMs : Math.min(ttlMs, answer.ttlMs)
    } catch (error) {
      failure = error
    }
    if (found.length > 0 && !both) break
  }
  if (found.length === 0) throw failure ?? new Error('no address')
  return { addresses: found, ttlMs }
}

async function resolveFamily(name: string, family: 4 | 6, data: DnsData): Promise<Resolution> {
  // The system's way knows /etc/hosts and search domains but no TTL; DNS itself is asked where the TTL counts.
  if (data.respectTtl || data.resolvers.length > 0) {
    try {
      const records = await queryDns(name, family, data)
      if (records.length > 0) {
        return {
          addresses: records.map((record) => record.address),
          ttlMs: Math.min(...records.map((record) => record.ttl)) * 1000,
        }
      }
    } catch (error) {
      if (data.resolvers.length > 0) throw error
    }
  }
  const answers = await dns.lookup(name, { all: true, family })
  return { addresses: answers.map((answer) => answer.address), ttlMs: null }
}

function queryDns(name: string, family: 4 | 6, data: DnsData): Promise<{ address: string; ttl: number }[]> {
  const resolver = new Resolver()
  if (data.resolvers.length > 0) resolver.setServers(data.resolvers)
  return family === 4
    ? promisify(resolver.resolve4.bind(resolver) as ResolveWithTtl)(name, { ttl: true })
    : promisify(resolver.resolve6.bind(resolver) as ResolveWithTtl)(name, { ttl: true })
}

type ResolveWithTtl = (
  name: string,
  options: { ttl: true },
  callback: (error: Error | null, records: { address: string; ttl: number }[]) => void,
) => void

/** One name of the configuration and what it resolved to last. */
interface Target {
  readonly endpoint: EndpointData
  addresses: readonly string[]
  readonly backoff: Backoff
  timer: NodeJS.Timeout | null
}

export class DnsCluster extends Cluster {
  private readonly targets: Target[] = []
  private stopped = false

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    super(data, context, clusters)
    for (const group of data.endpoints?.localities ?? []) {
      for (const endpoint of group.endpoints) {
        const literal = endpoint.address.pipe !== undefined || isIP(endpoint.address.ip) !== 0
        this.targets.push({
          endpoint,
          addresses: literal ? [endpoint.address.ip] : [],
          backoff: new Backoff({ baseMs: data.dns.failureBaseMs, maxMs: data.dns.failureMaxMs }),
          timer: null,
        })
      }
    }
  }

  /** The configuration's names are not hosts: only what they resolve to is. */
  override applyEndpoints(): void {
    this.publish()
  }

  override start(): void {
    super.start()
    for (const target of this.targets) {
      if (target.addresses.length === 0) void this.resolve(target)
    }
  }

  private async resolve(target: Target): Promise<void> {
    const { dns: settings } = this.data
    this.stats.updateAttempt.inc()
    let wait: number
    try {
      const { addresses, ttlMs } = await resolveName(target.endpoint.address.ip, settings)
      if (this.stopped) return
      this.stats.updateSuccess.inc()
      target.backoff.reset()
      const ttl = settings.respectTtl && ttlMs !== null && ttlMs > 0 ? ttlMs : settings.refreshMs
      wait = ttl + Math.random() * settings.jitterMs
      const used = this.data.type === 'LOGICAL_DNS' ? addresses.slice(0, 1) : addresses
      if (used.join() !== target.addresses.join()) {
        target.addresses = used
        this.publish()
      } else this.stats.updateNoRebuild.inc()
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
        return target.addresses.map((ip) => ({
          ...endpoint,
          address: ipAddress(ip, endpoint.address.port),
          hostname: endpoint.hostname || endpoint.address.ip,
        }))
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
