// How a host is chosen within one list (a priority's healthy hosts, one locality's, …).

import type { RuntimeSnapshot } from '../../config/extension.ts'
import { now } from '../../stream-info.ts'
import type { LbPolicyData, SlowStartData } from '../config.ts'
import { Health, type Host } from '../host.ts'
import { EdfScheduler } from './edf.ts'

/** State of one list. The list never changes; a changed one gets a new picker. */
export interface Picker {
  /** Never called for an empty list. */
  pick(): Host
}

/** Policies that choose within lists; hashing ones have tables over all hosts. */
export type ListPolicy = Exclude<LbPolicyData, { kind: 'ring_hash' | 'maglev' }>

export function createPicker(policy: ListPolicy, hosts: readonly Host[], runtime: RuntimeSnapshot): Picker {
  switch (policy.kind) {
    case 'round_robin':
      return needsSchedule(hosts, policy.slowStart)
        ? new ScheduledPicker(hosts, (host) => host.weight * slowStartFactor(host, policy.slowStart, runtime))
        : new RotatingPicker(hosts)
    case 'least_request': {
      if (!needsSchedule(hosts, policy.slowStart)) {
        return policy.fullScan ? new FullScanPicker(hosts) : new ChoicesPicker(hosts, policy.choiceCount)
      }
      const { slowStart, activeRequestBiasRuntimeKey: key } = policy
      return new ScheduledPicker(hosts, (host) => {
        const set = key === '' ? policy.activeRequestBias : runtime.number(key, policy.activeRequestBias)
        // Envoy logs an error and takes the default.
        const bias = set >= 0 ? set : 1
        const load = bias === 0 ? 1 : bias === 1 ? host.stats.rqActive + 1 : (host.stats.rqActive + 1) ** bias
        return (host.weight * slowStartFactor(host, slowStart, runtime)) / load
      })
    }
    case 'random':
    case 'cluster_provided':
      return new RandomPicker(hosts)
  }
}

function needsSchedule(hosts: readonly Host[], slowStart: SlowStartData | null): boolean {
  const first = hosts[0]!.weight
  if (hosts.some((host) => host.weight !== first)) return true
  return slowStart !== null && hosts.some((host) => now() - host.slowStartSince <= slowStart.windowMs)
}

/** Share of its weight that a host gets while it is new (envoy-contract §13.3). */
function slowStartFactor(host: Host, slowStart: SlowStartData | null, runtime: RuntimeSnapshot): number {
  if (slowStart === null || host.health !== Health.Healthy) return 1
  const age = Math.max(1, now() - host.slowStartSince)
  if (age >= slowStart.windowMs) return 1
  const aggression =
    slowStart.aggressionRuntimeKey === ''
      ? slowStart.aggression
      : runtime.number(slowStart.aggressionRuntimeKey, slowStart.aggression)
  const progress = age / slowStart.windowMs
  const eased = aggression === 1 || !(aggression > 0) ? progress : progress ** (1 / aggression)
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
  private readonly weightOf: (host: Host) => number
  constructor(hosts: readonly Host[], weightOf: (host: Host) => number) {
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
