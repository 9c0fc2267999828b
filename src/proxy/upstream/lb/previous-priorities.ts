// retry_priority previous_priorities: after every so many attempts the priorities tried until then are left alone, while
// others can serve (envoy-contract §7.7).

import type { HostDescription } from '../host.ts'
import type { HostSet } from '../priority-set.ts'
import { healthOf } from './choose-priority.ts'
import { type Availability, availabilityOf, type PriorityLoads, totalAvailability } from './priority-load.ts'

type Loads = Omit<PriorityLoads, 'panic'>

/** What one request's attempts have tried. */
export class PreviousPriorities {
  private readonly frequency: number
  private readonly attempted: HostDescription[] = []
  private readonly excluded = new Set<number>()
  private loads: Loads | null = null

  /** `frequency`: update_frequency, > 0. */
  constructor(frequency: number) {
    this.frequency = frequency
  }

  onHostAttempted(host: HostDescription): void {
    this.attempted.push(host)
  }

  /** In place of `original`, the loads by health alone. Whether a priority panics stays what it is. */
  determine(sets: readonly HostSet[], original: Loads): Loads {
    const { length } = this.attempted
    if (length < this.frequency) return original
    if (length % this.frequency === 0) {
      for (const host of this.attempted) this.excluded.add(host.priority)
      this.loads = this.loadsWithoutExcluded(sets)
    }
    return this.loads ?? original
  }

  /** null: nobody is available at all. */
  private loadsWithoutExcluded(sets: readonly HostSet[]): Loads | null {
    const all = availabilityOf(sets.map(healthOf))
    const without = (parts: readonly number[]): number[] =>
      parts.map((part, priority) => (this.excluded.has(priority) ? 0 : part))
    let available: Availability = { healthy: without(all.healthy), degraded: without(all.degraded) }
    if (totalAvailability(available) === 0) {
      // Every priority was tried: begin anew.
      this.excluded.clear()
      this.attempted.length = 0
      available = all
    }
    return totalAvailability(available) === 0 ? null : fill(available)
  }
}

/** Unlike the loads of a cluster, rounding is made up for by going round again. */
function fill(available: Availability): Loads {
  const total = totalAvailability(available)
  const healthy = available.healthy.map(() => 0)
  const degraded = available.degraded.map(() => 0)
  let left = 100
  const add = (loads: number[], parts: readonly number[]): void => {
    for (const [i, part] of parts.entries()) {
      const load = Math.min(left, Math.floor((part * 100) / total))
      loads[i]! += load
      left -= load
    }
  }
  while (left > 0) {
    add(healthy, available.healthy)
    add(degraded, available.degraded)
  }
  return { healthy, degraded }
}
