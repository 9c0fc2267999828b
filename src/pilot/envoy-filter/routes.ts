// EnvoyFilter on route configurations, virtual hosts and routes.
import { clone } from '@bufbuild/protobuf'
import {
  type Route,
  RouteSchema,
  type VirtualHost,
  VirtualHostSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import type { CompiledPatch, PatchContext } from './compile.ts'
import { mergeMessage } from './merge.ts'
import { contextMatches, NO_PATCHES, type PatchSet } from './select.ts'
import { inserted } from './sequence.ts'

const KINDS = ['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'] as const

/** Ports of a router to the ports of the servers that are served there: patches may name either where they differ. */
export type GatewayPorts = ReadonlyMap<number, ReadonlySet<number>>
export const NO_PORTS: GatewayPorts = new Map()

/** A route configuration after its patches; the input is not changed. Without patches it is the input. */
export function patchRouteConfiguration(
  config: RouteConfiguration,
  context: PatchContext,
  set: PatchSet,
  gatewayPorts: GatewayPorts = NO_PORTS,
): RouteConfiguration {
  if (set === NO_PATCHES || !KINDS.some((kind) => set.patches.has(kind))) return config
  const of = (kind: (typeof KINDS)[number]) =>
    (set.patches.get(kind) ?? []).filter(
      (p) => contextMatches(p, context) && configurationMatches(config, context, p, gatewayPorts),
    )
  const own = of('ROUTE_CONFIGURATION')
  const hostPatches = of('VIRTUAL_HOST')
  const routePatches = of('HTTP_ROUTE')
  if (own.length + hostPatches.length + routePatches.length === 0) return config
  const out = clone(RouteConfigurationSchema, config)
  for (const patch of own) merge(RouteConfigurationSchema, out, patch)
  const removed = new Set<string>()
  const hosts = out.virtualHosts.map((host) => {
    const patched = patchVirtualHost(host, hostPatches, routePatches)
    if (!patched) removed.add(host.name)
    return patched ?? host
  })
  for (const patch of hostPatches) {
    if (patch.operation === 'ADD') hosts.push(clone(VirtualHostSchema, patch.value as VirtualHost))
  }
  // A removed name is gone for all virtual hosts, added ones too.
  out.virtualHosts = hosts.filter((host) => !removed.has(host.name))
  return out
}

/** Null: removed. */
function patchVirtualHost(
  given: VirtualHost,
  hostPatches: readonly CompiledPatch[],
  routePatches: readonly CompiledPatch[],
): VirtualHost | null {
  let host = given
  for (const patch of hostPatches) {
    if (patch.operation === 'ADD' || !hostMatches(host, patch)) continue
    if (patch.operation === 'REMOVE') return null
    if (patch.operation === 'REPLACE') host = clone(VirtualHostSchema, patch.value as VirtualHost)
    else merge(VirtualHostSchema, host, patch)
  }
  const own = routePatches.filter((patch) => hostMatches(host, patch))
  if (own.length > 0) host.routes = patchRoutes(host.routes, own)
  return host
}

/** Removals and merges, then additions, which find their place among the removed ones as well. */
function patchRoutes(routes: readonly Route[], patches: readonly CompiledPatch[]): Route[] {
  let list: readonly (Route | null)[] = routes.map((route) => {
    for (const patch of patches) {
      if (!routeMatches(route, patch)) continue
      if (patch.operation === 'REMOVE') return null
      merge(RouteSchema, route, patch)
    }
    return route
  })
  for (const patch of patches) {
    const first = patch.operation === 'INSERT_FIRST' && ROUTES.named(patch)
    if (first && !list.some((route) => ROUTES.matches(route, patch))) continue
    list = inserted(list, patch, ROUTES)
  }
  return list.filter((route) => route !== null)
}

function merge(
  schema: typeof RouteConfigurationSchema | typeof VirtualHostSchema | typeof RouteSchema,
  target: RouteConfiguration | VirtualHost | Route,
  patch: CompiledPatch,
): void {
  if (patch.operation === 'MERGE') mergeMessage(schema, target, patch.value!, 'append')
  else if (patch.operation === 'MERGE_AND_REPLACE_LIST') mergeMessage(schema, target, patch.value!, 'replace')
}

function configurationMatches(
  config: RouteConfiguration,
  context: PatchContext,
  patch: CompiledPatch,
  gatewayPorts: GatewayPorts,
): boolean {
  const match = patch.match.routeConfiguration
  if (!match) return true
  if (match.name && match.name !== config.name) return false
  if (context !== 'GATEWAY') return !match.portNumber || sidecarPort(config.name) === match.portNumber
  const { port, portName, gateway } = gatewayParts(config.name)
  const ports = gatewayPorts.get(port)
  if (match.portNumber && !(ports ? ports.has(match.portNumber) : match.portNumber === port)) return false
  if (match.portName && match.portName !== portName) return false
  return !match.gateway || match.gateway === gateway
}

/** `9080`, or the port of `inbound|9080||`. */
function sidecarPort(name: string): number {
  return Number(name.startsWith('inbound|') ? name.split('|')[1] : name) || 0
}

/** `http.8080`, or `https.443.name.gateway.namespace`. */
function gatewayParts(name: string): { port: number; portName: string; gateway: string } {
  const [scheme, port, portName = '', gateway = '', namespace = ''] = name.split('.')
  const named = scheme === 'https' && namespace !== ''
  return { port: Number(port) || 0, portName: named ? portName : '', gateway: named ? `${namespace}/${gateway}` : '' }
}

function hostMatches(host: VirtualHost, patch: CompiledPatch): boolean {
  const match = patch.match.routeConfiguration?.vhost
  if (!match) return true
  if (match.name && match.name !== host.name) return false
  return !match.domainName || host.domains.includes(match.domainName)
}

function routeMatches(route: Route, patch: CompiledPatch): boolean {
  const match = patch.match.routeConfiguration?.vhost?.route
  if (!match) return true
  if (match.name && match.name !== route.name) return false
  switch (match.action ?? 'ANY') {
    case 'ROUTE':
      return route.action.case === 'route'
    case 'REDIRECT':
      return route.action.case === 'redirect'
    case 'DIRECT_RESPONSE':
      return route.action.case === 'directResponse'
    default:
      return true
  }
}

const ROUTES = {
  named: (patch: CompiledPatch) => patch.match.routeConfiguration?.vhost?.route !== undefined,
  matches: (route: Route | null, patch: CompiledPatch) =>
    route ? routeMatches(route, patch) : patch.match.routeConfiguration?.vhost?.route === undefined,
  copy: (patch: CompiledPatch): Route | null => clone(RouteSchema, patch.value as Route),
}
