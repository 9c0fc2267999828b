// The domains of a virtual host: every name under which a client may know the service.
import type { Service } from '../model/service.ts'

/**
 * Domains of a service for a client in `clientDomain` (`ns.svc.cluster.local`), in Istio's order. With `port` set each
 * stands with and without it: a listener that shares one route table for many ports needs both.
 */
export function serviceDomains(service: Service, clientDomain: string, port: number | null): string[] {
  const domains: string[] = []
  for (const host of [service.hostname, ...service.aliases]) domains.push(...hostDomains(host, clientDomain))
  if (service.resolution === 'Passthrough' && service.attributes.registry === 'Kubernetes') {
    domains.push(...domains.map((domain) => `*.${domain}`))
  }
  for (const address of service.addresses) {
    if (!address.includes('/')) domains.push(address.includes(':') ? `[${address}]` : address)
  }
  return port === null ? domains : domains.flatMap((domain) => [domain, `${domain}:${port}`])
}

function hostDomains(host: string, clientDomain: string): string[] {
  const domains = [host]
  // Absolute names end with a dot; clients that resolve them send it.
  if (!host.endsWith('.')) domains.push(`${host}.`)
  if (host.startsWith('*')) return domains
  return [...domains, ...shortNames(host, clientDomain)]
}

/**
 * Short names that resolve for the client: `name` within its namespace, `name.ns` and `name.ns.svc` everywhere in the
 * cluster domain.
 */
function shortNames(host: string, clientDomain: string): string[] {
  const [, svc, ...tail] = clientDomain.split('.')
  if (svc !== 'svc' || tail.length === 0) return []
  const suffix = `.svc.${tail.join('.')}`
  if (!host.endsWith(suffix)) return []
  const nameAndNamespace = host.slice(0, -suffix.length)
  const dot = nameAndNamespace.lastIndexOf('.')
  if (dot < 0) return []
  if (`${nameAndNamespace.slice(dot + 1)}${suffix}` !== clientDomain)
    return [nameAndNamespace, `${nameAndNamespace}.svc`]
  return [nameAndNamespace.slice(0, dot), `${nameAndNamespace}.svc`, nameAndNamespace]
}
