// envoy.clusters.aggregate: clusters in order, each taking what the ones before it cannot. Their priorities are lined up
// as if they were one cluster's; requests then use the chosen cluster's own balancer, pools and stats.

import type { Protocol } from '../http/codec.ts'
import { Cluster } from './cluster.ts'
import type { HttpConnPool, LoadBalancerContext, TcpConnPool } from './cluster-manager.ts'
import type { ClusterData } from './config.ts'
import { choosePriority, loadsOf } from './lb/choose-priority.ts'
import type { HostSet } from './priority-set.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

export class AggregateCluster extends Cluster {
  private readonly clusters: WorkerClusters

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    super(data, context, clusters)
    this.clusters = clusters
    this.setEndpoints([])
  }

  override httpPool(
    priority: 'DEFAULT' | 'HIGH',
    downstream: Protocol | '',
    context: LoadBalancerContext,
  ): HttpConnPool | null {
    return this.chooseCluster()?.httpPool(priority, downstream, context) ?? null
  }

  override tcpPool(priority: 'DEFAULT' | 'HIGH', context: LoadBalancerContext): TcpConnPool | null {
    return this.chooseCluster()?.tcpPool(priority, context) ?? null
  }

  private chooseCluster(): Cluster | null {
    const sets: HostSet[] = []
    const owners: Cluster[] = []
    for (const name of this.data.aggregateClusters) {
      const cluster = this.clusters.find(name)
      if (!cluster) continue
      for (const set of cluster.hosts.sets) {
        sets.push(set)
        owners.push(cluster)
      }
    }
    if (sets.length === 0) return null
    const loads = loadsOf(sets, this.data.healthyPanicThreshold)
    const chosen = choosePriority(loads, Math.random() * 100)
    return owners[chosen < 0 ? -1 - chosen : chosen]!
  }
}
