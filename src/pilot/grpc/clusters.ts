// Clusters of proxyless gRPC clients.
import { create } from '@bufbuild/protobuf'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { LoadBalancer } from '../../config/index.ts'
import { acceptedNames } from '../cds/outbound.ts'
import { clusterPolicy } from '../cds/policy.ts'
import { applyHash } from '../cds/traffic-policy.ts'
import { assignmentInputs } from '../eds/generate.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { SNI_PREFIX } from '../xds/names.ts'
import { ADS } from './client-listeners.ts'
import { clientTls } from './tls.ts'

/**
 * Clusters by name. gRPC finds endpoints by EDS, whatever the service's resolution, and knows few settings: round robin,
 * least request and hashing, a limit of requests, mutual TLS where a DestinationRule asks for it. What the mesh says of
 * all clusters is not for it.
 */
export function generateGrpcClusters(proxy: ProxyNode, push: PushContext, names: Iterable<string>): Cluster[] {
  const out: Cluster[] = []
  for (const name of names) {
    const inputs = name.startsWith(SNI_PREFIX) ? null : assignmentInputs(name, proxy, push)
    if (!inputs?.service.ports.some(({ port }) => port === inputs.port)) continue
    const { service, subset, rule, port } = inputs
    const policy = clusterPolicy(rule, subset, port, null)
    const maxRequests = policy.connectionPool?.http?.http2MaxRequests
    const cluster = create(ClusterSchema, {
      name,
      altStatName: `${name};`,
      clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: { serviceName: name, edsConfig: ADS },
      circuitBreakers: maxRequests ? { thresholds: [{ maxRequests }] } : undefined,
      transportSocket: policy.tls?.mode === 'ISTIO_MUTUAL' ? clientTls(acceptedNames(service, push)) : undefined,
    })
    if (policy.loadBalancer) balance(cluster, policy.loadBalancer)
    out.push(cluster)
  }
  return out
}

/** What gRPC does not know stays round robin. */
function balance(cluster: Cluster, settings: LoadBalancer): void {
  if (settings.consistentHash) applyHash(cluster, settings)
  else if (settings.simple === 'LEAST_REQUEST') cluster.lbPolicy = Cluster_LbPolicy.LEAST_REQUEST
}
