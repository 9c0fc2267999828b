// Encoded resources of each type for one proxy: generators behind the shared cache.
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { EncodedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { fixedClusters } from '../cds/generate.ts'
import { buildOutboundCluster, outboundSpecs } from '../cds/outbound.ts'
import { buildAssignment } from '../eds/endpoints.ts'
import { assignmentInputs } from '../eds/generate.ts'
import { generateListeners } from '../lds/index.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { generateRoutes } from '../rds/index.ts'
import { generateSecrets } from '../sds/generate.ts'
import { assignmentKey, clusterKey, proxyClass } from './cache-keys.ts'
import { EncodedCache, encodeResource } from './encoded-cache.ts'

/** The types this control plane translates, in push order. */
export const GENERATED_TYPES: readonly string[] = [CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE]

/** Encoded clusters and assignments kept: about 1 KiB each. */
const CACHE_CAPACITY = 60_000

/** Generates encoded resources; the caches are shared by all proxies and outlive push contexts. */
export class ResourceGenerator {
  readonly clusters = new EncodedCache<EncodedResource | null>(CACHE_CAPACITY)
  readonly assignments = new EncodedCache<EncodedResource>(CACHE_CAPACITY)
  /** Outbound clusters of all proxies of one scope and class, for the push context at hand. */
  private outbound = new Map<string, readonly EncodedResource[]>()
  private outboundFor: PushContext | null = null

  /** Resources of a type; `names` null means all. Names without a resource are not in the answer. */
  generate(typeUrl: string, proxy: ProxyNode, push: PushContext, names: Iterable<string> | null): EncodedResource[] {
    switch (typeUrl) {
      case CDS_TYPE:
        return this.generateClusters(proxy, push)
      case EDS_TYPE:
        return names === null ? [] : this.generateAssignments(proxy, push, names)
      case LDS_TYPE:
        return generateListeners(proxy, push).map((m) => encodeResource(ListenerSchema, m.name, m))
      case RDS_TYPE:
        return names === null
          ? []
          : generateRoutes(proxy, push, new Set(names)).map((m) => encodeResource(RouteConfigurationSchema, m.name, m))
      case SDS_TYPE:
        return names === null
          ? []
          : generateSecrets(proxy, push, names).map((m) => encodeResource(SecretSchema, m.name, m))
      default:
        return []
    }
  }

  private generateClusters(proxy: ProxyNode, push: PushContext): EncodedResource[] {
    const own = fixedClusters(proxy, push).map((c) => encodeResource(ClusterSchema, c.name, c))
    return [...this.outboundClusters(proxy, push), ...own]
  }

  private outboundClusters(proxy: ProxyNode, push: PushContext): readonly EncodedResource[] {
    if (this.outboundFor !== push) {
      this.outbound = new Map()
      this.outboundFor = push
    }
    const scope = push.sidecarScope(proxy)
    const className = proxyClass(proxy)
    const labels = scope.selectingRules ? JSON.stringify(Object.entries(proxy.labels).sort()) : ''
    const { region, zone, subzone } = proxy.locality
    const key = `${scope.key}|${className}|${region}/${zone}/${subzone}|${proxy.nodeName}|${labels}`
    let list = this.outbound.get(key)
    if (!list) {
      const built: EncodedResource[] = []
      for (const spec of outboundSpecs(proxy, push)) {
        const resource = this.clusters.get(clusterKey(spec, proxy, push, className), () => {
          const cluster = buildOutboundCluster(spec, proxy, push)
          return cluster && encodeResource(ClusterSchema, cluster.name, cluster)
        })
        if (resource) built.push(resource)
      }
      this.outbound.set(key, (list = built))
    }
    return list
  }

  private generateAssignments(proxy: ProxyNode, push: PushContext, names: Iterable<string>): EncodedResource[] {
    const out: EncodedResource[] = []
    for (const name of names) {
      const inputs = assignmentInputs(name, proxy, push)
      // A cluster that is not there (any more): an empty assignment, so that nobody waits for it.
      const key = inputs ? assignmentKey(inputs) : name
      out.push(
        this.assignments.get(key, () =>
          encodeResource(ClusterLoadAssignmentSchema, name, inputs ? buildAssignment(inputs) : EMPTY_ASSIGNMENT(name)),
        ),
      )
    }
    return out
  }
}

const EMPTY_ASSIGNMENT = (clusterName: string) => ({
  $typeName: 'envoy.config.endpoint.v3.ClusterLoadAssignment' as const,
  clusterName,
  endpoints: [],
  namedEndpoints: {},
})
