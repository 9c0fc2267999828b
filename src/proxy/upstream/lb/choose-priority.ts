// From health to one priority: what priority-load.ts works out, applied to a cluster's host sets.

import type { Host } from '../host.ts'
import type { HostSet } from '../priority-set.ts'
import { type PriorityHealth, type PriorityLoads, priorityLoads } from './priority-load.ts'

function weightOf(hosts: readonly Host[]): number {
  let sum = 0
  for (const host of hosts) sum += host.weight
  return sum
}

/** The counts that loads are made of. */
export function healthOf(set: HostSet): PriorityHealth {
  return {
    hosts: set.hosts.length,
    excluded: set.excludedCount,
    healthy: set.healthy.length,
    degraded: set.degraded.length,
    weights: set.weightedHealth
      ? {
          total: weightOf(set.hosts.filter((host) => !host.excluded)),
          healthy: weightOf(set.healthy),
          degraded: weightOf(set.degraded),
        }
      : null,
    overprovisioningFactor: set.overprovisioningFactor,
  }
}

/** `panicThreshold` in percent. */
export function loadsOf(sets: readonly HostSet[], panicThreshold: number): PriorityLoads {
  return priorityLoads(sets.map(healthOf), panicThreshold)
}

/** Position of the priority for a number in [0, 100); negative (-1 - position) means its degraded hosts. */
export function choosePriority(loads: Omit<PriorityLoads, 'panic'>, percent: number): number {
  let end = 0
  for (let i = 0; i < loads.healthy.length; i++) {
    end += loads.healthy[i]!
    if (percent < end) return i
  }
  for (let i = 0; i < loads.degraded.length; i++) {
    end += loads.degraded[i]!
    if (percent < end) return -1 - i
  }
  return 0
}
