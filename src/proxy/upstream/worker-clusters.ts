// All clusters of a worker: added, replaced, removed, found by name.

import type { Logger } from '../../base/logger.ts'
import type { NodeInfo, ParsedExtension, RuntimeSnapshot } from '../config/extension.ts'
import type { SecretStore } from '../network/tls/secret-store.ts'
import type { UpstreamFilter } from '../network/upstream-filters.ts'
import type { Scope } from '../observe/stats.ts'
import type { Cluster } from './cluster.ts'
import type { ClusterManager, ThreadLocalCluster } from './cluster-manager.ts'
import type { ClusterStatus } from './cluster-status.ts'
import type { ClusterData, EndpointsData } from './config.ts'
import { createCluster } from './create-cluster.ts'

/** What clusters use of their worker. */
export interface ClusterContext {
  readonly stats: Scope
  readonly log: Logger
  readonly secrets: SecretStore
  readonly runtime: RuntimeSnapshot
  readonly node: NodeInfo
  readonly workerIndex: number
  /** Makes a network filter of cluster.filters. */
  createUpstreamFilter(parsed: ParsedExtension): UpstreamFilter
  /** cluster_manager.local_cluster_name: this proxy's own cluster, for zone-aware routing. */
  readonly localClusterName?: string
}

export class WorkerClusters implements ClusterManager {
  private readonly context: ClusterContext
  private readonly clusters = new Map<string, Cluster>()

  constructor(context: ClusterContext) {
    this.context = context
  }

  get(name: string): ThreadLocalCluster | undefined {
    return this.clusters.get(name)
  }

  /** The cluster itself, for what a worker's own parts need of it. */
  find(name: string): Cluster | undefined {
    return this.clusters.get(name)
  }

  /** Adds or replaces; `endpoints` are those of EDS. Requests under way on the old one finish there. */
  applyCluster(data: ClusterData, endpoints: EndpointsData | null): void {
    const old = this.clusters.get(data.name)
    const cluster = createCluster(data, this.context, this)
    const assignment = endpoints ?? data.endpoints
    if (assignment !== null) cluster.applyEndpoints(assignment)
    this.clusters.set(data.name, cluster)
    cluster.start()
    old?.drain()
  }

  removeCluster(name: string): void {
    const cluster = this.clusters.get(name)
    if (!cluster) return
    this.clusters.delete(name)
    cluster.drain()
  }

  applyEndpoints(name: string, endpoints: EndpointsData): void {
    this.clusters.get(name)?.applyEndpoints(endpoints)
  }

  /** Closes every connection at once. */
  close(): void {
    for (const cluster of this.clusters.values()) cluster.close()
    this.clusters.clear()
  }

  /** Plain data for the admin's /clusters. */
  status(): ClusterStatus[] {
    return [...this.clusters.values()].map((cluster) => cluster.status())
  }
}
