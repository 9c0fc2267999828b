// Keeps the service model in step with the store: one event in, only the services it touches converted again.
import { isDeepStrictEqual } from 'node:util'
import { type KubeObject, objectKey, type StoreEvent } from '../../cluster/index.ts'
import { compareByAge, type ServiceEntry, type WorkloadEntry } from '../../config/index.ts'
import { compareText, kubeHostname } from '../model/host.ts'
import { type Endpoint, type EndpointSet, type Service, serviceKey, type Workload } from '../model/service.ts'
import { ServiceIndex } from '../model/service-index.ts'
import { aliasesByTarget } from './aliases.ts'
import { AddressAllocator } from './allocate.ts'
import { collectMoved, sameIdentity } from './endpoint-changes.ts'
import { convertSlices, podsOfSlice, serviceNameOfSlice } from './kube-endpoints.ts'
import { convertPod } from './kube-pod.ts'
import { convertService } from './kube-service.ts'
import {
  convertServiceEntry,
  convertWorkloadEntry,
  inlineEndpoints,
  type NamespaceTraits,
  selectedByService,
  selectedEndpoints,
} from './service-entry.ts'
import type { RegistrySettings } from './settings.ts'
import type { RegistryChanges, RegistrySnapshot } from './snapshot.ts'
import { visibilityIn } from './visibility.ts'
import { workloadIndex } from './workload-index.ts'

interface Entry {
  readonly item: ServiceEntry
  readonly status: unknown
  readonly services: readonly Service[]
}

/** Mutable behind immutable snapshots. Feed it events, then take {@link flush}. */
export class Registry {
  private settings: RegistrySettings
  private readonly nodes = new Map<string, KubeObject>()
  private readonly pods = new Map<string, KubeObject>()
  private readonly podWorkloads = new Map<string, Workload>()
  private readonly entryWorkloads = new Map<string, Workload>()
  private readonly workloadEntries = new Map<string, { readonly item: WorkloadEntry; readonly status: unknown }>()
  private readonly kubeServices = new Map<string, Service>()
  private readonly serviceObjects = new Map<string, KubeObject>()
  private readonly namespaces = new Map<string, NamespaceTraits>()
  /** `namespace/service` to slices by name. */
  private readonly slices = new Map<string, Map<string, KubeObject>>()
  /** Pod key to `namespace/service` of the slices that name it. */
  private readonly podServices = new Map<string, Set<string>>()
  private readonly allocator = new AddressAllocator()
  private readonly entries = new Map<string, Entry>()
  /** Service key to the ServiceEntries (config keys) that define it. */
  private readonly entriesByService = new Map<string, Set<string>>()

  private readonly aliased = new WeakMap<Service, Service>()

  private dirtyKube = new Set<string>()
  private dirtyEntries = new Set<string>()
  private dirtyServices = new Set<string>()
  private dirtyPods = new Set<string>()
  private dirtyWorkloads = new Set<string>()
  private snapshot: RegistrySnapshot

  constructor(settings: RegistrySettings) {
    this.settings = settings
    this.snapshot = {
      services: new ServiceIndex([]),
      endpoints: new Map(),
      workloads: { byAddress: new Map(), entriesByAddress: new Map(), byNamespace: new Map() },
      nodes: new Map(),
    }
  }

  current(): RegistrySnapshot {
    return this.snapshot
  }

  /** Takes note of a Kubernetes event; false when its kind is none of the registry's. */
  apply(event: StoreEvent): boolean {
    const { object, kind } = event
    const key = objectKey(object.metadata)
    const gone = event.type === 'deleted'
    switch (kind) {
      case 'Node':
        this.nodesChanged = true
        if (gone) this.nodes.delete(key)
        else this.nodes.set(key, object)
        if (!event.previous || !isDeepStrictEqual(event.previous.metadata.labels, object.metadata.labels)) {
          for (const [podKey, pod] of this.pods) if (nodeOf(pod) === key) this.dirtyPods.add(podKey)
        }
        return true
      case 'Pod':
        if (gone) this.pods.delete(key)
        else this.pods.set(key, object)
        this.dirtyPods.add(key)
        return true
      case 'Service':
        this.setKubeService(key, gone ? undefined : this.convert(object))
        if (gone) this.serviceObjects.delete(key)
        else this.serviceObjects.set(key, object)
        return true
      case 'EndpointSlice.discovery.k8s.io':
        this.setSlice(object, gone)
        return true
      default:
        return false
    }
  }

  /** A namespace, or its end (null). True when that changes services in it. */
  setNamespace(name: string, traits: NamespaceTraits | null): boolean {
    const before = this.namespaces.get(name)
    if (traits) this.namespaces.set(name, traits)
    else this.namespaces.delete(name)
    const moved = (before?.distribution ?? '') !== (traits?.distribution ?? '')
    const { serviceEntryVisibility: visibility } = this.settings
    const seen = (labels = {}): string => (visibility ? visibilityIn(visibility, labels) : '')
    if (!moved && seen(before?.labels) === seen(traits?.labels)) return false
    if (moved) {
      for (const [key, object] of this.serviceObjects) {
        if (object.metadata.namespace === name) this.setKubeService(key, this.convert(object))
      }
    }
    for (const [key, { item, status }] of this.entries) {
      if (item.metadata.namespace === name) this.applyServiceEntry(key, item, status)
    }
    return true
  }

  /** Takes other settings: everything is converted anew. */
  reconfigure(settings: RegistrySettings): void {
    this.settings = settings
    for (const [key, object] of this.serviceObjects) this.setKubeService(key, this.convert(object))
    for (const key of this.pods.keys()) this.dirtyPods.add(key)
    for (const [key, { item, status }] of this.workloadEntries) this.applyWorkloadEntry(key, item, status)
    for (const [key, { item, status }] of this.entries) this.applyServiceEntry(key, item, status)
  }

  private convert(object: KubeObject): Service {
    const { namespace = '' } = object.metadata
    return convertService(object, this.settings, this.namespaces.get(namespace)?.distribution)
  }

  /** A ServiceEntry as parsed, or its end. */
  applyServiceEntry(key: string, item: ServiceEntry | undefined, status?: unknown): void {
    const before = this.entries.get(key)
    const services = item ? this.convertEntry(key, item, status) : []
    if (!item) for (const { hostname } of before?.services ?? []) this.allocator.release(`${key}/${hostname}`)
    this.dirtyEntries.add(key)
    if (item && before && isDeepStrictEqual(before.services, services)) {
      // Only endpoints may differ: the services keep their identity, and with it everything that was made from them.
      this.entries.set(key, { item, status, services: before.services })
      return
    }
    for (const service of before?.services ?? []) this.unlinkEntry(service, key)
    if (item) {
      this.entries.set(key, { item, status, services })
      for (const service of services) this.linkEntry(service, key)
    } else this.entries.delete(key)
  }

  private convertEntry(key: string, item: ServiceEntry, status: unknown): Service[] {
    const addresses = this.allocated(key, item, status)
    return convertServiceEntry(item, addresses, this.settings, this.namespaces.get(item.metadata.namespace))
  }

  /** Addresses for the hosts of an entry without any: those its status names, else ones of our own. */
  private allocated(key: string, item: ServiceEntry, status: unknown): ReadonlyMap<string, readonly string[]> {
    const out = new Map<string, readonly string[]>()
    const { spec, metadata } = item
    if (spec.addresses?.length || (spec.resolution ?? 'NONE') === 'NONE') return out
    if (metadata.labels['networking.istio.io/enable-autoallocate-ip'] === 'false') return out
    for (const host of spec.hosts) {
      // A wildcard is one name at an address only where names are resolved as they are asked for.
      if (host.startsWith('*') && spec.resolution !== 'DYNAMIC_DNS') continue
      const named = statusAddresses(status, host)
      out.set(host, named.length > 0 ? named : this.allocator.allocate(`${key}/${host}`))
    }
    return out
  }

  /** The addresses that hosts of a ServiceEntry were given: what its `status.addresses` should say. */
  allocatedAddresses(key: string): { readonly value: string; readonly host: string }[] {
    return (this.entries.get(key)?.services ?? []).flatMap(({ hostname, autoAllocatedAddresses }) =>
      autoAllocatedAddresses.map((value) => ({ value, host: hostname })),
    )
  }

  /** A WorkloadEntry as parsed, or its end. */
  applyWorkloadEntry(key: string, item: WorkloadEntry | undefined, status?: unknown): void {
    const before = this.entryWorkloads.get(key)
    if (before) this.touchWorkload(before)
    if (item) {
      const workload = convertWorkloadEntry(item, this.settings, status)
      this.workloadEntries.set(key, { item, status })
      this.entryWorkloads.set(key, workload)
      this.touchWorkload(workload)
    } else {
      this.entryWorkloads.delete(key)
      this.workloadEntries.delete(key)
    }
    this.workloadsChanged = true
  }

  private workloadsChanged = false
  private nodesChanged = false

  /** The network of the whole cluster, from its system namespace; everything that has no other is converted anew. */
  setSystemNetwork(network: string): void {
    const { networks } = this.settings
    if (networks.systemNetwork === network) return
    networks.systemNetwork = network
    for (const key of this.pods.keys()) this.dirtyPods.add(key)
    for (const key of this.kubeServices.keys()) this.dirtyKube.add(key)
    for (const key of this.entries.keys()) this.dirtyEntries.add(key)
    for (const [key, workload] of this.entryWorkloads) {
      const known = this.workloadEntries.get(key)
      if (known) this.applyWorkloadEntry(key, known.item, known.status)
      else this.touchWorkload(workload)
    }
  }

  /** Applies what is pending and returns what it changed; {@link current} is the new snapshot then. */
  flush(): RegistryChanges {
    this.flushPods()
    const endpointKeys = new Set<string>()
    for (const key of this.dirtyKube) {
      const service = this.kubeServices.get(key)
      const slash = key.indexOf('/')
      const hostname =
        service?.hostname ?? kubeHostname(key.slice(slash + 1), key.slice(0, slash), this.settings.domain)
      endpointKeys.add(serviceKey(hostname, key.slice(0, slash)))
    }
    for (const key of this.dirtyEntries) {
      for (const service of this.entries.get(key)?.services ?? []) {
        endpointKeys.add(serviceKey(service.hostname, service.attributes.namespace))
      }
    }
    for (const key of this.dirtyServices) endpointKeys.add(key)

    const changedEndpoints = new Set<string>()
    const identities = new Set<string>()
    const addresses = new Set<string>()
    let endpoints: Map<string, EndpointSet> | undefined
    for (const key of endpointKeys) {
      const before = this.snapshot.endpoints.get(key)
      const after = this.buildEndpoints(key, before)
      if (after === before) continue
      endpoints ??= new Map(this.snapshot.endpoints)
      if (after) endpoints.set(key, after)
      else endpoints.delete(key)
      changedEndpoints.add(key)
      collectMoved(before, after, addresses)
      if (!sameIdentity(before, after)) identities.add(key)
    }
    const services = this.dirtyServices
    const workloads = this.dirtyWorkloads
    const workloadsChanged = this.workloadsChanged
    const nodesChanged = this.nodesChanged
    if (services.size > 0 || endpoints || workloadsChanged || nodesChanged) {
      this.snapshot = {
        services: services.size > 0 ? this.buildServices() : this.snapshot.services,
        endpoints: endpoints ?? this.snapshot.endpoints,
        workloads: workloadsChanged
          ? workloadIndex(this.podWorkloads.values(), this.entryWorkloads.values())
          : this.snapshot.workloads,
        nodes: nodesChanged ? new Map(this.nodes) : this.snapshot.nodes,
      }
    }
    this.dirtyKube = new Set()
    this.dirtyEntries = new Set()
    this.dirtyServices = new Set()
    this.dirtyWorkloads = new Set()
    this.workloadsChanged = false
    this.nodesChanged = false
    return { services, endpoints: changedEndpoints, identities, addresses, workloads }
  }

  private setKubeService(key: string, service: Service | undefined): void {
    const before = this.kubeServices.get(key)
    if (service) this.kubeServices.set(key, service)
    else this.kubeServices.delete(key)
    const named = service ?? before
    if (named) this.dirtyServices.add(serviceKey(named.hostname, named.attributes.namespace))
    this.dirtyKube.add(key)
  }

  private setSlice(object: KubeObject, gone: boolean): void {
    const name = serviceNameOfSlice(object)
    if (name === undefined) return
    const key = `${object.metadata.namespace}/${name}`
    let slices = this.slices.get(key)
    if (!slices) this.slices.set(key, (slices = new Map()))
    const before = slices.get(object.metadata.name)
    if (gone) slices.delete(object.metadata.name)
    else slices.set(object.metadata.name, object)
    // A pod stays linked as long as any slice of the service still names it.
    if (before) {
      const still = new Set([...slices.values()].flatMap(podsOfSlice))
      for (const pod of podsOfSlice(before)) if (!still.has(pod)) this.podServices.get(pod)?.delete(key)
    }
    if (!gone) {
      for (const pod of podsOfSlice(object)) {
        let linked = this.podServices.get(pod)
        if (!linked) this.podServices.set(pod, (linked = new Set()))
        linked.add(key)
      }
    }
    this.dirtyKube.add(key)
  }

  private flushPods(): void {
    for (const key of this.dirtyPods) {
      const pod = this.pods.get(key)
      const before = this.podWorkloads.get(key)
      const after = pod && convertPod(pod, this.nodes.get(nodeOf(pod)), this.settings)
      if (isDeepStrictEqual(before, after)) continue
      if (after) this.podWorkloads.set(key, after)
      else this.podWorkloads.delete(key)
      this.workloadsChanged = true
      for (const service of this.podServices.get(key) ?? []) this.dirtyKube.add(service)
      if (before) this.touchWorkload(before)
      if (after) this.touchWorkload(after)
    }
    this.dirtyPods.clear()
  }

  /** Marks what may select the workload in its namespace, and its proxy. */
  private touchWorkload(workload: Workload): void {
    if (workload.kind === 'WorkloadEntry') {
      for (const [key, { attributes }] of this.kubeServices) {
        if (attributes.namespace === workload.namespace && attributes.selector) this.dirtyKube.add(key)
      }
    }
    for (const address of workload.addresses) this.dirtyWorkloads.add(address)
    for (const [key, entry] of this.entries) {
      if (entry.item.metadata.namespace === workload.namespace && entry.item.spec.workloadSelector)
        this.dirtyEntries.add(key)
    }
  }

  private linkEntry(service: Service, key: string): void {
    const name = serviceKey(service.hostname, service.attributes.namespace)
    let linked = this.entriesByService.get(name)
    if (!linked) this.entriesByService.set(name, (linked = new Set()))
    linked.add(key)
    this.dirtyServices.add(name)
  }

  private unlinkEntry(service: Service, key: string): void {
    const name = serviceKey(service.hostname, service.attributes.namespace)
    this.entriesByService.get(name)?.delete(key)
    this.dirtyServices.add(name)
  }

  private buildServices(): ServiceIndex {
    const aliases = aliasesByTarget(this.kubeServices.values())
    const out: Service[] = []
    const add = (service: Service): void => {
      const names = aliases.get(service.hostname)
      out.push(names ? this.withAliases(service, names) : service)
    }
    for (const service of this.kubeServices.values()) add(service)
    for (const entry of this.entries.values()) for (const service of entry.services) add(service)
    return new ServiceIndex(out)
  }

  /** Keeps the object identity of an aliased service while nothing about it changed. */
  private withAliases(service: Service, names: readonly string[]): Service {
    const before = this.aliased.get(service)
    if (before && isDeepStrictEqual(before.aliases, names)) return before
    const after = { ...service, aliases: names }
    this.aliased.set(service, after)
    return after
  }

  private buildEndpoints(key: string, before: EndpointSet | undefined): EndpointSet | undefined {
    const slash = key.indexOf('/')
    const namespace = key.slice(0, slash)
    const hostname = key.slice(slash + 1)
    const endpoints: Endpoint[] = []
    let exists = false
    const kubeKey = `${namespace}/${hostname.slice(0, hostname.indexOf('.'))}`
    const kube = this.kubeServices.get(kubeKey)
    if (kube?.hostname === hostname) {
      exists = true
      endpoints.push(
        ...convertSlices(kube, [...(this.slices.get(kubeKey)?.values() ?? [])], this.lookup, this.settings),
        ...selectedByService(kube, this.workloadsOf(namespace), this.settings),
      )
    }
    for (const entry of this.entriesOf(key)) {
      exists = true
      const own = [
        ...inlineEndpoints(entry.item, hostname, this.settings),
        ...(entry.item.spec.workloadSelector
          ? selectedEndpoints(entry.item, this.workloadsOf(namespace), this.settings)
          : []),
      ]
      const roundRobin = entry.item.spec.resolution === 'DNS_ROUND_ROBIN'
      // Every address of a ServiceEntry is a service of its own with the same host: its endpoints count again.
      for (const service of entry.services) if (service.hostname === hostname) addEndpoints(endpoints, own, roundRobin)
    }
    if (!exists) return undefined
    if (before && isDeepStrictEqual(before.endpoints, endpoints)) return before
    const accounts = new Set<string>()
    for (const endpoint of endpoints) if (endpoint.serviceAccount) accounts.add(endpoint.serviceAccount)
    return {
      hostname,
      namespace,
      endpoints,
      serviceAccounts: [...accounts].sort(),
    }
  }

  /** The ServiceEntries of a service, oldest first: their order must not depend on when they were heard of. */
  private entriesOf(key: string): Entry[] {
    const keys = this.entriesByService.get(key)
    if (!keys) return []
    const entries = [...keys].flatMap((entryKey) => this.entries.get(entryKey) ?? [])
    return entries.length < 2 ? entries : entries.sort((a, b) => compareByAge(a.item, b.item))
  }

  /** WorkloadEntries, then pods, each by name. */
  private workloadsOf(namespace: string): Workload[] {
    return [this.entryWorkloads, this.podWorkloads].flatMap((source) =>
      [...source.values()].filter((w) => w.namespace === namespace).sort((a, b) => compareText(a.name, b.name)),
    )
  }

  private readonly lookup = {
    pod: (namespace: string, name: string): Workload | undefined => this.podWorkloads.get(`${namespace}/${name}`),
    node: (name: string): KubeObject | undefined => this.nodes.get(name),
  }
}

/** Only one name can be resolved for a port in turns: the first one counts. */
function addEndpoints(into: Endpoint[], more: readonly Endpoint[], roundRobin: boolean): void {
  for (const endpoint of more) {
    if (roundRobin && into.some(({ servicePort }) => servicePort === endpoint.servicePort)) continue
    into.push(endpoint)
  }
}

/** `status.addresses` of a ServiceEntry: `{value, host}` each. */
function statusAddresses(status: unknown, host: string): string[] {
  const { addresses } = (status ?? {}) as { addresses?: unknown }
  if (!Array.isArray(addresses)) return []
  return addresses
    .filter(
      (a: { value?: unknown; host?: unknown } | null) => typeof a?.value === 'string' && (a.host ?? host) === host,
    )
    .map((a: { value: string }) => a.value)
}

function nodeOf(pod: KubeObject): string {
  return (pod.spec as { nodeName?: string } | undefined)?.nodeName ?? ''
}
