// Services as one scope sees them: with some of their ports or aliases only, and those of one host as one.
import { isDeepStrictEqual } from 'node:util'
import type { Service, ServicePort } from './service.ts'

// The same part of the same service is the same object again, so that nothing is made anew for it.
const parts = new WeakMap<Service, Map<string, Service>>()

function partOf(service: Service, key: string, make: () => Service): Service {
  let known = parts.get(service)
  if (!known) parts.set(service, (known = new Map()))
  let part = known.get(key)
  if (!part) known.set(key, (part = make()))
  return part
}

/** The service with only these ports; null when it has none of them. */
export function withPorts(service: Service, numbers: ReadonlySet<number>): Service | null {
  const ports = service.ports.filter(({ port }) => numbers.has(port))
  if (ports.length === service.ports.length) return service
  if (ports.length === 0) return null
  return partOf(service, `ports ${ports.map(({ port }) => port)}`, () => ({ ...service, ports }))
}

/** The service with only those aliases that are imported. */
export function withAliases(service: Service, imports: (host: string) => boolean): Service {
  const aliases = service.aliases.filter(imports)
  if (aliases.length === service.aliases.length) return service
  return partOf(service, `aliases ${aliases}`, () => ({ ...service, aliases }))
}

const merges = new WeakMap<Service, WeakMap<Service, Service>>()

function merge(first: Service, second: Service): Service {
  let known = merges.get(first)
  if (!known) merges.set(first, (known = new WeakMap()))
  let both = known.get(second)
  if (!both) {
    const more = second.ports.filter(({ port }) => !first.ports.some((own) => own.port === port))
    known.set(second, (both = { ...first, ports: [...first.ports, ...more] }))
  }
  return both
}

/** Each host once: Kubernetes' service before others, then the first, with the ports of those that are like it. */
export class MergedServices {
  private readonly byHost = new Map<string, Service>()

  /** In the order in which hosts came. */
  get list(): readonly Service[] {
    return [...this.byHost.values()]
  }

  add(service: Service): void {
    const known = this.byHost.get(service.hostname)
    if (!known) this.byHost.set(service.hostname, service)
    else if (known !== service) {
      const kubernetes = (s: Service): boolean => s.attributes.registry === 'Kubernetes'
      if (kubernetes(known) && !kubernetes(service)) return
      if (!kubernetes(known) && kubernetes(service)) this.byHost.set(service.hostname, service)
      else if (!samePorts(known.ports, service.ports) && alike(known, service)) {
        this.byHost.set(service.hostname, merge(known, service))
      }
    }
  }
}

function samePorts(a: readonly ServicePort[], b: readonly ServicePort[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, port, protocol }, i) => b[i]!.name === name && b[i]!.port === port && b[i]!.protocol === protocol)
  )
}

function alike(a: Service, b: Service): boolean {
  const { attributes: one } = a
  const { attributes: other } = b
  return (
    one.namespace === other.namespace &&
    a.resolution === b.resolution &&
    one.registry === other.registry &&
    isDeepStrictEqual(one.labels, other.labels) &&
    isDeepStrictEqual(one.selector, other.selector) &&
    one.writtenExportTo === other.writtenExportTo
  )
}
