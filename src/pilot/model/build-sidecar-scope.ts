// Builds sidecar scopes: which services, VirtualServices and DestinationRules a group of proxies may see.
import type { IstioEgressListener, MeshConfig, Sidecar, VirtualService } from '../../config/index.ts'
import { type DestinationRuleIndex, selectRule } from './destination-rules.ts'
import { hostMatches, hostSubsetOf, resolveHost } from './host.ts'
import { versionOf } from './identity.ts'
import type { Service } from './service.ts'
import type { ServiceIndex } from './service-index.ts'
import type { EgressListener, EgressProxy, MergedDestinationRule, SidecarScope } from './sidecar-scope.ts'
import { MESH_GATEWAY, type VirtualServiceIndex } from './virtual-service.ts'

/** What scopes are made of. */
export interface ScopeParts {
  readonly mesh: MeshConfig
  readonly domain: string
  readonly services: ServiceIndex
  readonly virtualServices: VirtualServiceIndex
  readonly destinationRules: DestinationRuleIndex
}

class Scope implements SidecarScope {
  readonly key: string
  readonly namespace: string
  readonly sidecar: Sidecar | null
  readonly egressListeners: readonly EgressListener[]
  readonly services: readonly Service[]
  readonly servicesByHost: ReadonlyMap<string, Service>
  readonly outboundTrafficPolicy: SidecarScope['outboundTrafficPolicy']
  readonly selectingRules: boolean
  readonly hasPassthrough: boolean
  private readonly rules: DestinationRuleIndex
  private readonly found = new Map<Service, readonly MergedDestinationRule[]>()

  constructor(
    parts: ScopeParts,
    namespace: string,
    sidecar: Sidecar | null,
    egressListeners: readonly EgressListener[],
  ) {
    this.namespace = namespace
    this.sidecar = sidecar
    this.egressListeners = egressListeners
    this.rules = parts.destinationRules
    this.selectingRules = parts.destinationRules.selecting
    const services = new Set<Service>()
    const byHost = new Map<string, Service>()
    for (const listener of egressListeners) {
      for (const service of listener.services) {
        services.add(service)
        const known = byHost.get(service.hostname)
        // Of one host in several namespaces, the proxy's own namespace wins, then the older service.
        if (!known || (known.attributes.namespace !== namespace && service.attributes.namespace === namespace)) {
          byHost.set(service.hostname, service)
        }
      }
    }
    this.services = [...services]
    this.servicesByHost = byHost
    this.hasPassthrough = this.services.some((service) => service.resolution === 'Passthrough')
    this.outboundTrafficPolicy = outboundPolicy(parts, namespace, sidecar)
    this.key = [
      namespace,
      versionOf(sidecar),
      versionOf(parts.services),
      versionOf(parts.virtualServices),
      versionOf(parts.destinationRules),
      versionOf(parts.mesh),
    ].join('|')
  }

  destinationRule(service: Service, clientLabels: Readonly<Record<string, string>>): MergedDestinationRule | null {
    let rules = this.found.get(service)
    if (!rules) this.found.set(service, (rules = this.rules.lookup(service, this.namespace)))
    return selectRule(rules, clientLabels)
  }
}

/** The scope of proxies of `namespace` that `sidecar` applies to; null: no Sidecar resource, everything exported to them. */
export function buildSidecarScope(parts: ScopeParts, namespace: string, sidecar: Sidecar | null): SidecarScope {
  const services = parts.services.visibleIn(namespace)
  const virtualServices = parts.virtualServices.visible(namespace, MESH_GATEWAY)
  const egress = sidecar?.spec.egress?.length ? sidecar.spec.egress : null
  if (!egress) {
    const everything: EgressListener = { port: null, bind: '', captureMode: 'DEFAULT', services, virtualServices }
    return new Scope(parts, namespace, sidecar, [everything])
  }
  return new Scope(
    parts,
    namespace,
    sidecar,
    egress.map((listener) => buildListener(listener, namespace, services, virtualServices)),
  )
}

function outboundPolicy(
  parts: ScopeParts,
  namespace: string,
  sidecar: Sidecar | null,
): SidecarScope['outboundTrafficPolicy'] {
  const own = sidecar?.spec.outboundTrafficPolicy
  if (!own) return { mode: parts.mesh.outboundTrafficPolicy.mode ?? 'ALLOW_ANY', egressProxy: null }
  const proxy = own.egressProxy
  const egressProxy: EgressProxy | null = proxy
    ? {
        host: resolveHost(proxy.host, namespace, parts.domain),
        subset: proxy.subset ?? '',
        port: proxy.port?.number ?? 0,
      }
    : null
  // The API's zero value: a policy without a mode means REGISTRY_ONLY.
  return { mode: own.mode ?? 'REGISTRY_ONLY', egressProxy }
}

/** One entry of `hosts`: `namespace/dnsName`, resolved for the proxy's namespace. */
interface HostFilter {
  readonly namespace: string
  readonly host: string
  readonly exclude: boolean
}

function parseFilter(entry: string, namespace: string): HostFilter {
  const exclude = entry.startsWith('!')
  const text = exclude ? entry.slice(1) : entry
  const slash = text.indexOf('/')
  const ns = slash < 0 ? '*' : text.slice(0, slash)
  return { namespace: ns === '.' ? namespace : ns, host: slash < 0 ? text : text.slice(slash + 1), exclude }
}

function inNamespace(filter: HostFilter, namespace: string): boolean {
  return filter.namespace === '*' || filter.namespace === namespace
}

function buildListener(
  listener: IstioEgressListener,
  namespace: string,
  services: readonly Service[],
  virtualServices: readonly VirtualService[],
): EgressListener {
  const all = listener.hosts.map((h) => parseFilter(h, namespace)).filter((f) => f.namespace !== '~')
  const filters = all.filter((f) => !f.exclude)
  const excluded = all.filter((f) => f.exclude)
  const imported = virtualServices.filter((vs) =>
    filters.some(
      (f) => inNamespace(f, vs.metadata.namespace) && vs.spec.hosts?.some((host) => hostMatches(f.host, host)),
    ),
  )
  const portNumber = listener.port?.number ?? 0
  const chosen = new Set<Service>()
  for (const service of services) {
    const ns = service.attributes.namespace
    const wanted =
      filters.some((f) => inNamespace(f, ns) && hostSubsetOf(service.hostname, f.host)) &&
      !excluded.some((f) => inNamespace(f, ns) && hostSubsetOf(service.hostname, f.host))
    if (!wanted) continue
    if (portNumber === 0 || service.ports.some((p) => p.port === portNumber)) chosen.add(service)
  }
  // Routes may lead to services that `hosts` does not name: their clusters must exist all the same.
  const byHost = new Map(services.map((s) => [s.hostname, s]))
  const names = new Set([...chosen].map((s) => s.hostname))
  for (const vs of imported) {
    for (const host of destinationHosts(vs)) {
      const service = byHost.get(host)
      if (service && !names.has(host) && portNumber === 0) chosen.add(service)
    }
  }
  return {
    port: listener.port
      ? { number: portNumber, protocol: listener.port.protocol ?? '', name: listener.port.name ?? '' }
      : null,
    bind: listener.bind ?? '',
    captureMode: listener.captureMode ?? 'DEFAULT',
    services: services.filter((s) => chosen.has(s)),
    virtualServices: imported,
  }
}

const destinations = new WeakMap<VirtualService, ReadonlySet<string>>()

/** Every host that a (resolved) VirtualService may send to. */
export function destinationHosts(vs: VirtualService): ReadonlySet<string> {
  let hosts = destinations.get(vs)
  if (!hosts) destinations.set(vs, (hosts = collectDestinations(vs)))
  return hosts
}

function collectDestinations(vs: VirtualService): ReadonlySet<string> {
  const hosts = new Set<string>()
  for (const http of vs.spec.http ?? []) {
    for (const r of http.route ?? []) hosts.add(r.destination.host)
    if (http.mirror) hosts.add(http.mirror.host)
    for (const m of http.mirrors ?? []) hosts.add(m.destination.host)
  }
  for (const route of [...(vs.spec.tls ?? []), ...(vs.spec.tcp ?? [])]) {
    for (const r of route.route ?? []) hosts.add(r.destination.host)
  }
  return hosts
}
