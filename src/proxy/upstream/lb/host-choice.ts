// One priority's hosts of one kind: a locality of them where localities count, and the policy's choice there.

import type { Host } from '../host.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import { EdfScheduler } from './edf.ts'
import type { BalancerEnvironment } from './load-balancer.ts'
import { createPicker, type ListPolicy, type Picker } from './picker.ts'
import { ZoneChoice, ZoneRouting } from './zone-aware.ts'

/** What depends on the hosts of one priority and kind; built when first asked for after an update. */
export class HostChoice {
  private readonly set: HostSet
  private readonly hosts: readonly Host[]
  private readonly kind: 'hosts' | 'healthy' | 'degraded'
  private readonly policy: ListPolicy
  private readonly environment: BalancerEnvironment
  private picker: Picker | null = null
  private readonly localities: EdfScheduler<LocalityHosts> | null
  private readonly localityPickers = new Map<LocalityHosts, Picker>()
  private readonly zone: ZoneRouting | null

  /** `hosts`: all of them, in panic: localities do not count then. */
  constructor(
    set: HostSet,
    kind: 'hosts' | 'healthy' | 'degraded',
    policy: ListPolicy,
    environment: BalancerEnvironment,
  ) {
    this.set = set
    this.kind = kind
    this.policy = policy
    this.hosts = set[kind]
    this.environment = environment
    const weighted = environment.data.localityLb.kind === 'weighted' && set.localityWeights
    this.localities = weighted && kind !== 'hosts' ? this.scheduleLocalities() : null
    this.zone = kind !== 'hosts' && set.priority === 0 ? ZoneRouting.create(set, environment) : null
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
    const part = locality[this.kind]
    const counted = locality.hosts.filter((host) => !host.excluded).length
    if (part.length === 0 || counted === 0) return 0
    return locality.weight * Math.min(1, (this.set.overprovisioningFactor / 100) * (part.length / counted))
  }

  pick(): Host | null {
    if (this.localities !== null) return this.pickIn(this.localities.pick(this.effectiveWeight)!)
    if (this.zone !== null) {
      const zone = this.zone.choose()
      if (zone === ZoneChoice.None) return null
      if (zone !== ZoneChoice.Any) return this.pickIn(zone)
    }
    if (this.hosts.length === 0) return null
    this.picker ??= createPicker(this.policy, this.hosts, this.environment.runtime)
    return this.picker.pick()
  }

  private pickIn(locality: LocalityHosts): Host | null {
    const hosts = locality[this.kind]
    if (hosts.length === 0) return null
    let picker = this.localityPickers.get(locality)
    if (!picker) {
      picker = createPicker(this.policy, hosts, this.environment.runtime)
      this.localityPickers.set(locality, picker)
    }
    return picker.pick()
  }
}
