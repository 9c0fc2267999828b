// Hosts that the mesh knows: Kubernetes Services and ServiceEntries, with who may see them.

import type { AnalysisContext, Entry } from './context.ts'
import { fqdn, hostMatches, list, record, strings, text } from './fields.ts'

export interface KnownHost {
  readonly host: string
  readonly namespace: string
  readonly entry: Entry
  readonly ports: readonly number[]
  /** Namespaces; `*` everybody, `.` its own, `~` nobody. */
  readonly exportTo: readonly string[]
}

/** Every host of the mesh. */
export function knownHosts(context: AnalysisContext): readonly KnownHost[] {
  const hosts: KnownHost[] = []
  for (const service of context.all('Service')) {
    const exported = service.annotations['networking.istio.io/exportTo']
    hosts.push({
      host: `${service.name}.${service.namespace}.svc.cluster.local`,
      namespace: service.namespace,
      entry: service,
      ports: list(service.spec.ports).map((port) => Number(port.port)),
      exportTo: exported ? exported.split(',').map((part) => part.trim()) : ['*'],
    })
  }
  for (const entry of context.istio('ServiceEntry', 'networking')) {
    const exportTo = strings(entry.spec.exportTo)
    for (const host of strings(entry.spec.hosts)) {
      hosts.push({
        host: fqdn(host, entry.namespace),
        namespace: entry.namespace,
        entry,
        ports: list(entry.spec.ports).map((port) => Number(port.number)),
        exportTo: exportTo.length > 0 ? exportTo : ['*'],
      })
    }
  }
  return hosts
}

export function visibleFrom(host: { exportTo: readonly string[]; namespace: string }, namespace: string): boolean {
  return host.exportTo.some(
    (scope) => scope === '*' || scope === namespace || (scope === '.' && host.namespace === namespace),
  )
}

/** The host that a destination written in `namespace` means for proxies in `viewer`: `reviews`, `reviews.ns`, `reviews.ns.svc`, or a full name. */
export function findHost(
  hosts: readonly KnownHost[],
  destination: string,
  namespace: string,
  viewer = namespace,
): KnownHost | undefined {
  const names = new Set([
    fqdn(destination, namespace),
    `${destination}.svc.cluster.local`,
    `${destination}.cluster.local`,
  ])
  const visible = hosts.filter((known) => visibleFrom(known, viewer))
  return (
    visible.find((known) => names.has(known.host)) ??
    visible.find((known) => [...names].some((name) => hostMatches(known.host, name)))
  )
}

/** A destination of a VirtualService with the path of its field. */
export interface Destination {
  readonly path: string
  readonly host: string
  readonly subset: string
  readonly port: number | null
}

/** Every destination of a VirtualService: routes of all protocols and mirrors. */
export function destinations(virtualService: Entry): readonly Destination[] {
  const found: Destination[] = []
  const take = (value: unknown, path: string) => {
    const destination = record(value)
    const host = text(destination.host)
    const port = record(destination.port).number
    found.push({ path, host, subset: text(destination.subset), port: typeof port === 'number' ? port : null })
  }
  for (const protocol of ['http', 'tcp', 'tls'] as const) {
    for (const [i, route] of list(virtualService.spec[protocol]).entries()) {
      for (const [j, target] of list(route.route).entries()) {
        take(target.destination, `spec.${protocol}[${i}].route[${j}].destination`)
      }
      if (route.mirror !== undefined) take(route.mirror, `spec.${protocol}[${i}].mirror`)
      for (const [j, mirror] of list(route.mirrors).entries())
        take(mirror.destination, `spec.${protocol}[${i}].mirrors[${j}].destination`)
    }
  }
  return found
}
