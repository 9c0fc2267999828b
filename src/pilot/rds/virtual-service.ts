// The HTTP routes of a VirtualService for one proxy and listener port.
import { create } from '@bufbuild/protobuf'
import {
  type Route,
  RouteAction_MaxStreamDurationSchema,
  RouteSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { HttpMatchRequest, HttpRoute, VirtualService } from '../../config/index.ts'
import { routeSemantics } from '../gateway-api/names.ts'
import { resourcePath } from '../model/resource.ts'
import { isCatchAll, type MatchSubject, matchApplies, routeMatch } from './match.ts'
import { type Destinations, directResponseAction, headerChanges, redirectAction, routeAction } from './route-action.ts'
import { corsConfig, faultConfig } from './typed-filters.ts'

export interface RouteInputs {
  readonly subject: MatchSubject
  readonly destinations: Destinations
  /** Rewritten requests say what host they asked for. */
  readonly forwardsHost?: boolean
  /** The client is a gRPC library, which reads timeouts in one form only. */
  readonly proxyless?: boolean
  /** The listener terminates TLS. */
  readonly tls: boolean
}

/** One route a match, in order, up to the first that matches everything. Empty: nothing of it is for this proxy. */
export function virtualServiceRoutes(vs: VirtualService, inputs: RouteInputs): Route[] {
  const routes: Route[] = []
  for (const http of vs.spec.http ?? []) {
    for (const match of http.match?.length ? http.match : [null]) {
      if (match && !matchApplies(match, inputs.subject)) continue
      const route = buildRoute(vs, http, match, inputs)
      routes.push(route)
      if (!match || isCatchAll(route.match!)) return routes
    }
  }
  return routes
}

function buildRoute(vs: VirtualService, http: HttpRoute, match: HttpMatchRequest | null, inputs: RouteInputs): Route {
  const changes = headerChanges(http.headers)
  const semantics = routeSemantics(vs)
  const { port } = inputs.subject
  const route = create(RouteSchema, {
    name: match?.name ? `${http.name ?? ''}.${match.name}` : http.name,
    match: routeMatch(match, semantics !== 'istio'),
    metadata: { filterMetadata: { istio: { config: resourcePath(vs) } } },
    statPrefix: match?.statPrefix,
  })
  if (http.redirect) route.action = { case: 'redirect', value: redirectAction(http.redirect, port, inputs.tls) }
  else if (http.directResponse) {
    route.action = { case: 'directResponse', value: directResponseAction(http.directResponse) }
  } else route.action = { case: 'route', value: routeAction(http, inputs.destinations, changes, semantics, match) }
  if (inputs.proxyless && route.action.case === 'route') {
    const { value: action } = route.action
    action.maxGrpcTimeout = undefined
    action.maxStreamDuration = create(RouteAction_MaxStreamDurationSchema, { maxStreamDuration: action.timeout! })
  }
  if (inputs.forwardsHost && http.rewrite && route.action.case === 'route')
    route.action.value.appendXForwardedHost = true
  route.requestHeadersToAdd = changes.requestHeadersToAdd
  route.requestHeadersToRemove = changes.requestHeadersToRemove
  route.responseHeadersToAdd = changes.responseHeadersToAdd
  route.responseHeadersToRemove = changes.responseHeadersToRemove
  route.decorator = {
    $typeName: 'envoy.config.route.v3.Decorator',
    operation: operation(route, vs.metadata.name, port),
  }
  const fault = http.fault && faultConfig(http.fault)
  if (fault) route.typedPerFilterConfig['envoy.filters.http.fault'] = fault
  if (http.corsPolicy) route.typedPerFilterConfig['envoy.filters.http.cors'] = corsConfig(http.corsPolicy)
  return route
}

/** What a trace calls the route: its one destination, else the VirtualService, and the path. */
function operation(route: Route, name: string, port: number): string {
  const path = pathText(route)
  const specifier = route.action.case === 'route' ? route.action.value.clusterSpecifier : undefined
  // In the table of all ports a route may name no port: the cluster of port 0 tells its host all the same.
  const parts = specifier?.case === 'cluster' ? specifier.value.split('|') : []
  const [, clusterPort, , host] = parts
  return parts.length === 4 ? `${host}:${clusterPort}${path}` : `${name}:${port}${path}`
}

function pathText(route: Route): string {
  const path = route.match!.pathSpecifier
  switch (path.case) {
    case 'prefix':
      return `${path.value}*`
    case 'path':
      return path.value
    case 'safeRegex':
      return path.value.regex
    // As in istiod, a prefix of whole segments is not told.
    default:
      return '/*'
  }
}
