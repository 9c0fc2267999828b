// Zone-aware routing: requests stay in this proxy's zone as far as the upstream's capacity there allows
// (envoy-contract §13.2). The shares are worked out once per host update.

import type { LocalityLbData } from '../config.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { BalancerEnvironment } from './load-balancer.ts'

type ZoneAware = Extract<LocalityLbData, { kind: 'zone_aware' }>

export class ZoneRouting {
  private readonly local: LocalityHosts
  private readonly others: readonly LocalityHosts[]
  /** Share of requests that stays, 0 to 1. */
  private readonly localShare: number
  /** Ends of the other zones' ranges, up to their sum; what the zones have beyond their own callers. */
  private readonly residual: readonly number[]
  private readonly environment: BalancerEnvironment
  private readonly data: ZoneAware

  /** Too few of this proxy's own kind are healthy for their zones to tell anything. */
  private readonly localPanic: boolean

  private constructor(
    local: LocalityHosts,
    others: readonly LocalityHosts[],
    localShare: number,
    residual: readonly number[],
    environment: BalancerEnvironment,
    data: ZoneAware,
    localPanic: boolean,
  ) {
    this.local = local
    this.others = others
    this.localShare = localShare
    this.residual = residual
    this.environment = environment
    this.data = data
    this.localPanic = localPanic
  }

  /** null where zones do not count: no local cluster, too few hosts, zones that differ on the two sides. */
  static create(set: HostSet, environment: BalancerEnvironment, data: ZoneAware): ZoneRouting | null {
    const { localCluster, localZone, stats, runtime } = environment
    const callers = localCluster?.sets[0]
    if (!callers || localZone === '' || data.routingEnabled === 0) return null
    const minimum = runtime.number('upstream.zone_routing.min_cluster_size', data.minClusterSize)
    if (set.healthy.length < minimum) {
      stats.lbZoneClusterTooSmall.inc()
      return null
    }
    const zones = set.localities.filter((locality) => locality.healthy.length > 0)
    const local = zones.find((locality) => locality.locality.zone === localZone)
    if (
      !local ||
      zones.length < 2 ||
      callers.localities.length !== set.localities.length ||
      callers.healthy.length === 0
    ) {
      return null
    }
    stats.lbRecalculateZoneStructures.inc()
    const shareOf = (part: number, all: number): number => (all === 0 ? 0 : part / all)
    const callerShare = (zone: string): number => {
      const entry = callers.localities.find((locality) => locality.locality.zone === zone)
      return shareOf(entry?.healthy.length ?? 0, callers.healthy.length)
    }
    const upstreamShare = (locality: LocalityHosts): number => shareOf(locality.healthy.length, set.healthy.length)
    const ownCallers = callerShare(localZone)
    const localShare = ownCallers === 0 ? 1 : Math.min(1, upstreamShare(local) / ownCallers)
    const others = zones.filter((locality) => locality !== local)
    let end = 0
    const residual = others.map((locality) => {
      end += Math.max(0, upstreamShare(locality) - callerShare(locality.locality.zone))
      return end
    })
    const callerCount = callers.hosts.length - callers.excludedCount
    const panic = callers.healthy.length < (callerCount * environment.data.healthyPanicThreshold) / 100
    return new ZoneRouting(local, others, localShare, residual, environment, data, panic)
  }

  /** null: this request is to be spread over all zones alike. */
  choose(): LocalityHosts | null {
    const { stats, runtime } = this.environment
    const enabled = runtime.number('upstream.zone_routing.enabled', this.data.routingEnabled)
    if (enabled < 100 && Math.random() * 100 >= enabled) return null
    if (this.localPanic) {
      stats.lbLocalClusterNotOk.inc()
      return null
    }
    if (this.localShare >= 1) {
      stats.lbZoneRoutingAllDirectly.inc()
      return this.local
    }
    if (Math.random() < this.localShare) {
      stats.lbZoneRoutingSampled.inc()
      return this.local
    }
    stats.lbZoneRoutingCrossZone.inc()
    const total = this.residual[this.residual.length - 1]!
    if (total === 0) {
      stats.lbZoneNoCapacityLeft.inc()
      return this.others[Math.floor(Math.random() * this.others.length)]!
    }
    const at = Math.random() * total
    const index = this.residual.findIndex((end) => at < end)
    return this.others[index < 0 ? this.others.length - 1 : index]!
  }
}
