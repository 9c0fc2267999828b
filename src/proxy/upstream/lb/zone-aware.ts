// Zone-aware routing: requests stay in this proxy's locality as far as the upstream's capacity there allows
// (envoy-contract §13.2). The shares are worked out once per host update, in ten-thousandths as in Envoy.

import { sameLocality } from '../host.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import { healthOf } from './choose-priority.ts'
import { type BalancerEnvironment, panicThreshold } from './load-balancer.ts'
import { belowThreshold } from './priority-load.ts'

/** What a request without a locality of its own gets: hosts of all of them, or none. */
export const ZoneChoice = { Any: 'any', None: 'none' } as const
export type ZoneChoice = (typeof ZoneChoice)[keyof typeof ZoneChoice]

const WHOLE = 10_000
const DEFAULTS = { routingEnabled: 100, minClusterSize: 6, failTrafficOnPanic: false }

function settings({ data: { localityLb } }: BalancerEnvironment): typeof DEFAULTS {
  return localityLb.kind === 'zone_aware' ? localityLb : DEFAULTS
}

export class ZoneRouting {
  private readonly environment: BalancerEnvironment
  private readonly localities: readonly LocalityHosts[]
  /** This proxy's; null = the upstream has no host there. */
  private readonly local: LocalityHosts | null
  /** Ten-thousandths that stay in `local`. */
  private readonly localShare: number
  /** Ends of the localities' ranges: what each has beyond its own callers. */
  private readonly residual: readonly number[]

  private constructor(
    environment: BalancerEnvironment,
    localities: readonly LocalityHosts[],
    local: LocalityHosts | null,
    localShare: number,
    residual: readonly number[],
  ) {
    this.environment = environment
    this.localities = localities
    this.local = local
    this.localShare = localShare
    this.residual = residual
  }

  /** null where zones do not count: no local cluster, too few hosts or localities. `set`: priority 0. */
  static create(set: HostSet, environment: BalancerEnvironment): ZoneRouting | null {
    const { localLocality, stats, runtime } = environment
    const callers = environment.localHosts()
    if (callers === null) return null
    stats.lbRecalculateZoneStructures.inc()
    const populated = (hosts: HostSet): LocalityHosts[] => hosts.localities.filter((entry) => entry.hosts.length > 0)
    const localities = populated(set)
    const callerLocalities = populated(callers)
    if (localities.length < 2 || callerLocalities.length < 2) return null
    const isLocal = (entry: LocalityHosts): boolean => sameLocality(entry.locality, localLocality)
    if (!callerLocalities.some(isLocal)) {
      stats.lbLocalClusterNotOk.inc()
      return null
    }
    const minimum = runtime.number('upstream.zone_routing.min_cluster_size', settings(environment).minClusterSize)
    if (set.healthy.length < minimum) {
      stats.lbZoneClusterTooSmall.inc()
      return null
    }
    const upstreamShare = ({ healthy }: LocalityHosts): number => share(healthy.length, set.healthy.length)
    const callerShare = ({ locality, healthy }: LocalityHosts): number => {
      const entry = callerLocalities.find((other) => sameLocality(other.locality, locality))
      return healthy.length === 0 ? 0 : share(entry?.healthy.length ?? 0, callers.healthy.length)
    }
    const local = localities.find(isLocal) ?? null
    return new ZoneRouting(
      environment,
      localities,
      local,
      local === null ? 0 : stays(upstreamShare(local), callerShare(local)),
      residualOf(localities, (entry) => (entry === local ? 0 : upstreamShare(entry) - callerShare(entry))),
    )
  }

  choose(): LocalityHosts | ZoneChoice {
    const { stats, runtime } = this.environment
    const { routingEnabled, failTrafficOnPanic } = settings(this.environment)
    const enabled = runtime.number('upstream.zone_routing.enabled', routingEnabled)
    if (enabled < 100 && Math.random() * 100 >= enabled) return ZoneChoice.Any
    if (this.callersPanic()) {
      stats.lbLocalClusterNotOk.inc()
      return failTrafficOnPanic ? ZoneChoice.None : ZoneChoice.Any
    }
    if (this.local !== null && this.localShare >= WHOLE) {
      stats.lbZoneRoutingAllDirectly.inc()
      return this.local
    }
    if (this.local !== null && Math.random() * WHOLE < this.localShare) {
      stats.lbZoneRoutingSampled.inc()
      return this.local
    }
    stats.lbZoneRoutingCrossZone.inc()
    const { localities, residual } = this
    const total = residual[residual.length - 1]!
    if (total === 0) {
      stats.lbZoneNoCapacityLeft.inc()
      return localities[Math.floor(Math.random() * localities.length)]!
    }
    const at = Math.random() * total
    return localities[residual.findIndex((end) => at < end)]!
  }

  /** Too few of this proxy's own kind are healthy for their zones to tell anything. */
  private callersPanic(): boolean {
    const callers = this.environment.localHosts()
    return callers === null || belowThreshold(healthOf(callers), panicThreshold(this.environment))
  }
}

function share(part: number, all: number): number {
  return all === 0 ? 0 : Math.floor((WHOLE * part) / all)
}

/** Everything, where the upstream's part is as large as the callers'. */
function stays(upstream: number, callers: number): number {
  if (upstream > 0 && upstream >= callers) return WHOLE
  return callers === 0 ? 0 : Math.floor((upstream * WHOLE) / callers)
}

function residualOf(localities: readonly LocalityHosts[], spare: (locality: LocalityHosts) => number): number[] {
  let end = 0
  return localities.map((locality) => (end += Math.max(0, spare(locality))))
}
