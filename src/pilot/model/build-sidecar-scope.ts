// Builds sidecar scopes: which services, VirtualServices and DestinationRules a group of proxies may see.
import type {
  Destination,
  HttpMatchRequest,
  IstioEgressListener,
  MeshConfig,
  Sidecar,
  VirtualService,
} from '../../config/index.ts'
import { routeSemantics } from '../gateway-api/names.ts'
import { type DestinationRuleIndex, selectRule } from './destination-rules.ts'
import { hostMatches, hostSubsetOf, resolveHost } from './host.ts'
import { versionOf } from './identity.ts'
import { MergedServices, withAliases, withPorts } from './merged-services.ts'
import { parseProtocol } from './protocol.ts'
import { type Service, serviceKey, visibleTo } from './service.ts'
import { compareServices, type ServiceIndex } from './service-index.ts'
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
    services: readonly Service[],
    kind: 'gateway' | 'sidecar',
  ) {
    this.namespace = namespace
    this.sidecar = sidecar
    this.egressListeners = egressListeners
    this.rules = parts.destinationRules
    this.selectingRules = parts.destinationRules.selecting
    this.services = services
    this.servicesByHost = new Map(services.map((service) => [service.hostname, service]))
    this.hasPassthrough = this.services.some((service) => service.resolution === 'Passthrough')
    this.outboundTrafficPolicy = outboundPolicy(parts, namespace, sidecar)
    this.key = [
      kind,
      namespace,
      versionOf(sidecar),
      versionOf(parts.services),
      versionOf(parts.virtualServices),
      versionOf(parts.destinationRules),
      versionOf(parts.mesh),
    ].join('|')
  }

  destinationRule(
    service: Service,
    clientLabels: Readonly<Record<string, string>> | null,
  ): MergedDestinationRule | null {
    // Rules are for hosts of the scope; that the server itself is of one says nothing.
    const known = this.servicesByHost.get(service.hostname)
    if (!known) return null
    let rules = this.found.get(known)
    if (!rules) this.found.set(known, (rules = this.rules.lookup(known, this.namespace)))
    return selectRule(rules, clientLabels, this.namespace)
  }
}

/** The scope of proxies of `namespace` that `sidecar` applies to; null: no Sidecar resource, everything exported to them. */
export function buildSidecarScope(parts: ScopeParts, namespace: string, sidecar: Sidecar | null): SidecarScope {
  const visible = parts.services.visibleIn(namespace)
  const egress = sidecar?.spec.egress?.length ? sidecar.spec.egress : [{ hosts: ['*/*'] }]
  const listeners = egress.map((listener) => buildListener(parts, listener, namespace, visible))
  const merged = new MergedServices()
  for (const [i, listener] of listeners.entries()) {
    for (const service of listener.services) merged.add(service)
    addDestinations(merged, listener, egress[i]!, parts, namespace)
  }
  return new Scope(parts, namespace, sidecar, listeners, merged.list, 'sidecar')
}

/** The scope of gateways of `namespace`: everything exported to them. */
export function buildGatewayScope(parts: ScopeParts, namespace: string): SidecarScope {
  const merged = new MergedServices()
  for (const service of parts.services.visibleIn(namespace)) merged.add(service)
  const virtualServices = parts.virtualServices.visible(namespace, MESH_GATEWAY)
  const listener: EgressListener = {
    port: null,
    bind: '',
    captureMode: 'DEFAULT',
    services: merged.list,
    virtualServices,
  }
  return new Scope(parts, namespace, null, [listener], merged.list, 'gateway')
}

/**
 * Routes may lead to services that `hosts` does not name: their clusters must exist all the same. Only those ports that
 * routes name, where every one names its port.
 */
function addDestinations(
  merged: MergedServices,
  listener: EgressListener,
  { port }: IstioEgressListener,
  parts: ScopeParts,
  namespace: string,
): void {
  const number = matchedPort(port)
  for (const vs of listener.virtualServices) {
    for (const [host, ports] of destinationPorts(vs, namespace)) {
      const service = bestNamed(parts.services, host, namespace)
      if (!service) continue
      const asked =
        number > 0 ? withPorts(service, new Set([number])) : ports.has(0) ? service : withPorts(service, ports)
      if (asked) merged.add(asked)
    }
  }
}

/** The service that a host means for a namespace: its own, then Kubernetes' one, then the oldest it can see. */
function bestNamed(services: ServiceIndex, host: string, namespace: string): Service | undefined {
  const own = services.byKey.get(serviceKey(host, namespace))
  if (own) return own
  const visible = (services.byHost.get(host) ?? []).filter((s) => visibleTo(s, namespace))
  return visible.find((s) => s.attributes.registry === 'Kubernetes') ?? visible[0]
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

/** `~namespace/host` takes out what other entries bring in; `~/host` means every namespace's. */
function parseFilter(entry: string, namespace: string): HostFilter {
  const exclude = entry.startsWith('~')
  const text = exclude ? entry.slice(1) : entry
  const slash = text.indexOf('/')
  const ns = slash <= 0 ? '*' : text.slice(0, slash)
  return { namespace: ns === '.' ? namespace : ns, host: slash < 0 ? text : text.slice(slash + 1), exclude }
}

function inNamespace(filter: HostFilter, namespace: string): boolean {
  return filter.namespace === '*' || filter.namespace === namespace
}

/** The port that services must have for a listener; 0: any. A generic HTTP proxy listens on a port of its own. */
function matchedPort(port: IstioEgressListener['port']): number {
  return parseProtocol(port?.protocol ?? '') === 'HTTP_PROXY' ? 0 : (port?.number ?? 0)
}

function buildListener(
  parts: ScopeParts,
  listener: IstioEgressListener,
  namespace: string,
  visible: readonly Service[],
): EgressListener {
  const all = listener.hosts.map((h) => parseFilter(h, namespace))
  const filters = all.filter((f) => !f.exclude)
  const excluded = all.filter((f) => f.exclude)
  const isExcluded = (ns: string, host: string) =>
    excluded.some((f) => inNamespace(f, ns) && hostSubsetOf(host, f.host))
  const virtualServices = parts.virtualServices.visible(namespace, MESH_GATEWAY).filter((vs) => {
    // Routes of the Gateway API are imported as services are: a wildcard is not imported by one of its names.
    const matches = routeSemantics(vs) === 'gateway' ? (own: string, h: string) => hostSubsetOf(h, own) : hostMatches
    const ns = vs.metadata.namespace
    return vs.spec.hosts?.some(
      (host) => filters.some((f) => inNamespace(f, ns) && matches(f.host, host)) && !isExcluded(ns, host),
    )
  })
  const port = matchedPort(listener.port)
  const services: Service[] = []
  const owners = new Map<string, Service>()
  for (const service of candidates(parts.services, filters, namespace, visible)) {
    const ns = service.attributes.namespace
    const imports = (host: string) => filters.some((f) => inNamespace(f, ns) && hostSubsetOf(host, f.host))
    if (!imports(service.hostname) || isExcluded(ns, service.hostname)) continue
    const asked = port > 0 ? withPorts(service, new Set([port])) : service
    if (!asked) continue
    services.push(withAliases(asked, imports))
    const owner = owners.get(service.hostname)
    if (!owner || takesHost(service, owner, namespace)) owners.set(service.hostname, service)
  }
  return {
    port: listener.port
      ? { number: listener.port.number ?? 0, protocol: listener.port.protocol ?? '', name: listener.port.name ?? '' }
      : null,
    bind: listener.bind ?? '',
    captureMode: listener.captureMode ?? 'DEFAULT',
    services: services.filter((s) => owners.get(s.hostname)!.attributes.namespace === s.attributes.namespace),
    virtualServices,
  }
}

/** Of one host in several namespaces: the proxy's own, then Kubernetes' service, then the first. */
function takesHost({ attributes: one }: Service, { attributes: owner }: Service, namespace: string): boolean {
  if (one.namespace === namespace) return true
  return owner.registry !== 'Kubernetes' && one.registry === 'Kubernetes' && owner.namespace !== namespace
}

/**
 * Where an egress listener picks its services from. One that names every host and its namespace asks for no other, and
 * gets just one service of each: where several share a host and namespace, Kubernetes' or the oldest.
 */
function candidates(
  index: ServiceIndex,
  filters: readonly HostFilter[],
  namespace: string,
  visible: readonly Service[],
): readonly Service[] {
  if (filters.some((f) => f.namespace === '*' || f.host.startsWith('*'))) return visible
  const named = new Set<Service>()
  for (const filter of filters) {
    const service = index.byKey.get(serviceKey(filter.host, filter.namespace))
    if (service && visibleTo(service, namespace)) named.add(service)
  }
  return [...named].sort(compareServices)
}

const destinations = new WeakMap<VirtualService, Map<string, ReadonlyMap<string, ReadonlySet<number>>>>()

/**
 * Every host that a (resolved) VirtualService may send to from a namespace, with the ports that its routes name; 0 where
 * one names none. A null namespace: from anywhere.
 */
export function destinationPorts(
  vs: VirtualService,
  namespace: string | null,
): ReadonlyMap<string, ReadonlySet<number>> {
  let known = destinations.get(vs)
  if (!known) destinations.set(vs, (known = new Map()))
  const selects = vs.spec.http?.some(({ match }) => match?.some((m) => m.sourceNamespace))
  const key = selects && namespace !== null ? `namespace ${namespace}` : ''
  let hosts = known.get(key)
  if (!hosts) known.set(key, (hosts = collectDestinations(vs, key === '' ? null : namespace)))
  return hosts
}

function collectDestinations(vs: VirtualService, namespace: string | null): ReadonlyMap<string, ReadonlySet<number>> {
  const hosts = new Map<string, Set<number>>()
  const add = (destination: Destination): void => {
    const ports = hosts.get(destination.host)
    if (ports) ports.add(destination.port?.number ?? 0)
    else hosts.set(destination.host, new Set([destination.port?.number ?? 0]))
  }
  for (const http of vs.spec.http ?? []) {
    if (namespace !== null && !forNamespace(http.match ?? [], namespace)) continue
    for (const r of http.route ?? []) add(r.destination)
    if (http.mirror) add(http.mirror)
    for (const m of http.mirrors ?? []) add(m.destination)
  }
  for (const route of [...(vs.spec.tls ?? []), ...(vs.spec.tcp ?? [])]) {
    for (const r of route.route ?? []) add(r.destination)
  }
  return hosts
}

/** Some match names this namespace, or none names one; a match without a namespace does not count beside one with. */
function forNamespace(matches: readonly HttpMatchRequest[], namespace: string): boolean {
  const named = matches.filter((m) => m.sourceNamespace)
  return named.length === 0 || named.some((m) => m.sourceNamespace === namespace)
}
