// The implementation of each cluster type.

import { AggregateCluster } from './aggregate-cluster.ts'
import { Cluster } from './cluster.ts'
import type { ClusterData } from './config.ts'
import { DnsCluster } from './dns-cluster.ts'
import { DynamicForwardProxyCluster } from './dynamic-forward-proxy/cluster.ts'
import { SubClustersCluster } from './dynamic-forward-proxy/sub-clusters.ts'
import { OriginalDstCluster } from './original-dst-cluster.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

export function createCluster(data: ClusterData, context: ClusterContext, clusters: WorkerClusters): Cluster {
  switch (data.type) {
    case 'ORIGINAL_DST':
      return new OriginalDstCluster(data, context, clusters)
    case 'STRICT_DNS':
    case 'LOGICAL_DNS':
      return new DnsCluster(data, context, clusters)
    case 'AGGREGATE':
      return new AggregateCluster(data, context, clusters)
    case 'DYNAMIC_FORWARD_PROXY':
      return data.dynamicForwardProxy?.kind === 'dns_cache'
        ? // The cache first: it may be refused, and then nothing has been begun.
          new DynamicForwardProxyCluster(data, context, clusters, clusters.dnsCache(data.dynamicForwardProxy.dnsCache))
        : new SubClustersCluster(data, context, clusters)
    default:
      return new Cluster(data, context, clusters)
  }
}
