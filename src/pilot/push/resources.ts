// Encoded resources of each type for one proxy: generators behind the shared cache.
import { create } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { NameTableSchema } from '../../api/gen/istio/nds_pb.js'
import { errorText } from '../../base/errors.ts'
import type { EncodedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import { fixedClusters, patchedOutboundCluster } from '../cds/generate.ts'
import { outboundSpecs } from '../cds/outbound.ts'
import { buildAssignment } from '../eds/endpoints.ts'
import { assignmentInputs } from '../eds/generate.ts'
import { generateExtensionConfigs } from '../envoy-filter/extensions.ts'
import { patchesFor } from '../envoy-filter/select.ts'
import { generateGrpcClusters } from '../grpc/clusters.ts'
import { generateGrpcListeners } from '../grpc/generate.ts'
import { generateGrpcRoutes } from '../grpc/routes.ts'
import { generateInboundListeners, generateListeners, generateOutboundListeners } from '../lds/index.ts'
import { versionOf } from '../model/identity.ts'
import { Memo } from '../model/memo.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { type Remark, RemarkLog } from '../model/remarks.ts'
import { generateNameTable, NDS_TYPE } from '../nds/generate.ts'
import { generateRoutes } from '../rds/index.ts'
import { generateSecrets } from '../sds/generate.ts'
import {
  assignmentKey,
  clusterKey,
  outboundListenersKey,
  ownInputs,
  placeOf,
  proxyClass,
  routeKey,
} from './cache-keys.ts'
import { allClusters, type ClusterState } from './cluster-state.ts'
import { EncodedCache, encodeResource, encodeRouteConfiguration } from './encoded-cache.ts'

/** Name tables have no name of their own: one stands for all. */
const NAME_TABLE = 'nds'

/** The types this control plane translates, in push order. */
export const GENERATED_TYPES: readonly string[] = [
  CDS_TYPE,
  EDS_TYPE,
  LDS_TYPE,
  RDS_TYPE,
  SDS_TYPE,
  ECDS_TYPE,
  NDS_TYPE,
]

/** Encoded clusters and assignments kept: about 1 KiB each. */
const CACHE_CAPACITY = 60_000
/** Sets of outbound listeners kept: one for each kind of proxy and scope. */
const LISTENER_CACHE_CAPACITY = 256
/** Route configurations kept: up to a megabyte each in a large mesh. */
const ROUTE_CACHE_CAPACITY = 64

export interface GeneratorOptions {
  /** An outbound cluster whose generation throws is left out: see {@link ResourceGenerator.faults}. Default: it throws. */
  readonly isolate?: boolean
}

/** Generates encoded resources; the caches are shared by all proxies and outlive push contexts. */
export class ResourceGenerator {
  readonly clusters = new EncodedCache<EncodedResource | null>(CACHE_CAPACITY)
  readonly assignments = new EncodedCache<EncodedResource>(CACHE_CAPACITY)
  readonly listeners = new EncodedCache<readonly EncodedResource[]>(LISTENER_CACHE_CAPACITY)
  readonly routes = new EncodedCache<EncodedResource>(ROUTE_CACHE_CAPACITY)
  /** What a sidecar has for itself. */
  private readonly own = new Memo<ProxyNode, readonly EncodedResource[]>()
  /** Outbound clusters of all proxies of one scope and class, for the push context at hand. */
  private outbound = new Map<string, readonly EncodedResource[]>()
  /** By outbound clusters. */
  private readonly faultsIn = new WeakMap<readonly EncodedResource[], ReadonlyMap<string, string>>()
  private readonly isolate: boolean
  /** Assignments by name, for all proxies of one scope and place. */
  private placed = new Map<string, Map<string, EncodedResource>>()
  private memoFor: PushContext | null = null
  /** What proxies were not given because something else was there; a proxy that left is to be forgotten. */
  readonly remarks = new RemarkLog()
  /** By what was generated. */
  private readonly said = new WeakMap<object, readonly Remark[]>()

  constructor({ isolate = false }: GeneratorOptions = {}) {
    this.isolate = isolate
  }

  /**
   * Resources of a type; `names` null means all. Names without a resource are not in the answer. `withSecrets`: the proxy
   * proved who it is, so that extensions may carry the pull secrets of its namespace.
   */
  generate(
    typeUrl: string,
    proxy: ProxyNode,
    push: PushContext,
    names: Iterable<string> | null,
    withSecrets = false,
  ): EncodedResource[] {
    if (proxy.generator === 'grpc' && typeUrl !== EDS_TYPE) return this.generateGrpc(typeUrl, proxy, push, names ?? [])
    switch (typeUrl) {
      case CDS_TYPE:
        return allClusters(this.clusterState(proxy, push))
      case EDS_TYPE:
        return names === null ? [] : this.generateAssignments(proxy, push, names)
      case LDS_TYPE:
        return this.generateListeners(proxy, push)
      case RDS_TYPE:
        return names === null ? [] : this.generateRouteConfigurations(proxy, push, names)
      case ECDS_TYPE:
        return names === null
          ? []
          : generateExtensionConfigs(proxy, push, names, withSecrets).map((m) =>
              encodeResource(TypedExtensionConfigSchema, m.name, m),
            )
      case NDS_TYPE:
        return [encodeResource(NameTableSchema, NAME_TABLE, generateNameTable(proxy, push))]
      case SDS_TYPE:
        return names === null
          ? []
          : generateSecrets(proxy, push, names).map((m) => encodeResource(SecretSchema, m.name, m))
      default:
        return []
    }
  }

  /** Proxyless clients ask for everything by name. */
  private generateGrpc(
    typeUrl: string,
    proxy: ProxyNode,
    push: PushContext,
    names: Iterable<string>,
  ): EncodedResource[] {
    switch (typeUrl) {
      case CDS_TYPE:
        return generateGrpcClusters(proxy, push, names).map((m) => encodeResource(ClusterSchema, m.name, m))
      case LDS_TYPE:
        return generateGrpcListeners(proxy, push, names).map((m) => encodeResource(ListenerSchema, m.name, m))
      case RDS_TYPE:
        return generateGrpcRoutes(proxy, push, names).map((m) => encodeResource(RouteConfigurationSchema, m.name, m))
      default:
        return []
    }
  }

  /** All clusters of a proxy, in the two parts that change for different reasons. */
  clusterState(proxy: ProxyNode, push: PushContext): ClusterState {
    const make = () => fixedClusters(proxy, push).map((c) => encodeResource(ClusterSchema, c.name, c))
    return {
      outbound: this.outboundClusters(proxy, push),
      own: proxy.type === 'sidecar' ? this.own.get(proxy, CDS_TYPE, ownInputs(proxy, push), make) : make(),
    }
  }

  /** The outbound clusters that are missing because their generation threw, with the reason. */
  faults({ outbound }: ClusterState): ReadonlyMap<string, string> {
    return this.faultsIn.get(outbound) ?? NO_FAULTS
  }

  private generateListeners(proxy: ProxyNode, push: PushContext): EncodedResource[] {
    const encode = (m: Listener) => encodeResource(ListenerSchema, m.name, m)
    if (proxy.type !== 'sidecar') return generateListeners(proxy, push).map(encode)
    const outbound = this.listeners.get(outboundListenersKey(proxy, push), () =>
      this.saying((remarks) => generateOutboundListeners(proxy, push, remarks).map(encode)),
    )
    const inbound = this.own.get(proxy, LDS_TYPE, ownInputs(proxy, push), () =>
      this.saying((remarks) => generateInboundListeners(proxy, push, remarks).map(encode)),
    )
    this.remarks.set(proxy.id, 'listeners', [...this.about(outbound), ...this.about(inbound)])
    return [...outbound, ...inbound]
  }

  private outboundClusters(proxy: ProxyNode, push: PushContext): readonly EncodedResource[] {
    this.begin(push)
    const scope = push.sidecarScope(proxy)
    const className = proxyClass(proxy)
    const key = `${scope.key}|${className}|${placeOf(proxy)}|${versionOf(patchesFor(proxy, push))}`
    let list = this.outbound.get(key)
    if (!list) {
      const built: EncodedResource[] = []
      const names = new Set<string>()
      const twice: Remark[] = []
      const faults = new Map<string, string>()
      for (const spec of outboundSpecs(proxy, push)) {
        let resource: EncodedResource | null
        try {
          resource = this.clusters.get(clusterKey(spec, proxy, push, className), () => {
            const cluster = patchedOutboundCluster(spec, proxy, push)
            return cluster && encodeResource(ClusterSchema, cluster.name, cluster)
          })
        } catch (error) {
          if (!this.isolate) throw error
          faults.set(spec.name, errorText(error))
          continue
        }
        if (!resource) continue
        if (names.has(resource.name)) {
          // Envoy refuses every cluster of a push that names one twice.
          const message = `duplicate cluster ${resource.name}`
          twice.push({ metric: 'pilot_duplicate_envoy_clusters', key: resource.name, message })
          continue
        }
        names.add(resource.name)
        built.push(resource)
      }
      if (twice.length > 0) this.said.set(built, twice)
      if (faults.size > 0) this.faultsIn.set(built, faults)
      this.outbound.set(key, (list = built))
    }
    this.remarks.set(proxy.id, 'clusters', this.about(list))
    return list
  }

  private generateAssignments(proxy: ProxyNode, push: PushContext, names: Iterable<string>): EncodedResource[] {
    this.begin(push)
    const place = `${push.sidecarScope(proxy).key}|${placeOf(proxy)}`
    let known = this.placed.get(place)
    if (!known) this.placed.set(place, (known = new Map()))
    const out: EncodedResource[] = []
    for (const name of names) {
      let resource = known.get(name)
      if (!resource) known.set(name, (resource = this.assignment(name, proxy, push)))
      out.push(resource)
    }
    return out
  }

  private assignment(name: string, proxy: ProxyNode, push: PushContext): EncodedResource {
    const inputs = assignmentInputs(name, proxy, push)
    // A cluster that is not there (any more): an empty assignment, so that nobody waits for it.
    return this.assignments.get(inputs ? assignmentKey(inputs) : name, () =>
      encodeResource(ClusterLoadAssignmentSchema, name, inputs ? buildAssignment(inputs) : emptyAssignment(name)),
    )
  }

  private generateRouteConfigurations(proxy: ProxyNode, push: PushContext, names: Iterable<string>): EncodedResource[] {
    const out: EncodedResource[] = []
    for (const name of names) {
      const key = routeKey(name, proxy, push)
      const make = () =>
        this.saying((remarks) => {
          const [config] = generateRoutes(proxy, push, [name], remarks)
          return encodeRouteConfiguration(config!)
        })
      const resource = key === null ? make() : this.routes.get(key, make)
      this.remarks.set(proxy.id, `route ${name}`, this.about(resource))
      out.push(resource)
    }
    return out
  }

  /** Generates something and remembers what was said of it. */
  private saying<T extends object>(generate: (remarks: Remark[]) => T): T {
    const remarks: Remark[] = []
    const made = generate(remarks)
    if (remarks.length > 0) this.said.set(made, remarks)
    return made
  }

  private about(made: object): readonly Remark[] {
    return this.said.get(made) ?? NOTHING_SAID
  }

  /** What is remembered for one push context only is forgotten with it. */
  private begin(push: PushContext): void {
    if (this.memoFor === push) return
    this.memoFor = push
    this.outbound = new Map()
    this.placed = new Map()
  }
}

const NO_FAULTS: ReadonlyMap<string, string> = new Map()
const NOTHING_SAID: readonly Remark[] = []

function emptyAssignment(clusterName: string) {
  return create(ClusterLoadAssignmentSchema, { clusterName })
}
