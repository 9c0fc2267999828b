// Which ports of which services a proxy's own workload serves: what it listens for, and where it sends what comes.
import { ownValue } from '../../base/own-property.ts'
import { compareText, labelsMatch } from './host.ts'
import type { ServiceInstance } from './node.ts'
import type { ScopeSubject, WorkloadIndex } from './push-context.ts'
import {
  type Endpoint,
  type EndpointSet,
  type Service,
  type ServicePort,
  serviceKey,
  type Workload,
} from './service.ts'
import type { ServiceIndex } from './service-index.ts'

/** Finds service instances by Istio's rules; immutable, made anew for each push context. */
export class ServiceInstanceIndex {
  private readonly services: ServiceIndex
  private readonly endpoints: ReadonlyMap<string, EndpointSet>
  private readonly workloads: WorkloadIndex
  private readonly clusterId: string
  /** Kubernetes Services that say by labels who serves them, by namespace. */
  private readonly selecting: Map<string, readonly Service[]>
  private byAddress: ReadonlyMap<string, readonly Placed[]> | null

  /** What of `before` does not change is shared with it. */
  constructor(
    services: ServiceIndex,
    endpoints: ReadonlyMap<string, EndpointSet>,
    workloads: WorkloadIndex,
    clusterId: string,
    before: ServiceInstanceIndex | null,
  ) {
    this.clusterId = clusterId
    this.services = services
    this.endpoints = endpoints
    this.workloads = workloads
    this.selecting = before?.services === services ? before.selecting : new Map()
    this.byAddress = before?.endpoints === endpoints ? before.byAddress : null
  }

  /** In the order of the services: by age, then host. */
  of(proxy: ScopeSubject): readonly ServiceInstance[] {
    const address = proxy.ips[0] ?? ''
    const seen = new Set<string>()
    const instances: ServiceInstance[] = []
    // Services of another cluster are that cluster's control plane's to tell; ServiceEntries hold in every cluster.
    const here = proxy.clusterId === '' || proxy.clusterId === this.clusterId
    const ofKubernetes = here ? this.ofKubernetes(proxy, address) : []
    for (const { service, port, targetPort } of [...ofKubernetes, ...this.ofEntries(proxy)]) {
      // A second port of the same protocol to the same place would be the same listener again.
      const key = `${serviceKey(service.hostname, service.attributes.namespace)}|${port.protocol}|${targetPort}`
      if (seen.has(key)) continue
      seen.add(key)
      instances.push({ service, port, address, targetPort })
    }
    return instances.sort(
      ({ service: a }, { service: b }) => a.creationMs - b.creationMs || compareText(a.hostname, b.hostname),
    )
  }

  /**
   * A WorkloadEntry at the proxy's address says which Services it serves, else its pod, else the proxy itself, while its
   * pod is not known.
   */
  private ofKubernetes(proxy: ScopeSubject, address: string): Target[] {
    const entry = chooseEntry(this.workloads.entriesByAddress.get(address) ?? [], proxy)
    if (entry) return this.selectedBy(entry.namespace, entry.labels, (service, port) => entryPort(entry, service, port))
    const pod = podOf(proxy, this.workloads)
    if (!pod) return this.selectedBy(proxy.namespace, proxy.labels, (_, port) => toldPort(proxy.podPorts, port))
    const selected = this.selectedBy(pod.namespace, pod.labels, (_, port) => podPort(pod, port))
    return selected.length > 0 ? selected : this.listed(proxy.namespace, address)
  }

  private selectedBy(
    namespace: string,
    labels: Readonly<Record<string, string>>,
    portAt: (service: Service, port: ServicePort) => number | null,
  ): Target[] {
    return this.selectingIn(namespace)
      .filter(({ attributes }) => labelsMatch(attributes.selector!, labels))
      .flatMap((service) =>
        service.ports.flatMap((port) => {
          const targetPort = portAt(service, port)
          return targetPort === null ? [] : { service, port, targetPort }
        }),
      )
  }

  private selectingIn(namespace: string): readonly Service[] {
    let selecting = this.selecting.get(namespace)
    if (!selecting) {
      selecting = this.services.all.filter(
        ({ attributes: { registry, namespace: own, selector } }) =>
          registry === 'Kubernetes' && own === namespace && selector !== null && Object.keys(selector).length > 0,
      )
      this.selecting.set(namespace, selecting)
    }
    return selecting
  }

  /** Services of a namespace that select nobody and list the address. */
  private listed(namespace: string, address: string): Target[] {
    return this.at(address).flatMap(({ set, endpoint }) => {
      if (set.namespace !== namespace || endpoint.servicePort !== 0) return []
      return this.targetsOf(set, endpoint, 'Kubernetes')
    })
  }

  private ofEntries(proxy: ScopeSubject): Target[] {
    return this.entriesAt(proxy).flatMap(({ set, endpoint }) => this.targetsOf(set, endpoint, 'External'))
  }

  /** What a ServiceEntry says of the proxy's own workload, in its labels and place; null: there is none. */
  entryEndpoint(proxy: ScopeSubject): Endpoint | null {
    return this.entriesAt(proxy)[0]?.endpoint ?? null
  }

  /** Endpoints of ServiceEntries of the proxy's namespace that list one of its addresses or select what is there. */
  private entriesAt({ ips, namespace }: ScopeSubject): readonly Placed[] {
    return ips.flatMap((ip) =>
      this.at(ip).filter(({ set, endpoint }) => set.namespace === namespace && endpoint.servicePort !== 0),
    )
  }

  private targetsOf(
    { hostname, namespace }: EndpointSet,
    { portName, port: targetPort }: Endpoint,
    registry: Service['attributes']['registry'],
  ): Target[] {
    return (this.services.byHost.get(hostname) ?? []).flatMap((service) => {
      if (service.attributes.namespace !== namespace || service.attributes.registry !== registry) return []
      const port = service.ports.find(({ name }) => name === portName)
      return port ? { service, port, targetPort } : []
    })
  }

  private at(address: string): readonly Placed[] {
    if (!this.byAddress) {
      const index = new Map<string, Placed[]>()
      for (const set of this.endpoints.values()) {
        for (const endpoint of set.endpoints) {
          const list = index.get(endpoint.address)
          if (list) list.push({ set, endpoint })
          else index.set(endpoint.address, [{ set, endpoint }])
        }
      }
      this.byAddress = index
    }
    return this.byAddress.get(address) ?? []
  }
}

interface Placed {
  readonly set: EndpointSet
  readonly endpoint: Endpoint
}

type Target = Omit<ServiceInstance, 'address'>

/** The proxy's pod by its name, else by its first address. */
export function podOf({ ips, name, namespace }: ScopeSubject, workloads: WorkloadIndex): Workload | undefined {
  const own = workloads.byNamespace.get(namespace)?.find((w) => w.kind === 'Pod' && w.name === name)
  if (own) return own
  const found = workloads.byAddress.get(ips[0] ?? '')
  return found?.kind === 'Pod' ? found : undefined
}

/** Of several entries at one address (by namespace, then name) the one with the proxy's name, then of its namespace. */
function chooseEntry(entries: readonly Workload[], { name, namespace }: ScopeSubject): Workload | undefined {
  if (entries.length <= 1) return entries[0]
  const near = entries.filter((entry) => entry.namespace === namespace)
  return near.find((entry) => entry.name === name) ?? near[0] ?? entries[0]
}

/** By the name of the target port or, with a number, of the Service's port; null: an entry without the name asked for. */
function entryPort({ ports }: Workload, service: Service, port: ServicePort): number | null {
  if (service.resolution !== 'ClientSideLB' || port.protocol === 'UDP') return null
  const { targetPortName } = port
  return ownValue(ports, targetPortName || port.name) || (targetPortName ? null : port.targetPort)
}

function podPort({ ports }: Workload, { targetPortName, targetPort }: ServicePort): number | null {
  return targetPortName ? (ownValue(ports, targetPortName) ?? null) : targetPort
}

/** What the proxy tells of its pod's ports; when it tells nothing, a name stands for no port: 0, as in istiod. */
function toldPort(
  podPorts: Readonly<Record<string, number>> | null,
  { targetPortName, targetPort }: ServicePort,
): number | null {
  if (!targetPortName) return targetPort
  return podPorts ? (ownValue(podPorts, targetPortName) ?? null) : 0
}
