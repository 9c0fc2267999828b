// The CDS answer of one proxy, in Istio's order: outbound, BlackHole, Passthrough, inbound, InboundPassthrough.
import { create } from '@bufbuild/protobuf'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { durationOf } from '../xds/messages.ts'
import { BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER } from '../xds/names.ts'
import { writeHttpOptions } from './http-options.ts'
import { inboundBindConfig, inboundClusters } from './inbound.ts'
import { buildOutboundCluster, metadataExchangeFilters, outboundSpecs } from './outbound.ts'
import { unlimitedCircuitBreakers } from './traffic-policy.ts'

/** Idle connections through the passthrough clusters end after this. */
const PASSTHROUGH_IDLE_MS = 300_000

/** Every cluster of a proxy. */
export function generateClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const clusters: Cluster[] = []
  for (const spec of outboundSpecs(proxy, push)) {
    const cluster = buildOutboundCluster(spec, proxy, push)
    if (cluster) clusters.push(cluster)
  }
  clusters.push(...fixedClusters(proxy, push))
  return clusters
}

/** What follows the outbound clusters: the fixed ones and, for sidecars, those of their own ports. */
export function fixedClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const clusters = [blackHole(push)]
  if (proxy.type !== 'sidecar') return clusters
  const passthrough = passthroughCluster(PASSTHROUGH_CLUSTER, push)
  passthrough.filters = metadataExchangeFilters(proxy)
  const inboundPassthrough = passthroughCluster(INBOUND_PASSTHROUGH_CLUSTER, push)
  inboundPassthrough.upstreamBindConfig = inboundBindConfig(proxy)
  clusters.push(passthrough, ...inboundClusters(proxy, push), inboundPassthrough)
  return clusters
}

function blackHole(push: PushContext): Cluster {
  return create(ClusterSchema, {
    name: BLACK_HOLE_CLUSTER,
    altStatName: `${BLACK_HOLE_CLUSTER};`,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    connectTimeout: durationOf(push.mesh.connectTimeout),
  })
}

function passthroughCluster(name: string, push: PushContext): Cluster {
  const cluster = create(ClusterSchema, {
    name,
    altStatName: `${PASSTHROUGH_CLUSTER};`,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    connectTimeout: durationOf(push.mesh.connectTimeout),
    circuitBreakers: unlimitedCircuitBreakers(),
  })
  writeHttpOptions(cluster, { protocol: 'downstream', idleTimeoutMs: PASSTHROUGH_IDLE_MS })
  return cluster
}
