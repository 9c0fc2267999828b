// Builds push contexts: the first from a whole store, the next ones from the last and what changed.
import {
  type AnyResource,
  compareByAge,
  type Gateway,
  type IstioKind,
  type MeshConfig,
  type MeshNetworks,
  type Resource,
  type Sidecar,
} from '../../config/index.ts'
import { extensionsOf } from '../extensions/extension.ts'
import { parseExportTo } from '../registry/kube-service.ts'
import type { RegistrySnapshot } from '../registry/snapshot.ts'
import { buildGatewayScope, buildSidecarScope } from './build-sidecar-scope.ts'
import { mergeDelegates } from './delegates.ts'
import { DestinationRuleIndex } from './destination-rules.ts'
import { labelsMatch } from './host.ts'
import { type NetworkGateways, networkGateways } from './network-gateways.ts'
import type { ServiceInstance } from './node.ts'
import { PeerAuthenticationIndex } from './peer-authentication.ts'
import type { PushContext, ScopeSubject } from './push-context.ts'
import type { Endpoint } from './service.ts'
import { ServiceInstanceIndex } from './service-instances.ts'
import type { SidecarScope } from './sidecar-scope.ts'
import { resolveVirtualService, VirtualServiceIndex } from './virtual-service.ts'

/** Parsed resources by kind; each list oldest first. */
export type ResourceLists = { readonly [K in IstioKind]: readonly Resource<K>[] }

export interface PushInputs {
  readonly version: string
  readonly mesh: MeshConfig
  readonly meshNetworks: MeshNetworks
  /** Addresses of network gateways named by host. */
  readonly gatewayAddresses: ReadonlyMap<string, readonly string[]>
  readonly domain: string
  readonly clusterId: string
  readonly registry: RegistrySnapshot
  readonly credentials: PushContext['credentials']
  readonly resources: ResourceLists
  readonly keySets: ReadonlyMap<string, string>
  readonly credentialGrants: PushContext['credentialGrants']
}

/** Sorts parsed resources into lists. */
export function listResources(resources: Iterable<AnyResource>, kinds: readonly IstioKind[]): ResourceLists {
  const lists = {} as Record<IstioKind, Resource[]>
  for (const kind of kinds) lists[kind] = []
  for (const resource of resources) lists[resource.kind]?.push(resource)
  for (const kind of kinds) lists[kind].sort(compareByAge)
  return lists as unknown as ResourceLists
}

/** One resource before and after; undefined: it was not there, or is not any more. */
export interface ResourceChange {
  readonly before: AnyResource | undefined
  readonly after: AnyResource | undefined
}

/** Lists after some changes. Those of kinds without a change, and the lists given, stay what they are. */
export function updateLists(
  lists: ResourceLists,
  changes: Iterable<ResourceChange>,
  touched: ReadonlySet<IstioKind>,
): ResourceLists {
  const next: Record<string, readonly Resource[]> = { ...lists }
  const gone = new Set<Resource>()
  const came: Resource[] = []
  for (const { before, after } of changes) {
    if (before) gone.add(before)
    if (after) came.push(after)
  }
  for (const kind of touched) {
    const list = (next[kind] ?? []).filter((resource) => !gone.has(resource))
    for (const resource of came) if (resource.kind === kind) list.splice(placeFor(list, resource), 0, resource)
    next[kind] = list
  }
  return next as unknown as ResourceLists
}

/** Where in a list, oldest first, a resource belongs. */
function placeFor(list: readonly Resource[], resource: Resource): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compareByAge(list[middle]!, resource) <= 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Builds a snapshot. Indexes whose inputs are the same objects as in `before` are shared with it, scopes included. */
export function buildPushContext(inputs: PushInputs, before: PushContext | null): PushContext {
  return new Snapshot(inputs, before instanceof Snapshot ? before : null)
}

class Snapshot implements PushContext {
  readonly version: string
  readonly mesh: MeshConfig
  readonly domain: string
  readonly clusterId: string
  readonly services: PushContext['services']
  readonly meshNetworks: MeshNetworks
  readonly networks: NetworkGateways | null
  readonly endpoints: PushContext['endpoints']
  readonly workloads: PushContext['workloads']
  readonly credentials: PushContext['credentials']
  readonly virtualServices: VirtualServiceIndex
  readonly destinationRules: DestinationRuleIndex
  readonly peerAuthentications: PeerAuthenticationIndex
  readonly gateways: readonly Gateway[]
  readonly sidecars: readonly Sidecar[]
  readonly serviceEntries: PushContext['serviceEntries']
  readonly requestAuthentications: PushContext['requestAuthentications']
  readonly authorizationPolicies: PushContext['authorizationPolicies']
  readonly envoyFilters: PushContext['envoyFilters']
  readonly extensions: PushContext['extensions']
  readonly telemetries: PushContext['telemetries']
  readonly keySets: PushContext['keySets']
  readonly credentialGrants: PushContext['credentialGrants']
  private readonly inputs: PushInputs
  /** Shared with the snapshots before and after while nothing that scopes are made of changes. */
  private readonly scopes: Map<string, SidecarScope>
  private readonly instances: ServiceInstanceIndex

  constructor(inputs: PushInputs, before: Snapshot | null) {
    const { mesh, domain, resources, registry } = inputs
    const was = before?.inputs
    const sameMesh = was !== undefined && was.mesh === mesh && was.domain === domain
    const same = (kind: IstioKind): boolean => sameMesh && was.resources[kind] === resources[kind]
    this.inputs = inputs
    this.version = inputs.version
    this.mesh = mesh
    this.domain = domain
    this.clusterId = inputs.clusterId
    this.services = registry.services
    this.meshNetworks = inputs.meshNetworks
    this.networks = sharedNetworks(inputs, before)
    this.endpoints = registry.endpoints
    this.workloads = registry.workloads
    this.credentials = inputs.credentials
    this.gateways = resources.Gateway
    this.sidecars = resources.Sidecar
    this.serviceEntries = resources.ServiceEntry
    this.requestAuthentications = resources.RequestAuthentication
    this.authorizationPolicies = resources.AuthorizationPolicy
    this.envoyFilters = resources.EnvoyFilter
    this.telemetries = resources.Telemetry
    this.extensions =
      same('WasmPlugin') && same('TrafficExtension')
        ? before!.extensions
        : extensionsOf([...resources.WasmPlugin, ...resources.TrafficExtension].sort(compareByAge))
    this.keySets = inputs.keySets
    this.credentialGrants = inputs.credentialGrants
    this.virtualServices = same('VirtualService')
      ? before!.virtualServices
      : new VirtualServiceIndex(
          mergeDelegates(resources.VirtualService.map((vs) => resolveVirtualService(vs, domain))),
          (vs) =>
            parseExportTo(
              vs.spec.exportTo?.length ? vs.spec.exportTo : mesh.defaultVirtualServiceExportTo,
              vs.metadata.namespace,
            ),
        )
    this.destinationRules = same('DestinationRule')
      ? before!.destinationRules
      : new DestinationRuleIndex(
          resources.DestinationRule,
          mesh.rootNamespace,
          mesh.defaultDestinationRuleExportTo,
          domain,
        )
    this.peerAuthentications = same('PeerAuthentication')
      ? before!.peerAuthentications
      : new PeerAuthenticationIndex(resources.PeerAuthentication, mesh.rootNamespace)
    const sameScopes =
      before !== null &&
      sameMesh &&
      before.services === this.services &&
      before.virtualServices === this.virtualServices &&
      before.destinationRules === this.destinationRules &&
      before.sidecars === this.sidecars
    this.scopes = sameScopes ? before.scopes : new Map()
    this.instances = new ServiceInstanceIndex(
      this.services,
      this.endpoints,
      this.workloads,
      inputs.clusterId,
      before?.instances ?? null,
    )
  }

  sidecarScope(proxy: ScopeSubject): SidecarScope {
    const { namespace } = proxy
    if (proxy.type !== 'sidecar') return this.scope(`gateway ${namespace}`, () => buildGatewayScope(this, namespace))
    const sidecar = this.sidecarFor(proxy)
    const key = sidecar ? `${namespace}|${sidecar.metadata.namespace}/${sidecar.metadata.name}` : namespace
    return this.scope(key, () => buildSidecarScope(this, namespace, sidecar))
  }

  private scope(key: string, make: () => SidecarScope): SidecarScope {
    let scope = this.scopes.get(key)
    if (!scope) this.scopes.set(key, (scope = make()))
    return scope
  }

  /** Istio's choice: selecting Sidecar of the namespace, its general one, the general one of the root namespace. */
  private sidecarFor(proxy: ScopeSubject): Sidecar | null {
    let general: Sidecar | null = null
    let root: Sidecar | null = null
    for (const sidecar of this.sidecars) {
      const selector = sidecar.spec.workloadSelector?.labels
      const selecting = selector !== undefined && Object.keys(selector).length > 0
      if (sidecar.metadata.namespace === proxy.namespace) {
        if (!selecting) general ??= sidecar
        else if (labelsMatch(selector, proxy.labels)) return sidecar
      }
      if (sidecar.metadata.namespace === this.mesh.rootNamespace && !selecting) root ??= sidecar
    }
    return general ?? root
  }

  serviceInstances(proxy: ScopeSubject): readonly ServiceInstance[] {
    return this.instances.of(proxy)
  }

  entryEndpoint(proxy: ScopeSubject): Endpoint | null {
    return this.instances.entryEndpoint(proxy)
  }

  gatewaysFor(proxy: ScopeSubject): readonly Gateway[] {
    return this.gateways.filter((g) => labelsMatch(g.spec.selector, proxy.labels))
  }
}

/** Gateways are few and services many: the same gateways stay the same object, so that nothing is made anew for them. */
function sharedNetworks(inputs: PushInputs, before: Snapshot | null): NetworkGateways | null {
  const { meshNetworks, registry, clusterId, gatewayAddresses: resolved } = inputs
  const { services, nodes } = registry
  const found = networkGateways({ meshNetworks, services, nodes, clusterId, resolved })
  return found && before?.networks?.key === found.key ? before.networks : found
}
