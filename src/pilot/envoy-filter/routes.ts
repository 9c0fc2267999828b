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
import { patchSequence } from './sequence.ts'

const KINDS = ['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'] as const

/** A route configuration after its patches; the input is not changed. Without patches it is the input. */
export function patchRouteConfiguration(
  config: RouteConfiguration,
  context: PatchContext,
  set: PatchSet,
): RouteConfiguration {
  if (set === NO_PATCHES || !KINDS.some((kind) => set.patches.has(kind))) return config
  const of = (kind: (typeof KINDS)[number]) =>
    (set.patches.get(kind) ?? []).filter((p) => contextMatches(p, context) && configurationMatches(config, context, p))
  const own = of('ROUTE_CONFIGURATION')
  const hostPatches = of('VIRTUAL_HOST')
  const routePatches = of('HTTP_ROUTE')
  if (own.length + hostPatches.length + routePatches.length === 0) return config
  const out = clone(RouteConfigurationSchema, config)
  for (const patch of own) merge(RouteConfigurationSchema, out, patch)
  const hosts: VirtualHost[] = []
  for (const host of out.virtualHosts) {
    let removed = false
    for (const patch of hostPatches) {
      if (patch.operation === 'ADD' || !hostMatches(host, patch)) continue
      if (patch.operation === 'REMOVE') removed = true
      else if (patch.operation === 'REPLACE') Object.assign(host, clone(VirtualHostSchema, patch.value as VirtualHost))
      else merge(VirtualHostSchema, host, patch)
    }
    if (removed) continue
    host.routes = patchSequence(
      host.routes,
      routePatches.filter((patch) => hostMatches(host, patch)),
      ROUTES,
    )
    hosts.push(host)
  }
  for (const patch of hostPatches) {
    if (patch.operation === 'ADD') hosts.push(clone(VirtualHostSchema, patch.value as VirtualHost))
  }
  out.virtualHosts = hosts
  return out
}

function merge(
  schema: typeof RouteConfigurationSchema | typeof VirtualHostSchema | typeof RouteSchema,
  target: RouteConfiguration | VirtualHost | Route,
  patch: CompiledPatch,
): void {
  if (patch.operation === 'MERGE') mergeMessage(schema, target, patch.value!, 'append')
  else if (patch.operation === 'MERGE_AND_REPLACE_LIST') mergeMessage(schema, target, patch.value!, 'replace')
}

function configurationMatches(config: RouteConfiguration, context: PatchContext, patch: CompiledPatch): boolean {
  const match = patch.match.routeConfiguration
  if (!match) return true
  if (match.name && match.name !== config.name) return false
  if (context !== 'GATEWAY') return !match.portNumber || sidecarPort(config.name) === match.portNumber
  const { port, portName, gateway } = gatewayParts(config.name)
  if (match.portNumber && match.portNumber !== port) return false
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
  matches: routeMatches,
  copy: (patch: CompiledPatch) => clone(RouteSchema, patch.value as Route),
  merge: (route: Route, patch: CompiledPatch) => merge(RouteSchema, route, patch),
}
