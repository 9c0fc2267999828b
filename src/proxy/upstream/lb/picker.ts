// How a host is chosen within one list (a priority's healthy hosts, one locality's, …).

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { Scope } from '../../observe/stats.ts'
import { now } from '../../stream-info.ts'
import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { LbPolicyData, SlowStartData } from '../config.ts'
import type { Host } from '../host.ts'
import { EdfScheduler } from './edf.ts'
import { MaglevPicker, RingHashPicker } from './hashing.ts'

/** State of one list. The list never changes; a changed one gets a new picker. */
export interface Picker {
  /** Never called for an empty list. */
  pick(context: LoadBalancerContext): Host
}

/** Weight of each host where it is not its own: locality weights folded in for hashing balancers. */
export type WeightOf = (host: Host) => number

export function createPicker(
  policy: LbPolicyData,
  hosts: readonly Host[],
  weightOf: WeightOf,
  runtime: RuntimeSnapshot,
  stats: Scope,
): Picker {
  switch (policy.kind) {
    case 'round_robin':
      return needsSchedule(hosts, policy.slowStart)
        ? new ScheduledPicker(hosts, (host) => weightOf(host) * slowStartFactor(host, policy.slowStart, runtime))
        : new RotatingPicker(hosts)
    case 'least_request': {
      if (!needsSchedule(hosts, policy.slowStart)) {
        return policy.fullScan ? new FullScanPicker(hosts) : new ChoicesPicker(hosts, policy.choiceCount)
      }
      const { slowStart, activeRequestBiasRuntimeKey: key } = policy
      return new ScheduledPicker(hosts, (host) => {
        const bias = key === '' ? policy.activeRequestBias : runtime.number(key, policy.activeRequestBias)
        const load = bias === 0 ? 1 : bias === 1 ? host.stats.rqActive + 1 : (host.stats.rqActive + 1) ** bias
        return (weightOf(host) * slowStartFactor(host, slowStart, runtime)) / load
      })
    }
    case 'ring_hash':
      return new RingHashPicker(hosts, weightOf, policy, stats)
    case 'maglev':
      return new MaglevPicker(hosts, weightOf, policy, stats)
    case 'random':
    case 'cluster_provided':
      return new RandomPicker(hosts)
  }
}

function needsSchedule(hosts: readonly Host[], slowStart: SlowStartData | null): boolean {
  if (slowStart !== null) return true
  const first = hosts[0]!.weight
  return hosts.some((host) => host.weight !== first)
}

/** Share of its weight that a host gets while it is new (envoy-contract §13.3). */
function slowStartFactor(host: Host, slowStart: SlowStartData | null, runtime: RuntimeSnapshot): number {
  if (slowStart === null) return 1
  const age = Math.max(1000, now() - host.slowStartSince)
  if (age >= slowStart.windowMs) return 1
  const aggression =
    slowStart.aggressionRuntimeKey === ''
      ? slowStart.aggression
      : runtime.number(slowStart.aggressionRuntimeKey, slowStart.aggression)
  const progress = age / slowStart.windowMs
  const eased = aggression === 1 || aggression <= 0 ? progress : progress ** (1 / aggression)
  return Math.max(slowStart.minWeightPercent / 100, eased)
}

/** Equal weights: one after the other, from a random start so that workers do not march in step. */
class RotatingPicker implements Picker {
  private readonly hosts: readonly Host[]
  private next: number
  constructor(hosts: readonly Host[]) {
    this.hosts = hosts
    this.next = Math.floor(Math.random() * hosts.length)
  }
  pick(): Host {
    const host = this.hosts[this.next]!
    this.next = this.next + 1 === this.hosts.length ? 0 : this.next + 1
    return host
  }
}

/** Different weights. */
class ScheduledPicker implements Picker {
  private readonly scheduler = new EdfScheduler<Host>()
  private readonly weightOf: WeightOf
  constructor(hosts: readonly Host[], weightOf: WeightOf) {
    this.weightOf = weightOf
    for (const host of hosts) this.scheduler.add(host, weightOf(host))
    for (let skip = Math.floor(Math.random() * hosts.length); skip > 0; skip--) this.scheduler.pick(weightOf)
  }
  pick(): Host {
    return this.scheduler.pick(this.weightOf)!
  }
}

/** The least loaded of a few random ones ("power of two choices"). */
class ChoicesPicker implements Picker {
  private readonly hosts: readonly Host[]
  private readonly choices: number
  constructor(hosts: readonly Host[], choices: number) {
    this.hosts = hosts
    this.choices = choices
  }
  pick(): Host {
    const hosts = this.hosts
    if (hosts.length === 1) return hosts[0]!
    let best = hosts[Math.floor(Math.random() * hosts.length)]!
    for (let i = 1; i < this.choices; i++) {
      const host = hosts[Math.floor(Math.random() * hosts.length)]!
      if (host.stats.rqActive < best.stats.rqActive) best = host
    }
    return best
  }
}

/** The least loaded of all; among equals each is as likely. */
class FullScanPicker implements Picker {
  private readonly hosts: readonly Host[]
  constructor(hosts: readonly Host[]) {
    this.hosts = hosts
  }
  pick(): Host {
    let best = this.hosts[0]!
    let equals = 1
    for (let i = 1; i < this.hosts.length; i++) {
      const host = this.hosts[i]!
      const difference = host.stats.rqActive - best.stats.rqActive
      if (difference > 0) continue
      equals = difference < 0 ? 1 : equals + 1
      if (difference < 0 || Math.random() * equals < 1) best = host
    }
    return best
  }
}

class RandomPicker implements Picker {
  private readonly hosts: readonly Host[]
  constructor(hosts: readonly Host[]) {
    this.hosts = hosts
  }
  pick(): Host {
    return this.hosts[Math.floor(Math.random() * this.hosts.length)]!
  }
}
