// The host of a request: priority, then locality, then the policy's choice among the hosts there (envoy-contract §13).

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import type { ClusterData } from '../config.ts'
import type { Host } from '../host.ts'
import type { HostSet, LocalityHosts, PrioritySet } from '../priority-set.ts'
import { choosePriority, loadsOf } from './choose-priority.ts'
import { EdfScheduler } from './edf.ts'
import { requestHash } from './hashing.ts'
import { createPicker, type Picker, type WeightOf } from './picker.ts'
import type { PriorityLoads } from './priority-load.ts'
import { ZoneRouting } from './zone-aware.ts'

/** Chooses hosts of a cluster. */
export interface LoadBalancer {
  /** null: no host can take the request. */
  choose(context: LoadBalancerContext): Host | null
}

/** Settings of a cluster that its balancers share. */
export interface BalancerEnvironment {
  readonly data: ClusterData
  readonly stats: ClusterStats
  readonly runtime: RuntimeSnapshot
  /** Hosts of the local cluster (where this proxy is one), for zone-aware routing; null = none. */
  readonly localCluster: PrioritySet | null
  /** This proxy's zone. */
  readonly localZone: string
}

const NO_HOSTS: readonly Host[] = []
const ownWeight: WeightOf = (host) => host.weight

function isHashing({ lbPolicy }: ClusterData): boolean {
  return lbPolicy.kind === 'ring_hash' || lbPolicy.kind === 'maglev'
}

/** What depends on the hosts of one priority and kind; built when first asked for after an update. */
class HostChoice {
  private readonly set: HostSet
  private readonly hosts: readonly Host[]
  private readonly kind: 'hosts' | 'healthy' | 'degraded'
  private readonly environment: BalancerEnvironment
  private picker: Picker | null = null
  private localities: EdfScheduler<LocalityHosts> | null = null
  private readonly localityPickers = new Map<LocalityHosts, Picker>()
  private readonly zone: ZoneRouting | null

  constructor(set: HostSet, kind: 'hosts' | 'healthy' | 'degraded', environment: BalancerEnvironment) {
    this.set = set
    this.kind = kind
    this.hosts = set[kind]
    this.environment = environment
    const { localityLb } = environment.data
    const hashing = isHashing(environment.data)
    if (localityLb.kind === 'weighted' && kind !== 'hosts' && !hashing) this.localities = this.scheduleLocalities()
    this.zone =
      localityLb.kind === 'zone_aware' && kind === 'healthy' && set.priority === 0 && !hashing
        ? ZoneRouting.create(set, environment, localityLb)
        : null
  }

  /** Localities in proportion to their weight and health. */
  private scheduleLocalities(): EdfScheduler<LocalityHosts> | null {
    const scheduler = new EdfScheduler<LocalityHosts>()
    for (const locality of this.set.localities) {
      const weight = this.effectiveWeight(locality)
      if (weight > 0) scheduler.add(locality, weight)
    }
    return scheduler.size > 0 ? scheduler : null
  }

  private readonly effectiveWeight = (locality: LocalityHosts): number => {
    const part = this.kind === 'hosts' ? locality.hosts : locality[this.kind]
    const counted = locality.hosts.filter((host) => !host.excluded).length
    if (part.length === 0 || counted === 0) return 0
    return locality.weight * Math.min(1, (this.set.overprovisioning * part.length) / counted)
  }

  pick(context: LoadBalancerContext): Host | null {
    if (this.hosts.length === 0) return null
    const { data, runtime } = this.environment
    if (this.localities !== null) {
      const locality = this.localities.pick(this.effectiveWeight)!
      return this.pickIn(locality).pick(context)
    }
    if (this.zone !== null) {
      const locality = this.zone.choose()
      if (locality !== null) return this.pickIn(locality).pick(context)
    }
    this.picker ??= createPicker(data.lbPolicy, this.hosts, this.hashWeight(), runtime, this.environment.stats.scope)
    return this.picker.pick(context)
  }

  /** Hashing balancers know no localities: their weights are folded into the hosts'. */
  private hashWeight(): WeightOf {
    if (this.environment.data.localityLb.kind !== 'weighted') return ownWeight
    const shares = new Map<Host, number>()
    for (const locality of this.set.localities) {
      const part = this.kind === 'hosts' ? locality.hosts : locality[this.kind]
      const weights = part.reduce((sum, host) => sum + host.weight, 0)
      for (const host of part) shares.set(host, (this.effectiveWeight(locality) * host.weight) / weights)
    }
    const smallest = Number.MIN_VALUE
    return (host) => shares.get(host) || smallest
  }

  private pickIn(locality: LocalityHosts): Picker {
    let picker = this.localityPickers.get(locality)
    if (!picker) {
      const hosts = this.kind === 'hosts' ? locality.hosts : locality[this.kind]
      const { data, runtime, stats } = this.environment
      picker = createPicker(data.lbPolicy, hosts, ownWeight, runtime, stats.scope)
      this.localityPickers.set(locality, picker)
    }
    return picker
  }
}

/** Hosts by priority; state is thrown away when the hosts change. */
export class PriorityLoadBalancer implements LoadBalancer {
  private readonly hosts: PrioritySet
  private readonly environment: BalancerEnvironment
  private loads: PriorityLoads | null = null
  private panicThreshold = -1
  private readonly choices = new Map<HostSet, (HostChoice | null)[]>()

  constructor(hosts: PrioritySet, environment: BalancerEnvironment) {
    this.hosts = hosts
    this.environment = environment
    hosts.onUpdate(() => {
      this.loads = null
      this.choices.clear()
    })
  }

  choose(context: LoadBalancerContext): Host | null {
    context.attempt = 0
    let host = this.chooseOnce(context)
    if (context.shouldSelectAnotherHost === null) return host
    for (let i = 0; i < context.hostSelectionRetryCount && host !== null; i++) {
      if (!context.shouldSelectAnotherHost(host)) return host
      context.attempt = i + 1
      host = this.chooseOnce(context)
    }
    return host
  }

  private chooseOnce(context: LoadBalancerContext): Host | null {
    const sets = this.hosts.sets
    if (sets.length === 0) return null
    const loads = this.loadsFor(context)
    const chosen = sets.length === 1 && loads.healthy[0] === 100 ? 0 : choosePriority(loads, this.percent(context))
    const index = chosen < 0 ? -1 - chosen : chosen
    const set = sets[index]!
    if (loads.panic[index]) {
      this.environment.stats.lbHealthyPanic.inc()
      const { localityLb } = this.environment.data
      if (localityLb.kind === 'zone_aware' && localityLb.failTrafficOnPanic) return null
      return this.choice(set, 0, 'hosts').pick(context)
    }
    return chosen < 0 ? this.choice(set, 2, 'degraded').pick(context) : this.choice(set, 1, 'healthy').pick(context)
  }

  /** A hash must always find the same priority. */
  private percent(context: LoadBalancerContext): number {
    const hash = isHashing(this.environment.data) ? requestHash(context) : null
    return hash !== null ? Number(hash % 100n) : Math.random() * 100
  }

  /** Without the priorities that a retry is to leave alone, unless nothing else is left. */
  private loadsFor(context: LoadBalancerContext): PriorityLoads {
    const excluded = context.excludedPriorities
    if (excluded === undefined || excluded === null || excluded.size === 0) return this.currentLoads()
    const sets = this.hosts.sets.map((set) =>
      excluded.has(set.priority) ? { ...set, healthy: NO_HOSTS, degraded: NO_HOSTS } : set,
    )
    if (sets.every((set) => set.healthy.length + set.degraded.length === 0)) return this.currentLoads()
    return loadsOf(sets, 0)
  }

  private currentLoads(): PriorityLoads {
    const { runtime, data } = this.environment
    const threshold = Math.min(100, runtime.number('upstream.healthy_panic_threshold', data.healthyPanicThreshold))
    if (this.loads === null || threshold !== this.panicThreshold) {
      this.loads = loadsOf(this.hosts.sets, threshold)
      this.panicThreshold = threshold
    }
    return this.loads
  }

  private choice(set: HostSet, slot: 0 | 1 | 2, kind: 'hosts' | 'healthy' | 'degraded'): HostChoice {
    let slots = this.choices.get(set)
    if (slots === undefined) {
      slots = [null, null, null]
      this.choices.set(set, slots)
    }
    let choice = slots[slot]
    if (!choice) {
      choice = new HostChoice(set, kind, this.environment)
      slots[slot] = choice
    }
    return choice
  }
}
