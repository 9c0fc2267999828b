// /clusters: every worker has its own hosts and counts; the page shows one of each.

import { type ClusterStatusData, HEALTH_FLAGS, type HostCounts, type HostStatusData } from '../admin/source.ts'
import type { EndpointCounts } from '../observe/endpoint-stats.ts'
import type { ClusterStatus, HostStatus } from '../upstream/cluster-status.ts'
import { Health, healthOf } from '../upstream/host.ts'
import type { ServerContext } from './start-proxy.ts'

type Source = Pick<ServerContext, 'workers' | 'clusters'>

/** What only the main thread knows of a cluster. */
export interface ClusterFacts {
  readonly addedViaApi: boolean
  readonly outlierDetection: boolean
  /** eds_cluster_config.service_name; '' = there is none. */
  readonly edsServiceName: string
}

/** As all workers have them. */
export async function clusterStatusOf({ workers, clusters }: Source): Promise<ClusterStatusData[]> {
  return mergeClusterStatus(await workers.query('clusters'), (name) => clusters.facts(name))
}

/** Hosts of the clusters with per_endpoint_stats. */
export async function endpointCountsOf(source: Source): Promise<EndpointCounts[]> {
  if (!source.clusters.activeData().some(({ trackedStats }) => trackedStats.endpoints)) return []
  return endpointCounts(await clusterStatusOf(source))
}

function endpointCounts(clusters: readonly ClusterStatusData[]): EndpointCounts[] {
  return clusters
    .filter((cluster) => cluster.endpointStats)
    .flatMap(({ observabilityName, hosts }) =>
      hosts.map((host) => ({
        cluster: observabilityName,
        endpoint: host.observabilityName || host.address.text,
        hostname: host.hostname,
        healthy: host.healthy,
        counts: host.counts,
      })),
    )
}

/** Counts are summed over workers; health and weights are the first worker's. */
function mergeClusterStatus(
  workers: readonly (readonly ClusterStatus[])[],
  facts: (name: string) => ClusterFacts,
): ClusterStatusData[] {
  const [first = [], ...others] = workers
  return first.map((cluster) => {
    const { addedViaApi, outlierDetection, edsServiceName } = facts(cluster.name)
    const twins = others.map((worker) => worker.find((other) => other.name === cluster.name))
    return {
      name: cluster.name,
      observabilityName: cluster.observabilityName,
      endpointStats: cluster.endpointStats,
      addedViaApi,
      edsServiceName,
      thresholds: cluster.thresholds,
      outlier: outlierDetection ? cluster : null,
      overprovisioningFactor: cluster.overprovisioningFactor,
      resolved: cluster.resolved,
      hosts: cluster.hosts.map((host) => {
        const same = twins.map((twin) => twin?.hosts.find((h) => h.key === host.key))
        return hostStatus(host, [host, ...same])
      }),
    }
  })
}

function hostStatus(host: HostStatus, everywhere: readonly (HostStatus | undefined)[]): HostStatusData {
  const sum = (name: keyof HostStatus['stats']): number =>
    everywhere.reduce((total, one) => total + (one?.stats[name] ?? 0), 0)
  const counts: HostCounts = {
    cx_active: sum('cxActive'),
    cx_connect_fail: sum('cxConnectFail'),
    cx_total: sum('cxTotal'),
    rq_active: sum('rqActive'),
    rq_error: sum('rqError'),
    rq_pending_active: 0,
    rq_success: sum('rqSuccess'),
    rq_timeout: sum('rqTimeout'),
    rq_total: sum('rqTotal'),
  }
  // HEALTH_FLAGS stands in the order of HealthFlag's bits.
  const healthy = healthOf(host.flags) === Health.Healthy
  return { ...host, counts, healthy, healthFlags: HEALTH_FLAGS.filter((_, bit) => (host.flags & (1 << bit)) !== 0) }
}
