// Route configurations of a router: the hosts of a server and of the VirtualServices bound to it.
import { create } from '@bufbuild/protobuf'
import {
  type Route,
  type VirtualHost,
  VirtualHost_TlsRequirementType,
  VirtualHostSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { VirtualService } from '../../config/index.ts'
import { commonHosts, type MergedServer, mergedGateways } from '../gateway/merge.ts'
import { compareHosts, compareText } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import { type Service, serviceKey, visibleTo } from '../model/service.ts'
import { destinationClusterName } from '../xds/names.ts'
import { hashPolicyFor } from './hash-policy.ts'
import { isCatchAll } from './match.ts'
import type { Destinations } from './route-action.ts'
import { virtualServiceRoutes } from './virtual-service.ts'

export function gatewayRouteConfiguration(name: string, proxy: ProxyNode, push: PushContext): RouteConfiguration {
  const servers = mergedGateways(proxy, push).byRouteName.get(name)
  if (!servers) return create(RouteConfigurationSchema, { name })
  return create(RouteConfigurationSchema, {
    name,
    validateClusters: false,
    maxDirectResponseBodySizeBytes: 1024 * 1024,
    ignorePortInHostMatching: true,
    virtualHosts: virtualHosts(servers, proxy, push),
  })
}

/** A virtual host while VirtualServices still add to it. */
interface Building {
  readonly host: string
  readonly port: number
  routes: Route[]
  requireTls: boolean
}

function virtualHosts(servers: readonly MergedServer[], proxy: ProxyNode, push: PushContext): VirtualHost[] {
  const hosts = new Map<string, Building>()
  const routesOf = new Map<string, Route[]>()
  const at = (host: string, port: number): Building => {
    let building = hosts.get(host)
    if (!building) hosts.set(host, (building = { host, port, routes: [], requireTls: false }))
    return building
  }
  for (const { server, gateway, hosts: serverHosts, hostTexts } of servers) {
    const port = server.port.number
    const redirects = server.tls?.httpsRedirect === true
    for (const vs of push.virtualServices.visible(proxy.namespace, gateway)) {
      const common = commonHosts(serverHosts, vs.spec.hosts ?? [], vs.metadata.namespace)
      if (common.length === 0) continue
      // Routes are made once, for the first server of a Gateway that has any.
      const key = `${gateway}|${vs.metadata.namespace}/${vs.metadata.name}`
      const routes = routesOf.get(key) ?? routesFor(vs, gateway, port, server.tls !== undefined, proxy, push)
      if (routes.length === 0) continue
      routesOf.set(key, routes)
      for (const host of common) {
        const building = at(host.toLowerCase(), port)
        building.routes = building.routes.length > 0 ? [...building.routes, ...routes] : routes
        if (redirects) building.requireTls = true
      }
    }
    // A host that is only redirected needs no VirtualService.
    if (redirects) for (const host of hostTexts) at(host.toLowerCase(), port).requireTls = true
  }
  if (hosts.size === 0) {
    const name = `blackhole:${servers[0]!.server.port.number}`
    return [create(VirtualHostSchema, { name, domains: ['*'] })]
  }
  return collapse([...hosts.values()].sort((a, b) => compareHosts(a.host, b.host)))
}

/** Hosts with the very same routes become one virtual host, called after the first of them. */
function collapse(hosts: readonly Building[]): VirtualHost[] {
  const groups: { readonly first: Building; readonly domains: string[] }[] = []
  for (const building of hosts) {
    const same = groups.find(({ first }) => first.requireTls === building.requireTls && sameRoutes(first, building))
    if (same) same.domains.push(building.host)
    else groups.push({ first: building, domains: [building.host] })
  }
  const list = groups.map(({ first, domains }) =>
    create(VirtualHostSchema, {
      name: `${first.host}:${first.port}`,
      domains,
      routes: catchAllLast(first.routes),
      includeRequestAttemptCount: true,
      requireTls: first.requireTls ? VirtualHost_TlsRequirementType.ALL : VirtualHost_TlsRequirementType.NONE,
    }),
  )
  return list.sort((a, b) => compareText(a.name, b.name))
}

function sameRoutes(a: Building, b: Building): boolean {
  return a.routes.length === b.routes.length && a.routes.every((route, i) => route === b.routes[i])
}

/** VirtualServices of one host are merged: a catch-all of one must not hide the routes of the next. */
function catchAllLast(routes: readonly Route[]): Route[] {
  const specific = routes.filter((route) => !isCatchAll(route.match!))
  return [...specific, ...routes.filter((route) => isCatchAll(route.match!))]
}

function routesFor(
  vs: VirtualService,
  gateway: string,
  port: number,
  tls: boolean,
  proxy: ProxyNode,
  push: PushContext,
): Route[] {
  return virtualServiceRoutes(vs, {
    subject: { labels: proxy.labels, namespace: proxy.namespace, gateways: new Set([gateway]), port },
    destinations: destinationsOf(vs, proxy, push, port),
    forwardsHost: proxyConfigOf(proxy, push.mesh).proxyHeaders?.xForwardedHost?.enabled === true,
    tls,
  })
}

function destinationsOf(
  { metadata }: VirtualService,
  proxy: ProxyNode,
  push: PushContext,
  listenerPort: number,
): Destinations {
  const scope = push.sidecarScope(proxy)
  // A VirtualService means the services of its own namespace first.
  const serviceOf = (host: string): Service | undefined => {
    const own = push.services.byKey.get(serviceKey(host, metadata.namespace))
    return own && visibleTo(own, proxy.namespace) ? own : scope.servicesByHost.get(host)
  }
  const portOf = (host: string, asked: number | undefined): number => {
    if (asked) return asked
    const ports = serviceOf(host)?.ports
    return ports?.length === 1 ? ports[0]!.port : listenerPort
  }
  return {
    mesh: push.mesh,
    cluster: ({ host, subset, port }) =>
      destinationClusterName(portOf(host, port?.number), subset, host, serviceOf(host)?.attributes.externalName),
    hashPolicy: ({ host, subset, port }) =>
      hashPolicyFor(scope, scope.servicesByHost.get(host), port?.number ?? 0, subset ?? '', proxy.labels),
  }
}
