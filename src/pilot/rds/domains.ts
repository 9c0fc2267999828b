// The domains of a virtual host: every name under which a client may know the service.
import { Memo } from '../model/memo.ts'
import type { Service } from '../model/service.ts'

/**
 * With which ports the domains of a table stand: with none (Envoy leaves ports aside there), with their own, where many
 * ports share the table, or in both forms, for clients that compare what they have.
 */
export type DomainForm = 'plain' | 'own-port' | 'both'

/** Domains of a service for a client in `clientDomain` (`ns.svc.cluster.local`), in Istio's order. */
function serviceDomains(
  service: Service,
  clientDomain: string,
  port: number,
  form: DomainForm,
  addresses: readonly string[],
): string[] {
  const domains: string[] = []
  for (const host of [service.hostname, ...service.aliases]) domains.push(...hostDomains(host, clientDomain))
  if (service.resolution === 'Passthrough' && service.attributes.registry === 'Kubernetes') {
    domains.push(...domains.map((domain) => `*.${domain}`))
  }
  for (const address of addresses) domains.push(address.includes(':') ? `[${address}]` : address)
  return withPorts(domains, port, form)
}

export function withPorts(domains: string[], port: number, form: DomainForm): string[] {
  if (form === 'plain') return domains
  // Without a port a client means port 80.
  return form === 'both' || port === 80
    ? domains.flatMap((domain) => [domain, `${domain}:${port}`])
    : domains.map((domain) => `${domain}:${port}`)
}

/** The names under which a host is known to a client in `clientDomain`, itself first. */
export function hostDomains(host: string, clientDomain: string): string[] {
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
  const dot = nameAndNamespace.indexOf('.')
  if (dot < 0) return []
  if (`${nameAndNamespace.slice(dot + 1)}${suffix}` !== clientDomain)
    return [nameAndNamespace, `${nameAndNamespace}.svc`]
  return [nameAndNamespace.slice(0, dot), `${nameAndNamespace}.svc`, nameAndNamespace]
}

/** The name of a virtual host, and the domains it would like to have. */
export interface Domains {
  readonly name: string
  readonly all: readonly string[]
  readonly lower: readonly string[]
}

export function domainsOf(name: string, all: readonly string[]): Domains {
  return { name, all, lower: all.map((domain) => domain.toLowerCase()) }
}

const memo = new Memo<Service, Domains>()

/** Name and domains of a service's virtual host in a table. */
export function servedDomains(
  service: Service,
  clientDomain: string,
  port: number,
  form: DomainForm,
  addresses: readonly string[],
): Domains {
  return memo.get(service, `${port}|${form}|${clientDomain}|${addresses}`, [], () =>
    domainsOf(`${service.hostname}:${port}`, serviceDomains(service, clientDomain, port, form, addresses)),
  )
}

/** A domain stands once in a table, whatever its case; a short name never hides the full name of another service. */
export function freeDomains(
  { all, lower }: Domains,
  own: string,
  taken: Set<string>,
  known: ReadonlySet<string>,
): readonly string[] {
  let free: string[] | null = null
  for (let i = 0; i < all.length; i++) {
    const domain = all[i]!
    const hidden = taken.has(lower[i]!) || (domain !== own && known.has(domain) && !domain.startsWith(`${own}:`))
    if (hidden) free ??= all.slice(0, i)
    else {
      taken.add(lower[i]!)
      free?.push(domain)
    }
  }
  return free ?? all
}
