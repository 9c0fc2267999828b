// Hosts that the mesh knows: Kubernetes Services and ServiceEntries, with who may see them.

import type { AnalysisContext, Entry } from './context.ts'
import { fqdn, list, record, strings, text } from './fields.ts'

export interface KnownHost {
  readonly host: string
  readonly namespace: string
  readonly entry: Entry
  readonly ports: readonly number[]
  /** Namespaces; `*` everybody, `.` its own, `~` nobody. Where several hosts bear one name, Services come first. */
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

/**
 * The host that a destination means in rules that are seen from `viewers`: exported to everybody, else to one of them,
 * else under a wildcard. A name with a dot is a full name.
 */
export function findHost(
  hosts: readonly KnownHost[],
  destination: string,
  namespace: string,
  viewers: readonly string[],
): KnownHost | undefined {
  const name = fqdn(destination, namespace)
  const exported = (known: KnownHost, scope: string) =>
    known.exportTo.some((one) => (one === '.' ? known.namespace : one) === scope)
  for (const scope of ['*', ...viewers]) {
    const found = hosts.find((known) => known.host === name && exported(known, scope))
    if (found) return found
  }
  const ending = destination.replace(/^\*/, '')
  return hosts.find(
    (known) =>
      known.host.startsWith('*') &&
      ending.endsWith(known.host.slice(1)) &&
      (exported(known, '*') || exported(known, namespace)),
  )
}

/** Namespaces whose proxies use a VirtualService or DestinationRule: its own, or those it is exported to. */
export function viewers(rule: Entry): readonly string[] {
  const scopes = strings(rule.spec.exportTo)
  if (scopes.length === 0) return [rule.namespace]
  return scopes.map((scope) => (scope === '.' ? rule.namespace : scope))
}

/** A destination of a VirtualService with the path of its field. */
export interface Destination {
  readonly path: string
  readonly host: string
  readonly subset: string
  readonly port: number | null
  /** A copy of the traffic, not the traffic. */
  readonly mirror: boolean
}

/** Every destination of a VirtualService: routes of all protocols and mirrors. */
export function destinations(virtualService: Entry): readonly Destination[] {
  const found: Destination[] = []
  const take = (value: unknown, path: string, mirror = false) => {
    const destination = record(value)
    const host = text(destination.host)
    const port = record(destination.port).number
    found.push({ path, host, subset: text(destination.subset), port: typeof port === 'number' ? port : null, mirror })
  }
  for (const protocol of ['http', 'tcp', 'tls'] as const) {
    for (const [i, route] of list(virtualService.spec[protocol]).entries()) {
      for (const [j, target] of list(route.route).entries()) {
        take(target.destination, `spec.${protocol}[${i}].route[${j}].destination`)
      }
      if (route.mirror !== undefined) take(route.mirror, `spec.${protocol}[${i}].mirror`, true)
      for (const [j, mirror] of list(route.mirrors).entries())
        take(mirror.destination, `spec.${protocol}[${i}].mirrors[${j}].destination`, true)
    }
  }
  return found
}
