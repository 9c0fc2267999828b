// Ring hash and Maglev: the hash of a request names the priority and the host there. A priority's table holds its healthy
// hosts, or all of them in panic; degraded hosts, priorities tried before and fail_traffic_on_panic mean nothing to it (Envoy).

import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { Host } from '../host.ts'
import type { HostSet, PrioritySet } from '../priority-set.ts'
import { choosePriority } from './choose-priority.ts'
import {
  buildHashTable,
  type HashPolicyKind,
  type HashTable,
  randomHash,
  requestHash,
  type WeightedHost,
} from './hashing.ts'
import { type BalancerEnvironment, CurrentLoads, chooseAcceptable, type LoadBalancer } from './load-balancer.ts'
import type { PriorityLoads } from './priority-load.ts'

export class HashBalancer implements LoadBalancer {
  private readonly hosts: PrioritySet
  private readonly policy: HashPolicyKind
  private readonly environment: BalancerEnvironment
  private readonly current: CurrentLoads
  private loads: PriorityLoads | null = null
  /** By priority; null = no host has any weight there. */
  private tables: (HashTable | null)[] = []

  constructor(hosts: PrioritySet, policy: HashPolicyKind, environment: BalancerEnvironment) {
    this.hosts = hosts
    this.policy = policy
    this.environment = environment
    this.current = new CurrentLoads(hosts, environment)
    hosts.onUpdate(() => {
      this.loads = null
    })
  }

  choose(context: LoadBalancerContext): Host | null {
    const { sets } = this.hosts
    if (sets.length === 0) return null
    const loads = this.current.get()
    if (loads !== this.loads) this.build(loads)
    // One without a hash goes anywhere.
    const hash = requestHash(context) ?? randomHash()
    const chosen = choosePriority(loads, Number(hash % 100n))
    const priority = chosen < 0 ? -1 - chosen : chosen
    if (loads.panic[priority]) this.environment.stats.lbHealthyPanic.inc()
    const table = this.tables[priority] ?? null
    return table === null ? null : chooseAcceptable(context, ({ attempt }) => table(hash, attempt))
  }

  /** Of all priorities at once: the gauges tell of the last one's table, whoever is asked for. */
  private build(loads: PriorityLoads): void {
    const { stats } = this.environment
    const active = (): number => stats.rqActive.value
    this.tables = this.hosts.sets.map((set, priority) => {
      const weighted = this.weigh(set, loads.panic[priority]!)
      return weighted.length === 0 ? null : buildHashTable(this.policy, weighted, stats.scope, active)
    })
    this.loads = loads
  }

  /** Where localities have weights, a host has its part of its locality's, healthy or not (Envoy does not adjust them here). */
  private weigh(set: HostSet, panic: boolean): WeightedHost[] {
    if (this.environment.data.localityLb.kind !== 'weighted' || !set.localityWeights)
      return share(panic ? set.hosts : set.healthy, 1)
    const localities = set.localities.filter(({ weight, hosts }) => weight > 0 && hosts.length > 0)
    const all = localities.reduce((sum, { weight }) => sum + weight, 0)
    return localities.flatMap(({ weight, hosts, healthy }) => share(panic ? hosts : healthy, weight / all))
  }
}

function share(hosts: readonly Host[], part: number): WeightedHost[] {
  const all = hosts.reduce((sum, { weight }) => sum + weight, 0)
  return hosts.map((host) => ({ host, normalizedWeight: (host.weight * part) / all }))
}
