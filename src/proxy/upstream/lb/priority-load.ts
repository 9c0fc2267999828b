// How load spreads over priorities by their health (envoy-contract §13.1). Pure: plain counts in, percentages out. Whole
// numbers throughout, as in Envoy: what rounding leaves goes to the first priority that can take it.

export interface PriorityHealth {
  /** All hosts, those that do not count included. */
  readonly hosts: number
  /** Hosts that do not count (immediate health-check fail, not checked yet). */
  readonly excluded: number
  readonly healthy: number
  readonly degraded: number
  /** Weights of the hosts that count, where they decide (weighted_priority_health); null = each host is one. */
  readonly weights: { readonly total: number; readonly healthy: number; readonly degraded: number } | null
  /** Percent, 140 by default. */
  readonly overprovisioningFactor: number
}

export interface PriorityLoads {
  /** Percent of requests for each priority's healthy hosts; with `degraded` they add up to 100. */
  readonly healthy: readonly number[]
  readonly degraded: readonly number[]
  /** Priorities whose hosts are all used whatever their health. */
  readonly panic: readonly boolean[]
}

/** Percent of a full load that each priority's healthy and degraded hosts can take. */
export interface Availability {
  readonly healthy: readonly number[]
  readonly degraded: readonly number[]
}

export function availabilityOf(priorities: readonly PriorityHealth[]): Availability {
  return {
    healthy: priorities.map((p) => share(p.weights?.healthy ?? p.healthy, p)),
    degraded: priorities.map((p) => share(p.weights?.degraded ?? p.degraded, p)),
  }
}

function share(part: number, p: PriorityHealth): number {
  const counted = p.weights?.total ?? p.hosts - p.excluded
  return counted > 0 ? Math.min(100, Math.floor((p.overprovisioningFactor * part) / counted)) : 0
}

/** All availability there is, 100 at most. */
export function totalAvailability({ healthy, degraded }: Availability): number {
  return Math.min(100, sum(healthy) + sum(degraded))
}

/** `panicThreshold` in percent; 0 turns panic off, then nothing healthy means no host. */
export function priorityLoads(priorities: readonly PriorityHealth[], panicThreshold: number): PriorityLoads {
  const available = availabilityOf(priorities)
  const total = totalAvailability(available)
  const panic = priorities.map((p) => total < 100 && belowThreshold(p, panicThreshold))
  const hosts = priorities.reduce((count, p) => count + p.hosts, 0)
  if (panic.every(Boolean) && hosts > 0) return { ...loadsByHosts(priorities, hosts), panic }
  // Nothing can be had of any priority: the first gets the requests, and has no host for them.
  if (total === 0) return { healthy: priorities.map((_, i) => (i === 0 ? 100 : 0)), degraded: none(priorities), panic }
  return { ...distribute(available, total), panic }
}

/** Everybody panics: what counts is where hosts are, not how they are. */
function loadsByHosts(priorities: readonly PriorityHealth[], all: number): Omit<PriorityLoads, 'panic'> {
  const healthy = priorities.map((p) => Math.floor((100 * p.hosts) / all))
  healthy[priorities.findIndex((p) => p.hosts > 0)]! += 100 - sum(healthy)
  return { healthy, degraded: none(priorities) }
}

/** Healthy hosts first, priority by priority, then degraded ones. `total` > 0. */
function distribute(available: Availability, total: number): Omit<PriorityLoads, 'panic'> {
  let left = 100
  const take = (availability: readonly number[]): number[] =>
    availability.map((part) => {
      const load = Math.min(left, Math.floor((part * 100) / total))
      left -= load
      return load
    })
  const healthy = take(available.healthy)
  const degraded = take(available.degraded)
  const first = available.healthy.findIndex((part) => part > 0)
  if (first >= 0) healthy[first]! += left
  else degraded[available.degraded.findIndex((part) => part > 0)]! += left
  return { healthy, degraded }
}

/** Whether too few of a priority's hosts can be used; counts hosts, whatever their weights. */
export function belowThreshold(
  { hosts, excluded, healthy, degraded }: Pick<PriorityHealth, 'hosts' | 'excluded' | 'healthy' | 'degraded'>,
  panicThreshold: number,
): boolean {
  const counted = hosts - excluded
  return (counted === 0 ? 0 : (100 * (healthy + degraded)) / counted) < panicThreshold
}

function none(priorities: readonly PriorityHealth[]): number[] {
  return priorities.map(() => 0)
}

function sum(values: readonly number[]): number {
  let total = 0
  for (const value of values) total += value
  return total
}
