// ExternalName Services as other names of the services that they point at.
import { compareText } from '../model/host.ts'
import type { Service } from '../model/service.ts'

/**
 * Which ExternalName Services mean a host, through others of their kind where they point at such, by namespace and name.
 * A ring of them means nothing, as in DNS.
 */
export function aliasesByTarget(services: Iterable<Service>): Map<string, readonly string[]> {
  const targets = new Map<string, string>()
  const all: Service[] = []
  for (const service of services) {
    if (service.resolution !== 'Alias') continue
    targets.set(service.hostname, service.attributes.externalName)
    all.push(service)
  }
  const order = (a: Service, b: Service): number =>
    compareText(a.attributes.namespace, b.attributes.namespace) || compareText(a.hostname, b.hostname)
  const out = new Map<string, string[]>()
  for (const { hostname } of all.sort(order)) {
    const seen = new Set([hostname])
    let target = targets.get(hostname)!
    for (let next = targets.get(target); next !== undefined && !seen.has(target); next = targets.get(target)) {
      seen.add(target)
      target = next
    }
    if (targets.has(target)) continue
    const list = out.get(target)
    if (list) list.push(hostname)
    else out.set(target, [hostname])
  }
  return out
}
