// All services, indexed by host and by who may see them.
import { compareText } from './host.ts'
import { type Service, serviceKey } from './service.ts'

/** Immutable; visible lists are computed once per namespace. */
export class ServiceIndex {
  /** Oldest first, then by name, then by namespace. */
  readonly all: readonly Service[]
  readonly byKey: ReadonlyMap<string, Service>
  /** Host to its services, one per namespace, oldest first. */
  readonly byHost: ReadonlyMap<string, readonly Service[]>
  private readonly visible = new Map<string, readonly Service[]>()

  constructor(services: Iterable<Service>) {
    const all = [...services].sort(compareServices)
    const byKey = new Map<string, Service>()
    const byHost = new Map<string, Service[]>()
    for (const service of all) {
      const key = serviceKey(service.hostname, service.attributes.namespace)
      const known = byKey.get(key)
      // A Kubernetes Service's host is its own, however old others of that host are.
      const squatter = known?.attributes.registry === 'External' && service.attributes.registry === 'Kubernetes'
      if (!known || squatter) byKey.set(key, service)
      const same = byHost.get(service.hostname)
      if (same) same.push(service)
      else byHost.set(service.hostname, [service])
    }
    this.all = all
    this.byKey = byKey
    this.byHost = byHost
  }

  /**
   * Services a proxy of `namespace` may see, in Istio's order: those exported to it by name, its own among them, then the
   * public ones.
   */
  visibleIn(namespace: string): readonly Service[] {
    let list = this.visible.get(namespace)
    if (!list) {
      const named: Service[] = []
      const open: Service[] = []
      for (const service of this.all) {
        const { exportTo } = service.attributes
        if (exportTo === 'all') open.push(service)
        else if (exportTo !== 'none' && exportTo.has(namespace)) named.push(service)
      }
      list = [...named, ...open]
      this.visible.set(namespace, list)
    }
    return list
  }
}

/** Istio's order of services: creation time, name, namespace; what is still equal is told apart by its resource. */
export function compareServices(a: Service, b: Service): number {
  return (
    a.creationMs - b.creationMs ||
    compareText(a.attributes.name, b.attributes.name) ||
    compareText(a.attributes.namespace, b.attributes.namespace) ||
    compareText(a.hostname, b.hostname) ||
    compareText(a.attributes.resourceName, b.attributes.resourceName)
  )
}
