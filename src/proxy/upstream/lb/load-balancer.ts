// What chooses the host of a request, and which kind of it a cluster has (envoy-contract §13).

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { LoadBalancerContext } from '../cluster-manager.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import type { ClusterData } from '../config.ts'
import type { Host, Locality } from '../host.ts'
import type { HostSet, PrioritySet } from '../priority-set.ts'
import { loadsOf } from './choose-priority.ts'
import type { PriorityLoads } from './priority-load.ts'

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
  /** Priority 0 of the local cluster (where this proxy is one), for zone-aware routing; null = there is none. */
  localHosts(): HostSet | null
  /** Where this proxy is. */
  readonly localLocality: Locality
}

/** Percent below which a priority's healthy hosts are too few. */
export function panicThreshold({ runtime, data }: BalancerEnvironment): number {
  return Math.min(100, runtime.number('upstream.healthy_panic_threshold', data.healthyPanicThreshold))
}

/** The loads of a cluster's priorities, worked out again when hosts or the panic threshold change. */
export class CurrentLoads {
  private readonly hosts: PrioritySet
  private readonly environment: BalancerEnvironment
  private loads: PriorityLoads | null = null
  private threshold = -1

  constructor(hosts: PrioritySet, environment: BalancerEnvironment) {
    this.hosts = hosts
    this.environment = environment
    hosts.onUpdate(() => {
      this.loads = null
    })
  }

  get(): PriorityLoads {
    const threshold = panicThreshold(this.environment)
    if (this.loads === null || threshold !== this.threshold) {
      this.loads = loadsOf(this.hosts.sets, threshold)
      this.threshold = threshold
    }
    return this.loads
  }
}

/** Looks for a host until one is found that the request does not pass over, or as often as it may; then the last one does. */
export function chooseAcceptable(
  context: LoadBalancerContext,
  look: (context: LoadBalancerContext) => Host | null,
): Host | null {
  context.attempt = 0
  let host = look(context)
  if (context.shouldSelectAnotherHost === null) return host
  for (let i = 0; i < context.hostSelectionRetryCount && host !== null; i++) {
    if (!context.shouldSelectAnotherHost(host)) return host
    context.attempt = i + 1
    host = look(context)
  }
  return host
}
