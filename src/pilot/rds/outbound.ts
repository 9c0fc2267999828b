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
import { destinationHosts } from '../model/build-sidecar-scope.ts'
import { compareHosts, compareText, hostMatches, hostSubsetOf } from '../model/host.ts'
import { versionOf } from '../model/identity.ts'
import { Memo } from '../model/memo.ts'
import type { ProxyNode } from '../model/node.ts'
import { isHttp, type Protocol } from '../model/protocol.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Service, ServicePort } from '../model/service.ts'
import type { EgressListener, SidecarScope } from '../model/sidecar-scope.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import { durationOf } from '../xds/messages.ts'
import { outboundClusterName, PASSTHROUGH_CLUSTER } from '../xds/names.ts'
import { serviceDomains } from './domains.ts'
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
  readonly proxy: Pick<ProxyNode, 'labels' | 'namespace' | 'dnsDomain'>
  readonly egress: EgressListener
  /** {@link ALL_PORTS} or the listener's port. */
  readonly port: number
  /** Services that have the port, by host. */
  readonly services: ReadonlyMap<string, TableService>
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
export function outboundRouteConfiguration(name: string, proxy: ProxyNode, push: PushContext): RouteConfiguration {
  const colon = name.lastIndexOf(':')
  const sniffed = colon > 0 && !name.startsWith('unix://')
  const port = sniffed ? Number(name.slice(colon + 1)) : /^\d+$/.test(name) ? Number(name) : ALL_PORTS
  const scope = push.sidecarScope(proxy)
  const config = create(RouteConfigurationSchema, {
    name,
    validateClusters: false,
    maxDirectResponseBodySizeBytes: 1024 * 1024,
    ignorePortInHostMatching: true,
  })
  const egress = egressListenerFor(scope, name, port)
  const hosts = egress ? virtualHosts(tableOf(push, scope, proxy, egress, port)) : []
  if (sniffed) {
    const own = hosts.filter((host) => host.name === name)
    if (own.length > 0) config.virtualHosts = own.map((host) => ({ ...host, domains: ['*'] }))
    return config
  }
  hosts.sort((a, b) => compareText(a.name, b.name))
  config.virtualHosts = [...hosts, catchAll(scope)]
  return config
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
    const ports = tablePort === ALL_PORTS ? service.ports : service.ports.filter((p) => p.port === tablePort)
    const known = services.get(service.hostname)
    if (ports.length === 0 || (known && known.service.attributes.namespace === proxy.namespace)) continue
    if (!known || service.attributes.namespace === proxy.namespace) services.set(service.hostname, { service, ports })
  }
  return { push, scope, proxy, egress, port: tablePort, services }
}

function virtualHosts(table: RouteTable): VirtualHost[] {
  const wrappers = wrap(table)
  const known = new Set<string>()
  for (const { services, port } of wrappers) {
    for (const { hostname } of services) known.add(hostname).add(`${hostname}:${port}`)
  }
  const names = new Set<string>()
  const domainsTaken = new Set<string>()
  const hosts: VirtualHost[] = []
  for (const wrapper of wrappers) {
    if (table.port !== ALL_PORTS && wrapper.port !== table.port) continue
    const add = (host: string, service: Service | null): void => {
      const name = `${host}:${wrapper.port}`
      if (names.has(name)) return
      names.add(name)
      const all = service
        ? serviceDomains(service, table.proxy.dnsDomain, table.port === ALL_PORTS ? wrapper.port : null)
        : table.port === ALL_PORTS
          ? [host, name]
          : [host]
      const domains = freeDomains(all, host, domainsTaken, known)
      if (domains.length === 0) return
      const { routes } = wrapper
      hosts.push(
        hostMemo.get(routes, `${name} ${domains.join(' ')}`, () =>
          create(VirtualHostSchema, { name, domains, routes, includeRequestAttemptCount: true }),
        ),
      )
    }
    for (const host of wrapper.hosts) add(host, null)
    for (const service of wrapper.services) add(service.hostname, service)
  }
  return hosts
}

/** A domain stands once in a table, whatever its case; a short name never hides the full name of another service. */
function freeDomains(all: readonly string[], own: string, taken: Set<string>, known: ReadonlySet<string>): string[] {
  const free: string[] = []
  for (const domain of all) {
    const lower = domain.toLowerCase()
    if (taken.has(lower)) continue
    if (domain !== own && !domain.startsWith(`${own}:`) && known.has(domain)) continue
    taken.add(lower)
    free.push(domain)
  }
  return free
}

function wrap(table: RouteTable): Wrapper[] {
  const { port } = table
  const wrappers: Wrapper[] = []
  const served = new Set<string>()
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

/** Routes and virtual hosts are kept from one push to the next: a change costs what it touches, not the whole table. */
const routeMemo = new Memo<VirtualService | Service, Route[]>()
const hostMemo = new Memo<Route[], VirtualHost>()

function defaultRoutes({ push, scope, proxy }: RouteTable, service: Service, port: number): Route[] {
  const rule = scope.destinationRule(service, proxy.labels)
  const key = `${port}|${versionOf(rule?.rule ?? null)}|${versionOf(push.mesh)}`
  return routeMemo.get(service, key, () => [defaultRoute(push, scope, service, port, proxy.labels)])
}

/** Everything beside the VirtualService itself that decides its routes for one table. */
function routesKey({ push, scope, proxy, port, services }: RouteTable, vs: VirtualService): string {
  const parts: (string | number)[] = [port, proxy.namespace, versionOf(push.mesh)]
  for (const host of destinationHosts(vs)) {
    const service = scope.servicesByHost.get(host) ?? null
    const rule = service && scope.destinationRule(service, proxy.labels)
    parts.push(versionOf(services.get(host)?.service ?? null), versionOf(service), versionOf(rule?.rule ?? null))
  }
  if (push.virtualServices.selectsSources) {
    for (const label of Object.keys(proxy.labels).sort()) parts.push(label, proxy.labels[label]!)
  }
  return parts.join('|')
}

function takesRoutes(protocol: Protocol): boolean {
  return isHttp(protocol) || protocol === 'Unsupported'
}

/** VirtualServices of the table: on port 80 all, since clients may ask for hosts that only a VirtualService knows. */
function relevant({ egress, port, services }: RouteTable): readonly VirtualService[] {
  if (port === 80 || port === ALL_PORTS || egress.port) return egress.virtualServices
  return egress.virtualServices.filter((vs) => {
    for (const host of vs.spec.hosts ?? []) {
      if (services.has(host)) return true
      if (!host.startsWith('*')) continue
      for (const name of services.keys()) if (hostMatches(host, name)) return true
    }
    return false
  })
}

function wrapVirtualService(table: RouteTable, vs: VirtualService): Wrapper[] {
  const routes = routeMemo.get(vs, routesKey(table, vs), () =>
    virtualServiceRoutes(vs, {
      subject: { labels: table.proxy.labels, namespace: table.proxy.namespace, gateways: MESH_ONLY, port: table.port },
      destinations: destinationsOf(table),
      tls: false,
    }),
  )
  if (routes.length === 0) return []
  const { hosts, services } = split(table, vs)
  const byPort = new Map<number, Service[]>()
  for (const { service, ports } of services) {
    for (const { port, protocol } of ports) {
      if (!takesRoutes(protocol)) continue
      const list = byPort.get(port)
      if (list) list.push(service)
      else byPort.set(port, [service])
    }
  }
  // A host that no service has is served on port 80, or where a Sidecar listens for it.
  if (byPort.size === 0) {
    if (table.port === 80 || (table.egress.port && table.port !== ALL_PORTS)) byPort.set(table.port, [])
    else if (table.port === ALL_PORTS) byPort.set(80, [])
  }
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
    let any = false
    for (const found of table.services.values()) {
      if (!hostSubsetOf(found.service.hostname, host) || ownerOf(table, found.service.hostname) !== vs) continue
      services.push(found)
      any = true
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
    cluster: ({ host, subset, port: asked }) => outboundClusterName(portOf(host, asked?.number), subset ?? '', host),
    hashPolicy: ({ host, subset, port: asked }) =>
      hashPolicyFor(scope, scope.servicesByHost.get(host), portOf(host, asked?.number), subset ?? '', proxy.labels),
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

/** Where requests to unknown hosts go. */
function catchAll(scope: SidecarScope): VirtualHost {
  const { mode, egressProxy } = scope.outboundTrafficPolicy
  if (mode === 'REGISTRY_ONLY') {
    return create(VirtualHostSchema, {
      name: 'block_all',
      domains: ['*'],
      includeRequestAttemptCount: true,
      routes: [
        {
          name: 'block_all',
          match: { pathSpecifier: { case: 'prefix', value: '/' } },
          action: { case: 'directResponse', value: { status: 502 } },
        },
      ],
    })
  }
  const cluster = egressProxy
    ? outboundClusterName(egressProxy.port, egressProxy.subset, egressProxy.host)
    : PASSTHROUGH_CLUSTER
  return create(VirtualHostSchema, {
    name: 'allow_any',
    domains: ['*'],
    includeRequestAttemptCount: true,
    routes: [
      {
        name: 'allow_any',
        match: { pathSpecifier: { case: 'prefix', value: '/' } },
        action: {
          case: 'route',
          value: { clusterSpecifier: { case: 'cluster', value: cluster }, timeout: ZERO, maxGrpcTimeout: ZERO },
        },
      },
    ],
  })
}
