// Route configurations of a sidecar's outbound listeners.
import { create } from '@bufbuild/protobuf'
import {
  type Route,
  RouteSchema,
  type VirtualHost,
  VirtualHostSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { VirtualService } from '../../config/index.ts'
import { routeSemantics } from '../gateway-api/names.ts'
import { destinationPorts } from '../model/build-sidecar-scope.ts'
import { compareHosts, compareText, hostMatches, hostSubsetOf } from '../model/host.ts'
import { versionOf } from '../model/identity.ts'
import { Memo } from '../model/memo.ts'
import type { ProxyNode } from '../model/node.ts'
import { isHttp, type Protocol } from '../model/protocol.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Remark } from '../model/remarks.ts'
import type { Service, ServicePort } from '../model/service.ts'
import { addressesFor, primaryAddress } from '../model/service-addresses.ts'
import type { EgressListener, SidecarScope } from '../model/sidecar-scope.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import { durationOf } from '../xds/messages.ts'
import { destinationClusterName, outboundClusterName } from '../xds/names.ts'
import { catchAll, MAX_DIRECT_RESPONSE_BYTES } from './catch-all.ts'
import { type DomainForm, type Domains, domainsOf, freeDomains, servedDomains, withPorts } from './domains.ts'
import { hashPolicyFor } from './hash-policy.ts'
import { outboundRetryPolicy } from './retry.ts'
import type { Destinations } from './route-action.ts'
import { virtualServiceRoutes } from './virtual-service.ts'

const ZERO = durationOf(0)
const MESH_ONLY: ReadonlySet<string> = new Set([MESH_GATEWAY])
/** The route table of the HTTP proxy port holds all ports. */
const ALL_PORTS = 0

/** Everything that one route configuration is made from. */
interface RouteTable {
  readonly push: PushContext
  readonly scope: SidecarScope
  readonly proxy: Pick<ProxyNode, 'labels' | 'namespace' | 'dnsDomain' | 'ips' | 'metadata' | 'generator'>
  readonly egress: EgressListener
  /** {@link ALL_PORTS} or the listener's port. */
  readonly port: number
  /** Requests whose URI is rewritten carry x-forwarded-host: ProxyConfig.proxyHeaders. */
  readonly forwardsHost: boolean
  /** Services that have the port, by host. */
  readonly services: ReadonlyMap<string, TableService>
  /** What beside the objects themselves decides routes: equal for tables that may share them. */
  readonly variant: string
}

interface TableService {
  readonly service: Service
  /** The ports that count here. */
  readonly ports: readonly ServicePort[]
}

/** Virtual hosts that share their routes. */
interface Wrapper {
  readonly port: number
  readonly services: readonly Service[]
  /** Hosts of a VirtualService that no service has. */
  readonly hosts: readonly string[]
  readonly routes: Route[]
}

/** `name`: a port, `host:port` of a sniffed service, `http_proxy`, or the path of a Unix socket. */
export function outboundRouteConfiguration(
  name: string,
  proxy: ProxyNode,
  push: PushContext,
  remarks: Remark[],
): RouteConfiguration {
  const colon = name.lastIndexOf(':')
  const sniffed = colon > 0 && !name.startsWith('unix://')
  const port = sniffed ? Number(name.slice(colon + 1)) : /^\d+$/.test(name) ? Number(name) : ALL_PORTS
  const scope = push.sidecarScope(proxy)
  const config = create(RouteConfigurationSchema, {
    name,
    validateClusters: false,
    maxDirectResponseBodySizeBytes: MAX_DIRECT_RESPONSE_BYTES,
    ignorePortInHostMatching: true,
  })
  const egress = egressListenerFor(scope, name, port)
  const hosts = egress ? virtualHosts(tableOf(push, scope, proxy, egress, port), remarks) : []
  if (sniffed) {
    const own = hosts.filter((host) => host.name === name)
    if (own.length > 0) config.virtualHosts = own.map((host) => ({ ...host, domains: ['*'] }))
    return config
  }
  hosts.sort((a, b) => compareText(a.name, b.name))
  config.virtualHosts = [...hosts, catchAll(scope, proxyConfigOf(proxy, push.mesh))]
  return config
}

/**
 * The virtual hosts of a port for a client that compares its names with their port, in the order in which they came: each
 * domain stands without a port and with it.
 */
export function outboundVirtualHosts(port: number, proxy: ProxyNode, push: PushContext): VirtualHost[] {
  const scope = push.sidecarScope(proxy)
  const egress = egressListenerFor(scope, String(port), port)
  return egress ? virtualHosts(tableOf(push, scope, proxy, egress, port), []) : []
}

/** The egress listener that asked for the table: the one with the port, else the one for every port. */
function egressListenerFor(scope: SidecarScope, name: string, port: number): EgressListener | null {
  for (const listener of scope.egressListeners) {
    if (!listener.port) continue
    if (port === ALL_PORTS ? listener.bind === name : listener.port.number === port) return listener
  }
  return scope.egressListeners.find((listener) => !listener.port) ?? null
}

function tableOf(
  push: PushContext,
  scope: SidecarScope,
  proxy: ProxyNode,
  egress: EgressListener,
  port: number,
): RouteTable {
  const tablePort = egress.port?.protocol.toUpperCase() === 'HTTP_PROXY' ? ALL_PORTS : port
  const services = new Map<string, TableService>()
  for (const service of egress.services) {
    // A listener's services of one host are of one namespace; of those with the port the youngest has the routes.
    const found = tableService(service, tablePort)
    if (found.ports.length > 0) services.set(service.hostname, found)
  }
  const forwardsHost = proxyConfigOf(proxy, push.mesh).proxyHeaders?.xForwardedHost?.enabled === true
  const labelled = push.virtualServices.selectsSources || scope.selectingRules
  const variant = [
    tablePort,
    egress.port ? 'listener' : '',
    proxy.namespace,
    versionOf(push.mesh),
    versionOf(scope.sidecar),
    forwardsHost,
    proxy.generator,
    ...(labelled ? Object.entries(proxy.labels).sort().flat() : []),
  ].join('|')
  return { push, scope, proxy, egress, port: tablePort, services, forwardsHost, variant }
}

const tableServices = new Memo<Service, TableService>()

/** The same object for the same service and port, so that what was made from it is found again. */
function tableService(service: Service, port: number): TableService {
  return tableServices.get(service, `${port}`, NOTHING, () => ({
    service,
    ports: port === ALL_PORTS ? service.ports : service.ports.filter((p) => p.port === port),
  }))
}

function virtualHosts(table: RouteTable, remarks: Remark[]): VirtualHost[] {
  const wrappers = wrap(table)
  const form = formOf(table)
  const known = new Set<string>()
  for (const { services, port } of wrappers) {
    for (const { hostname } of services) {
      known.add(hostname)
      if (form !== 'plain') known.add(`${hostname}:${port}`)
    }
  }
  const names = new Set<string>()
  const domainsTaken = new Set<string>()
  const hosts: VirtualHost[] = []
  const { dnsDomain } = table.proxy
  const served = (service: Service, port: number) =>
    servedDomains(service, dnsDomain, port, form, addressDomains(table, service))
  const add = (wrapper: Wrapper, host: string, wanted: Domains): void => {
    const { name } = wanted
    const twice = (): void => {
      remarks.push({ metric: 'pilot_vservice_dup_domain', key: name, message: `duplicate domain: ${name}` })
    }
    if (names.has(name)) {
      twice()
      return
    }
    names.add(name)
    const domains = freeDomains(wanted, host, domainsTaken, known)
    if (domains.length < wanted.all.length) twice()
    if (domains.length === 0) return
    const { routes } = wrapper
    hosts.push(
      hostMemo.get(routes, name, domains, () =>
        create(VirtualHostSchema, { name, domains: [...domains], routes, includeRequestAttemptCount: true }),
      ),
    )
  }
  for (const wrapper of wrappers) {
    if (table.port !== ALL_PORTS && wrapper.port !== table.port) continue
    // A host that no service has is known without a port only, which in the table of all ports means port 80.
    const nameable = table.port === ALL_PORTS && wrapper.port !== 80 ? [] : wrapper.hosts
    for (const host of nameable) {
      const all = form === 'both' ? withPorts([host], wrapper.port, form) : [host]
      add(wrapper, host, domainsOf(`${host}:${wrapper.port}`, all))
    }
    for (const service of wrapper.services) add(wrapper, service.hostname, served(service, wrapper.port))
  }
  return hosts
}

/** gRPC clients compare a name with the port that they were given. */
function formOf({ port, proxy }: RouteTable): DomainForm {
  if (proxy.generator === 'grpc') return 'both'
  return port === ALL_PORTS ? 'own-port' : 'plain'
}

/** The addresses that clients may name instead of the host: in a port's own table just one of a ServiceEntry's. */
function addressDomains({ port, proxy }: RouteTable, service: Service): readonly string[] {
  if (port === ALL_PORTS || service.attributes.registry === 'Kubernetes') return addressesFor(service, proxy)
  const primary = primaryAddress(service, proxy)
  return primary === null ? [] : [primary]
}

function wrap(table: RouteTable): Wrapper[] {
  const { port } = table
  const wrappers: Wrapper[] = []
  const served = new Set<string>()
  const hosts = new Set<string>()
  for (const vs of relevant(table)) {
    for (const wrapper of wrapVirtualService(table, vs)) {
      wrappers.push(wrapper)
      for (const service of wrapper.services) served.add(service.hostname)
    }
  }
  for (const { service, ports } of table.services.values()) {
    if (served.has(service.hostname) || service.resolution === 'Alias') continue
    for (const servicePort of ports) {
      if (!takesRoutes(servicePort.protocol)) continue
      // Hosts that differ in case are one service, of which the first counts.
      const host = `${service.hostname.toLowerCase()}:${servicePort.port}`
      if (hosts.has(host)) continue
      hosts.add(host)
      wrappers.push({
        port: servicePort.port,
        services: [service],
        hosts: [],
        routes: defaultRoutes(table, service, servicePort.port),
      })
    }
  }
  return port === ALL_PORTS ? wrappers : wrappers.filter((wrapper) => wrapper.port === port)
}

const NOTHING: readonly unknown[] = []
/** Routes and virtual hosts are kept from one push to the next: a change costs what it touches, not the whole table. */
const defaultMemo = new Memo<Service, Route[]>()
const routeMemo = new Memo<VirtualService, Route[]>()
const wrapperMemo = new Memo<VirtualService, readonly Wrapper[]>()
const hostMemo = new Memo<Route[], VirtualHost>()

function defaultRoutes({ push, scope, proxy, variant }: RouteTable, service: Service, port: number): Route[] {
  const rule = scope.destinationRule(service, proxy.labels)
  return defaultMemo.get(service, `${port}|${variant}`, [rule?.rule], () => [
    defaultRoute(push, scope, service, port, proxy.labels),
  ])
}

/** Every object beside the VirtualService itself that decides its routes. */
function routeInputs({ scope, proxy, services }: RouteTable, vs: VirtualService): unknown[] {
  const inputs: unknown[] = []
  for (const host of destinationPorts(vs, null).keys()) {
    const service = scope.servicesByHost.get(host)
    const rule = service && scope.destinationRule(service, proxy.labels)
    inputs.push(services.get(host), service, rule?.rule)
  }
  return inputs
}

function takesRoutes(protocol: Protocol): boolean {
  return isHttp(protocol) || protocol === 'Unsupported'
}

/** VirtualServices of the table: on port 80 all, since clients may ask for hosts that only a VirtualService knows. */
function relevant({ egress, port, services }: RouteTable): readonly VirtualService[] {
  if (port === 80) return egress.virtualServices
  const wildcards = [...services.keys()].filter((name) => name.startsWith('*'))
  return egress.virtualServices.filter((vs) => {
    for (const host of vs.spec.hosts ?? []) {
      if (services.has(host)) return true
      const names = host.startsWith('*') ? services.keys() : wildcards
      for (const name of names) if (hostMatches(host, name)) return true
    }
    return false
  })
}

function wrapVirtualService(table: RouteTable, vs: VirtualService): readonly Wrapper[] {
  const inputs = routeInputs(table, vs)
  const routes = routeMemo.get(vs, table.variant, inputs, () =>
    virtualServiceRoutes(vs, {
      subject: { labels: table.proxy.labels, namespace: table.proxy.namespace, gateways: MESH_ONLY, port: table.port },
      destinations: destinationsOf(table),
      forwardsHost: table.forwardsHost,
      proxyless: table.proxy.generator === 'grpc',
      tls: false,
    }),
  )
  const hosts = vs.spec.hosts ?? []
  // Which services a wildcard stands for, any service of the table may change.
  if (hosts.some((host) => host.startsWith('*'))) return wrappersOf(table, vs, routes)
  const served = hosts.map((host) => table.services.get(host))
  return wrapperMemo.get(vs, table.variant, [routes, ...served], () => wrappersOf(table, vs, routes))
}

function wrappersOf(table: RouteTable, vs: VirtualService, routes: Route[]): Wrapper[] {
  if (routes.length === 0) return []
  const { hosts, services } = split(table, vs)
  // A route of the Gateway API speaks for services of its namespace, and of others to clients in its namespace.
  const { namespace } = vs.metadata
  const speaks = ({ service }: TableService) =>
    service.attributes.namespace === namespace || table.proxy.namespace === namespace
  if (routeSemantics(vs) === 'gateway' && !services.some(speaks)) return []
  const byPort = new Map<number, Service[]>()
  for (const { service, ports } of services) {
    for (const { port, protocol } of ports) {
      if (!takesRoutes(protocol)) continue
      const list = byPort.get(port)
      if (list) list.push(service)
      else byPort.set(port, [service])
    }
  }
  // A host that no service has is served on port 80.
  if (byPort.size === 0 && table.port === 80) byPort.set(table.port, [])
  return [...byPort].map(([port, list]) => ({ port, services: list, hosts, routes }))
}

/** The hosts of a VirtualService: services it speaks for, and names of its own. */
function split(table: RouteTable, vs: VirtualService): { hosts: string[]; services: TableService[] } {
  const hosts: string[] = []
  const services: TableService[] = []
  for (const host of vs.spec.hosts ?? []) {
    if (!host.startsWith('*')) {
      const found = table.services.get(host)
      if (found) services.push(found)
      else hosts.push(host)
      continue
    }
    // A wildcard of the Gateway API is a host of its own; Istio's stands for the services that it matches.
    let any = false
    for (const found of routeSemantics(vs) === 'gateway' ? [] : table.services.values()) {
      if (!hostMatches(found.service.hostname, host)) continue
      any = true
      if (ownerOf(table, found.service.hostname) === vs) services.push(found)
    }
    if (!any) hosts.push(host)
  }
  return { hosts, services }
}

const owners = new WeakMap<readonly VirtualService[], Map<string, VirtualService | null>>()

/** Of several VirtualServices for one service, the one with the most specific host speaks for it; the oldest of equals. */
function ownerOf({ egress }: RouteTable, hostname: string): VirtualService | null {
  let memo = owners.get(egress.virtualServices)
  if (!memo) owners.set(egress.virtualServices, (memo = new Map()))
  let owner = memo.get(hostname)
  if (owner === undefined) memo.set(hostname, (owner = findOwner(egress.virtualServices, hostname)))
  return owner
}

function findOwner(virtualServices: readonly VirtualService[], hostname: string): VirtualService | null {
  let best: { host: string; vs: VirtualService } | null = null
  for (const vs of virtualServices) {
    for (const host of vs.spec.hosts ?? []) {
      if (!hostSubsetOf(hostname, host)) continue
      if (!best || compareHosts(host, best.host) < 0) best = { host, vs }
    }
  }
  return best?.vs ?? null
}

function destinationsOf({ push, scope, proxy, port, services }: RouteTable): Destinations {
  const portOf = (host: string, asked: number | undefined): number => {
    if (asked) return asked
    const ports = services.get(host)?.ports
    return ports?.length === 1 ? ports[0]!.port : port
  }
  return {
    mesh: push.mesh,
    cluster: ({ host, subset, port: asked }) =>
      destinationClusterName(
        portOf(host, asked?.number),
        subset,
        host,
        services.get(host)?.service.attributes.externalName,
      ),
    hashPolicy: ({ host, subset, port: asked }) =>
      hashPolicyFor(scope, scope.servicesByHost.get(host), asked?.number ?? 0, subset ?? '', proxy.labels),
  }
}

/** The route of a service that no VirtualService speaks for. */
function defaultRoute(
  push: PushContext,
  scope: SidecarScope,
  service: Service,
  port: number,
  labels: Readonly<Record<string, string>>,
): Route {
  const hash = hashPolicyFor(scope, service, port, '', labels)
  return create(RouteSchema, {
    name: 'default',
    match: { pathSpecifier: { case: 'prefix', value: '/' } },
    decorator: { operation: `${service.hostname}:${port}/*` },
    action: {
      case: 'route',
      value: {
        clusterSpecifier: { case: 'cluster', value: outboundClusterName(port, '', service.hostname) },
        timeout: ZERO,
        maxGrpcTimeout: ZERO,
        retryPolicy: outboundRetryPolicy(push.mesh, undefined, false),
        hashPolicy: hash ? [hash] : [],
      },
    },
  })
}
