// The hosts of a cluster by priority and locality, and the lists that balancers choose from.

import type { EndpointsData } from './config.ts'
import { Health, type Host, type Locality, sameLocality } from './host.ts'

/** Hosts of one locality within a priority. */
export interface LocalityHosts {
  readonly locality: Locality
  readonly weight: number
  readonly hosts: readonly Host[]
  readonly healthy: readonly Host[]
  readonly degraded: readonly Host[]
}

/** One priority. Lists are replaced, never changed, so that a balancer's state can hang on them. */
export interface HostSet {
  readonly priority: number
  readonly hosts: readonly Host[]
  readonly healthy: readonly Host[]
  readonly degraded: readonly Host[]
  /** Hosts that do not count for the health of the priority. */
  readonly excludedCount: number
  readonly localities: readonly LocalityHosts[]
  /** Percent. */
  readonly overprovisioningFactor: number
  readonly weightedHealth: boolean
  /** Weights of localities count. Subsets may know none. */
  readonly localityWeights: boolean
}

const EMPTY: readonly Host[] = []

function listsOf(hosts: readonly Host[]): {
  healthy: readonly Host[]
  degraded: readonly Host[]
  excludedCount: number
} {
  let excludedCount = 0
  let allHealthy = true
  for (const host of hosts) {
    if (host.excluded) excludedCount++
    if (host.health !== Health.Healthy || host.excluded) allHealthy = false
  }
  if (allHealthy) return { healthy: hosts, degraded: EMPTY, excludedCount }
  return {
    healthy: hosts.filter((host) => host.health === Health.Healthy && !host.excluded),
    degraded: hosts.filter((host) => host.health === Health.Degraded && !host.excluded),
    excludedCount,
  }
}

/** A group of hosts as an assignment or a resolver states it. */
export interface HostGroup {
  readonly locality: Locality
  readonly priority: number
  readonly weight: number
  readonly hosts: readonly Host[]
}

/** All priorities; tells its watchers when any list was replaced. */
export class PrioritySet {
  sets: readonly HostSet[] = []
  private groups: readonly HostGroup[] = []
  private overprovisioningFactor = 140
  private weightedHealth = false
  private localityWeights = true
  private readonly watchers: (() => void)[] = []

  onUpdate(watcher: () => void): void {
    this.watchers.push(watcher)
  }

  /** Replaces all hosts. Groups of one locality and priority are joined. */
  update(
    groups: readonly HostGroup[],
    policy: Pick<EndpointsData, 'overprovisioningFactor' | 'weightedPriorityHealth'>,
    localityWeights = true,
  ): void {
    this.groups = groups
    this.overprovisioningFactor = policy.overprovisioningFactor
    this.weightedHealth = policy.weightedPriorityHealth
    this.localityWeights = localityWeights
    this.refresh()
  }

  remove(host: Host): void {
    this.groups = this.groups.map((group) => ({ ...group, hosts: group.hosts.filter((other) => other !== host) }))
    this.refresh()
  }

  /** Works the lists out again after health changed. */
  refresh(): void {
    const highest = this.groups.reduce((most, group) => Math.max(most, group.priority), 0)
    const sets: HostSet[] = []
    for (let priority = 0; priority <= highest; priority++) sets.push(this.buildSet(priority))
    this.sets = sets
    for (const watcher of this.watchers) watcher()
  }

  private buildSet(priority: number): HostSet {
    const localities: { locality: Locality; weight: number; hosts: Host[] }[] = []
    for (const group of this.groups) {
      if (group.priority !== priority) continue
      const known = localities.find((entry) => sameLocality(entry.locality, group.locality))
      if (known) known.hosts.push(...group.hosts)
      else localities.push({ locality: group.locality, weight: group.weight, hosts: [...group.hosts] })
    }
    const hosts = localities.flatMap((entry) => entry.hosts)
    return {
      priority,
      hosts,
      ...listsOf(hosts),
      localities: localities.map((entry) => {
        const { healthy, degraded } = listsOf(entry.hosts)
        return { locality: entry.locality, weight: entry.weight, hosts: entry.hosts, healthy, degraded }
      }),
      overprovisioningFactor: this.overprovisioningFactor,
      weightedHealth: this.weightedHealth,
      localityWeights: this.localityWeights,
    }
  }

  *hosts(): Iterable<Host> {
    for (const set of this.sets) yield* set.hosts
  }

  get hostCount(): number {
    return this.sets.reduce((count, set) => count + set.hosts.length, 0)
  }

  /** The groups with only the hosts that `keep` selects; their weights in proportion to what is left of them, or as they are. */
  filtered(keep: (host: Host) => boolean, scaleLocalityWeight: boolean): HostGroup[] {
    return this.groups.map((group) => {
      const hosts = group.hosts.filter(keep)
      const scaled = group.hosts.length > 0 ? Math.round((group.weight * hosts.length) / group.hosts.length) : 0
      return { ...group, hosts, weight: scaleLocalityWeight ? scaled : group.weight }
    })
  }

  get policy(): Pick<EndpointsData, 'overprovisioningFactor' | 'weightedPriorityHealth'> {
    return { overprovisioningFactor: this.overprovisioningFactor, weightedPriorityHealth: this.weightedHealth }
  }
}
