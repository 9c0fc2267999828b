// From the store to push contexts: parses what changed, keeps the last good version of what does not parse.
import { isDeepStrictEqual } from 'node:util'
import { errorText, type Problem } from '../base/errors.ts'
import { type KubeObject, objectKey, type Store, type StoreEvent } from '../cluster/index.ts'
import {
  type AnyResource,
  ISTIO_KINDS,
  type IstioKind,
  isIstioApiVersion,
  istioGroupKind,
  type MeshConfig,
  type MeshNetworks,
  parseResource,
} from '../config/index.ts'
import type { Changes, Commit, ReportProblems } from './commit.ts'
import {
  type SourceChanges,
  TRANSLATED_KINDS,
  TranslatedResources,
  type TranslationChanges,
} from './gateway-api/translated.ts'
import { Journal, setFaultyAside, takenBack } from './isolation.ts'
import {
  buildPushContext,
  listResources,
  type ResourceChange,
  type ResourceLists,
  updateLists,
} from './model/build-push-context.ts'
import { gatewayHosts } from './model/network-gateways.ts'
import type { PushContext } from './model/push-context.ts'
import { resourceKey } from './model/resource.ts'
import { TRAFFIC_DISTRIBUTION } from './registry/kube-service.ts'
import { kubeShapeProblem } from './registry/kube-shape.ts'
import { NamespaceFilter } from './registry/namespace-filter.ts'
import { NETWORK_LABEL, NetworkLookup } from './registry/network-lookup.ts'
import { Registry } from './registry/registry.ts'
import type { RegistrySettings } from './registry/settings.ts'
import { type ObjectStatus, onlyStatusChanged } from './status.ts'

export interface DiscoverySettings {
  readonly domain: string
  readonly clusterId: string
  readonly mesh: MeshConfig
  /** Left out: one network. */
  readonly meshNetworks?: MeshNetworks
  /** Told of every resource with problems; errors mean that the last good version stays. */
  readonly report: ReportProblems
  /** Names what of an accepted resource has no effect. */
  readonly untranslated?: (resource: AnyResource) => readonly Problem[]
}

const KUBE_KINDS = ['Node', 'Pod', 'Service', 'EndpointSlice.discovery.k8s.io', 'Secret', 'ConfigMap'] as const
/** Kinds of objects in namespaces; Namespace itself comes before them. */
const WATCHED_KINDS: readonly string[] = [
  ...KUBE_KINDS,
  ...TRANSLATED_KINDS,
  ...ISTIO_KINDS.map(istioGroupKind),
].filter((kind) => kind !== 'Namespace')

/** Mutable holder of the current {@link PushContext}. Not thread of its own: `apply` then `commit`, both synchronous. */
export class DiscoveryState {
  private settings: DiscoverySettings
  private readonly registry: Registry
  private namespaces: NamespaceFilter
  private meshNetworks: MeshNetworks
  private reconfigured = false
  private gatewayAddresses: ReadonlyMap<string, readonly string[]> = new Map()
  private readonly resources = new Map<string, AnyResource>()
  private changedKinds = new Set<IstioKind>()
  /** By {@link resourceKey}; `before` as of the last commit. */
  private changedResources = new Map<string, ResourceChange>()
  private changedL4Routes = false
  private credentials: ReadonlyMap<string, KubeObject> = new Map()
  private changedCredentials = new Map<string, KubeObject | null>()
  private lists: ResourceLists | null = null
  private push: PushContext | null = null
  private keySets: ReadonlyMap<string, string> = new Map()
  private readonly translated: TranslatedResources
  private counter = 0
  private readonly journal = new Journal()
  /** The object at hand was refused. */
  private refused = false
  /** Objects are tried again of which everything was said. */
  private muted = false

  constructor(settings: DiscoverySettings) {
    this.settings = settings
    this.meshNetworks = settings.meshNetworks ?? {}
    this.translated = new TranslatedResources(this.report)
    this.namespaces = new NamespaceFilter(settings.mesh.discoverySelectors)
    this.registry = new Registry(registrySettings(settings))
  }

  /**
   * Takes other settings of the mesh: what `store` holds is looked at anew, and the next commit generates everything. What
   * was last good stays so.
   */
  configure(mesh: MeshConfig, meshNetworks: MeshNetworks, store: Store): void {
    const before = this.namespaces
    this.settings = { ...this.settings, mesh, meshNetworks }
    this.meshNetworks = meshNetworks
    this.namespaces = before.with(mesh.discoverySelectors)
    this.registry.reconfigure(registrySettings(this.settings))
    const { labels = {} } = store.get('Namespace', undefined, mesh.rootNamespace)?.metadata ?? {}
    this.registry.setSystemNetwork(labels[NETWORK_LABEL] ?? '')
    for (const kind of WATCHED_KINDS) {
      for (const object of store.list(kind)) {
        const { namespace } = object.metadata
        if (namespace === undefined) continue
        const selected = this.namespaces.selected(namespace)
        if (selected !== before.selected(namespace))
          this.applyOne({ type: selected ? 'added' : 'deleted', kind, object }, store)
      }
    }
    this.translated.retranslate()
    this.reconfigured = true
  }

  /** Reads everything of interest that a store holds now, and returns it as events. */
  load(store: Store): readonly StoreEvent[] {
    const events = ['Namespace', ...WATCHED_KINDS].flatMap((kind) =>
      store.list(kind).map((object): StoreEvent => ({ type: 'added', kind, object })),
    )
    this.apply(events, store)
    return events
  }

  /** Takes note of events; nothing is visible before {@link commit}. True when any of them matters to proxies. */
  apply(events: readonly StoreEvent[], store: Pick<Store, 'origin' | 'list'>): boolean {
    let relevant = false
    for (const event of events) {
      const { namespace } = event.object.metadata
      if (event.kind === 'Namespace') relevant = this.applyNamespace(event, store) || relevant
      else if (namespace !== undefined && !this.namespaces.selected(namespace)) continue
      else relevant = this.applyOne(event, store) || relevant
    }
    return relevant
  }

  /** A namespace that becomes selected brings all its objects, one that no longer is takes them away. */
  private applyNamespace(event: StoreEvent, store: Pick<Store, 'origin' | 'list'>): boolean {
    const { name, labels = {}, annotations = {} } = event.object.metadata
    let relevant = this.translated.apply(event, store) ?? false
    const traits = { labels, distribution: annotations[TRAFFIC_DISTRIBUTION] ?? '' }
    relevant = this.registry.setNamespace(name, event.type === 'deleted' ? null : traits) || relevant
    if (name === this.settings.mesh.rootNamespace) {
      this.registry.setSystemNetwork(event.type === 'deleted' ? '' : (labels[NETWORK_LABEL] ?? ''))
      relevant = true
    }
    if (!this.namespaces.set(name, event.type === 'deleted' ? null : labels)) return relevant
    const type = this.namespaces.selected(name) ? 'added' : 'deleted'
    for (const kind of WATCHED_KINDS) {
      for (const object of store.list(kind, name)) relevant = this.applyOne({ type, kind, object }, store) || relevant
    }
    return relevant
  }

  private applyOne(event: StoreEvent, store: Pick<Store, 'origin'>): boolean {
    this.refused = false
    const relevant = this.take(event, store)
    this.journal.note(event, this.refused, store)
    return relevant
  }

  private readonly report: ReportProblems = (object, problems) => {
    if (problems.some(({ level }) => level === 'error')) this.refused = true
    if (!this.muted) this.settings.report(object, problems)
  }

  private take(event: StoreEvent, store: Pick<Store, 'origin'>): boolean {
    const { kind, object } = event
    const problem = event.type === 'deleted' ? null : kubeShapeProblem(kind, object)
    if (problem) {
      this.report(object, [{ path: '', message: problem, level: 'error' }])
      return false
    }
    try {
      return this.takeWellShaped(event, store)
    } catch (error) {
      // A fault of ours in one object must cost neither the control plane nor the other objects.
      this.report(object, [{ path: '', message: `cannot be read: ${errorText(error)}`, level: 'error' }])
      return false
    }
  }

  private takeWellShaped(event: StoreEvent, store: Pick<Store, 'origin'>): boolean {
    const { kind, object } = event
    if (this.registry.apply(event)) return true
    if (kind === 'Secret' || kind === 'ConfigMap') {
      this.changedCredentials.set(`${kind}/${objectKey(object.metadata)}`, event.type === 'deleted' ? null : object)
      return true
    }
    if (isIstioApiVersion(object.apiVersion)) return this.applyIstio(event, store)
    return this.translated.apply(event, store) ?? false
  }

  /**
   * The new push context, and what changed since the last one. An object with which none can be built is left as it was
   * before. After a commit that throws all the same, the next is a whole one.
   */
  commit(force = false): Commit {
    try {
      const commit = this.tryCommit(force)
      this.journal.settle([])
      return commit
    } catch (error) {
      this.startOver()
      return this.commitWithoutFaults(error)
    }
  }

  /** What was taken note of is kept; what was made of it may be half done. */
  private startOver(): void {
    this.lists = null
    this.translated.retranslate()
    this.reconfigured = true
  }

  /** A whole commit of everything but the objects with which it fails. Throws `error` when it fails without any, too. */
  private commitWithoutFaults(error: unknown): Commit {
    const statuses: ObjectStatus[] = []
    this.muted = true
    const aside = setFaultyAside(this.journal.entries(), {
      put: ({ event, store }) => this.take(event, store),
      takeBack: (entry) => {
        const event = takenBack(entry)
        if (event) this.take(event, entry.store)
      },
      build: () => {
        try {
          statuses.push(...this.tryCommit(false).statuses)
        } catch (fault) {
          this.startOver()
          throw fault
        }
      },
    })
    this.muted = false
    if (!aside) throw error
    this.startOver()
    const whole = this.tryCommit(true)
    this.journal.settle(aside.map(({ entry }) => entry))
    const faults = aside.map(({ entry, error: fault }) => ({ object: entry.event.object, error: fault }))
    for (const { object, error: fault } of faults) {
      const message = `nothing can be built with it: ${errorText(fault)}`
      this.settings.report(object, [{ path: '', message, level: 'error' }])
    }
    return { ...whole, statuses: [...statuses, ...whole.statuses], faults }
  }

  private tryCommit(force: boolean): Commit {
    const registryChanges = this.registry.flush()
    const first = this.push === null
    const networksBefore = this.push?.networks ?? null
    const changedCredentials = new Set(this.changedCredentials.keys())
    const credentials = this.flushCredentials()
    const translation = this.takeTranslations({ ...registryChanges, credentials: changedCredentials })
    this.lists = this.lists
      ? updateLists(this.lists, this.changedResources.values(), this.changedKinds)
      : listResources(this.resources.values(), ISTIO_KINDS)
    this.push = buildPushContext(
      {
        version: `${new Date().toISOString()}/${++this.counter}`,
        mesh: this.settings.mesh,
        meshNetworks: this.meshNetworks,
        gatewayAddresses: this.gatewayAddresses,
        domain: this.settings.domain,
        clusterId: this.settings.clusterId,
        registry: this.registry.current(),
        credentials,
        resources: this.lists,
        keySets: this.keySets,
        credentialGrants: this.translated.credentialGrants,
      },
      this.push,
    )
    const changes: Changes = {
      ...registryChanges,
      kinds: this.changedKinds,
      resources: new Set(this.changedResources.keys()),
      credentials: changedCredentials,
      l4Routes: this.changedL4Routes,
      all: first || force || this.reconfigured || networksBefore !== this.push.networks,
    }
    this.reconfigured = false
    const statuses = [...(translation?.statuses ?? []), ...this.entryStatuses()]
    this.changedKinds = new Set()
    this.changedResources = new Map()
    this.changedL4Routes = false
    return {
      push: this.push,
      changes,
      statuses,
      workloads: translation?.workloads ?? null,
      faults: [],
    }
  }

  /** Resources that Gateway API and Ingress objects stand for. */
  private takeTranslations(changed: SourceChanges): TranslationChanges | null {
    const { mesh, domain } = this.settings
    const registry = this.registry.current()
    const changes = this.translated.flush({ mesh, domain, registry, credentials: this.credentials }, changed)
    for (const resource of changes?.removed ?? []) this.set(resourceKey(resource), resource.kind, undefined)
    for (const resource of changes?.set ?? []) this.set(resourceKey(resource), resource.kind, resource)
    return changes
  }

  /** Takes newly fetched JWKS documents; RequestAuthentications count as changed. */
  setKeySets(keySets: ReadonlyMap<string, string>): void {
    this.keySets = keySets
    this.changedKinds.add('RequestAuthentication')
  }

  /** Hosts of network gateways that DNS has to resolve. */
  gatewayHosts(): readonly string[] {
    const { services, nodes } = this.registry.current()
    return gatewayHosts({ meshNetworks: this.meshNetworks, services, nodes, clusterId: this.settings.clusterId })
  }

  /** Takes the addresses that DNS has for {@link gatewayHosts}. */
  setGatewayAddresses(addresses: ReadonlyMap<string, readonly string[]>): void {
    this.gatewayAddresses = addresses
  }

  /** Every accepted resource, as it is served. */
  accepted(): Iterable<AnyResource> {
    return this.resources.values()
  }

  private flushCredentials(): ReadonlyMap<string, KubeObject> {
    if (this.changedCredentials.size === 0) return this.credentials
    const next = new Map(this.credentials)
    for (const [key, object] of this.changedCredentials) {
      if (object) next.set(key, object)
      else next.delete(key)
    }
    this.changedCredentials = new Map()
    this.credentials = next
    return next
  }

  private applyIstio(event: StoreEvent, store: Pick<Store, 'origin'>): boolean {
    const { object } = event
    if (event.type === 'deleted') return this.remove(object)
    if (onlyStatusChanged(event) && this.statusSaysNothing(object)) return false
    let parsed: ReturnType<typeof parseResource>
    try {
      parsed = parseResource(object, store.origin(object))
    } catch (error) {
      // A fault of the parser must cost one resource, not the control plane.
      parsed = { ok: false, problems: [{ path: '', message: errorText(error), level: 'error' }] }
    }
    if (!parsed.ok) {
      this.report(object, parsed.problems)
      return false
    }
    const resource = parsed.value
    const remarks = [...resource.warnings, ...(this.settings.untranslated?.(resource) ?? [])]
    if (remarks.length > 0) this.report(object, remarks)
    if (remarks.some((remark) => remark.level === 'error')) return false
    this.set(resourceKey(resource), resource.kind, resource, object.status)
    return true
  }

  /** Only a ServiceEntry's status means something, and that only when it names other addresses than it was given. */
  private statusSaysNothing(object: KubeObject): boolean {
    // The health of a workload stands there.
    if (object.kind === 'WorkloadEntry') return false
    if (object.kind !== 'ServiceEntry') return true
    const { addresses } = (object.status ?? {}) as { addresses?: unknown }
    return isDeepStrictEqual(addresses, this.registry.allocatedAddresses(resourceKeyOf(object)))
  }

  /** `status.addresses` of changed ServiceEntries that were given addresses. */
  private entryStatuses(): ObjectStatus[] {
    const out: ObjectStatus[] = []
    for (const key of this.changedResources.keys()) {
      if (!key.startsWith('ServiceEntry/')) continue
      const addresses = this.registry.allocatedAddresses(key)
      const resource = this.resources.get(key)
      if (addresses.length === 0 || !resource) continue
      const { namespace, name } = resource.metadata
      out.push({ kind: istioGroupKind('ServiceEntry'), namespace, name, status: { shape: 'addresses', addresses } })
    }
    return out
  }

  private remove(object: KubeObject): boolean {
    const key = resourceKeyOf(object)
    const known = this.resources.get(key)
    if (!known) return false
    this.set(key, known.kind, undefined)
    return true
  }

  private set(key: string, kind: IstioKind, resource: AnyResource | undefined, status?: unknown): void {
    const known = this.resources.get(key)
    if (hasL4Routes(resource) || hasL4Routes(known)) this.changedL4Routes = true
    const earlier = this.changedResources.get(key)
    this.changedResources.set(key, { before: earlier ? earlier.before : known, after: resource })
    if (resource) this.resources.set(key, resource)
    else this.resources.delete(key)
    this.changedKinds.add(kind)
    if (kind === 'ServiceEntry')
      this.registry.applyServiceEntry(key, resource?.kind === kind ? resource : undefined, status)
    else if (kind === 'WorkloadEntry')
      this.registry.applyWorkloadEntry(key, resource?.kind === kind ? resource : undefined, status)
  }
}

function registrySettings({ mesh, meshNetworks = {}, domain, clusterId }: DiscoverySettings): RegistrySettings {
  return {
    domain,
    clusterId,
    trustDomain: mesh.trustDomain,
    rootNamespace: mesh.rootNamespace,
    defaultServiceExportTo: mesh.defaultServiceExportTo,
    serviceEntryVisibility: mesh.serviceEntryVisibility?.applyToSidecars ? mesh.serviceEntryVisibility : undefined,
    networks: new NetworkLookup(meshNetworks, clusterId),
  }
}

/** {@link resourceKey} of an object that may not have been parsed. */
function resourceKeyOf({ kind, metadata }: KubeObject): string {
  return `${kind}/${objectKey({ ...metadata, namespace: metadata.namespace || 'default' })}`
}

function hasL4Routes(resource: AnyResource | undefined): boolean {
  if (resource?.kind !== 'VirtualService') return false
  return (resource.spec.tls?.length ?? 0) > 0 || (resource.spec.tcp?.length ?? 0) > 0
}
