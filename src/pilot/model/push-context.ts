// The push context: one immutable snapshot of everything that generators read.
import type { KubeObject } from '../../cluster/index.ts'
import type {
  AuthorizationPolicy,
  EnvoyFilter,
  Gateway,
  MeshConfig,
  MeshNetworks,
  RequestAuthentication,
  ServiceEntry,
  Sidecar,
  Telemetry,
} from '../../config/index.ts'
import type { Extension } from '../extensions/extension.ts'
import type { DestinationRuleIndex } from './destination-rules.ts'
import type { NetworkGateways } from './network-gateways.ts'
import type { ServiceInstance } from './node.ts'
import type { PeerAuthenticationIndex } from './peer-authentication.ts'
import type { Endpoint, EndpointSet, Workload } from './service.ts'
import type { ServiceIndex } from './service-index.ts'
import type { SidecarScope } from './sidecar-scope.ts'
import type { VirtualServiceIndex } from './virtual-service.ts'

/**
 * A snapshot. Nothing in it changes after it was built; the next one shares every part that did not change,
 * so `===` on a part tells whether it did.
 * Resource lists are in Istio's precedence (oldest first); host names in VirtualServices are already full names,
 * gateway names already `namespace/name`, and delegates are merged in.
 */
export interface PushContext {
  /** `<RFC 3339 time>/<counter>`: the version of every response made from it. */
  readonly version: string
  readonly mesh: MeshConfig
  /** Cluster domain, `cluster.local`. */
  readonly domain: string
  readonly clusterId: string
  readonly services: ServiceIndex
  readonly meshNetworks: MeshNetworks
  /** Gateways between networks; null in a mesh of one network. */
  readonly networks: NetworkGateways | null
  /** By {@link serviceKey}; several registries may add to one service. */
  readonly endpoints: ReadonlyMap<string, EndpointSet>
  readonly workloads: WorkloadIndex
  /** Secrets and ConfigMaps that credentials may name: `Kind/namespace/name`. */
  readonly credentials: ReadonlyMap<string, KubeObject>
  /**
   * `namespace|name`: credentials of other namespaces that proxies of this one may have too, as ReferenceGrants allow it
   * to a Gateway.
   */
  readonly credentialGrants: ReadonlySet<string>
  readonly virtualServices: VirtualServiceIndex
  readonly destinationRules: DestinationRuleIndex
  readonly gateways: readonly Gateway[]
  readonly sidecars: readonly Sidecar[]
  readonly serviceEntries: readonly ServiceEntry[]
  readonly peerAuthentications: PeerAuthenticationIndex
  readonly requestAuthentications: readonly RequestAuthentication[]
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly envoyFilters: readonly EnvoyFilter[]
  /** WasmPlugins and TrafficExtensions, oldest first. */
  readonly extensions: readonly Extension[]
  readonly telemetries: readonly Telemetry[]
  /** JWKS documents fetched for RequestAuthentications, by where they came from. */
  readonly keySets: ReadonlyMap<string, string>
  /** What a proxy may see; memoized per Sidecar resource and namespace, shared by all proxies of equal scope. */
  sidecarScope(proxy: ScopeSubject): SidecarScope
  /** Services and ports that the proxy's own workload serves, in the order of their services. */
  serviceInstances(proxy: ScopeSubject): readonly ServiceInstance[]
  /** An endpoint of a ServiceEntry of the proxy's namespace at one of its addresses: the first one. */
  entryEndpoint(proxy: ScopeSubject): Endpoint | null
  /** Gateway servers that select the router, in precedence. */
  gatewaysFor(proxy: ScopeSubject): readonly Gateway[]
}

/** What of a proxy decides its scope. */
export interface ScopeSubject {
  readonly type: 'sidecar' | 'router' | 'waypoint'
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly ips: readonly string[]
  /** Container ports by name, as the proxy tells them; null when it does not. */
  readonly podPorts: Readonly<Record<string, number>> | null
  /** The name of its pod. */
  readonly name: string
  /** Empty: it does not say. */
  readonly clusterId: string
}

export interface WorkloadIndex {
  readonly byAddress: ReadonlyMap<string, Workload>
  /** WorkloadEntries that are not known to be unhealthy, by their address, each list by namespace and name. */
  readonly entriesByAddress: ReadonlyMap<string, readonly Workload[]>
  /** Namespace to workloads. */
  readonly byNamespace: ReadonlyMap<string, readonly Workload[]>
}
