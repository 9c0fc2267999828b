// How load spreads over priorities by their health (envoy-contract §13.1). Pure: plain counts in, percentages out.

export interface PriorityHealth {
  readonly total: number
  /** Hosts excluded from health counting (immediate health-check fail). */
  readonly excluded: number
  readonly healthy: number
  readonly degraded: number
  /** Percent, 140 by default. */
  readonly overprovisioningFactor: number
}

export interface PriorityLoads {
  /** Percent of requests for each priority's healthy hosts; with `degraded` they add up to 100, or all are 0. */
  readonly healthy: readonly number[]
  readonly degraded: readonly number[]
  /** Priorities whose hosts are all used whatever their health. */
  readonly panic: readonly boolean[]
}

/** `panicThreshold` in percent; 0 turns panic off, then nothing healthy means no host. */
export function priorityLoads(priorities: readonly PriorityHealth[], panicThreshold: number): PriorityLoads {
  const share = (part: number, p: PriorityHealth): number => {
    const counted = p.total - p.excluded
    return counted > 0 ? Math.min(100, Math.floor((p.overprovisioningFactor * part) / counted)) : 0
  }
  const health = priorities.map((p) => share(p.healthy, p))
  const weakness = priorities.map((p) => share(p.degraded, p))
  const total = Math.min(100, sum(health) + sum(weakness))
  const panic = priorities.map((p) => total < 100 && belowThreshold(p, panicThreshold))
  if (total === 0) {
    // Nothing is available: the first priority takes everything, if panic allows it to be used at all.
    return {
      healthy: priorities.map((_, i) => (i === 0 ? 100 : 0)),
      degraded: priorities.map(() => 0),
      panic,
    }
  }
  const spread = { left: 100 }
  const healthy = distribute(health, total, spread)
  const degraded = distribute(weakness, total, spread)
  if (spread.left > 0) {
    const first = healthy.findIndex((load) => load > 0)
    if (first >= 0) healthy[first]! += spread.left
    else degraded[degraded.findIndex((load) => load > 0)]! += spread.left
  }
  return { healthy, degraded, panic }
}

function belowThreshold(p: PriorityHealth, panicThreshold: number): boolean {
  const usable = p.total - p.excluded > 0 ? (100 * (p.healthy + p.degraded)) / (p.total - p.excluded) : 0
  return usable < panicThreshold
}

function distribute(availability: readonly number[], total: number, spread: { left: number }): number[] {
  return availability.map((available) => {
    const load = Math.min(spread.left, Math.round((available * 100) / total))
    spread.left -= load
    return load
  })
}

function sum(values: readonly number[]): number {
  let total = 0
  for (const value of values) total += value
  return total
}
