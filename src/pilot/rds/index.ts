// RDS: the route configurations that a proxy's listeners name.
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { patchRouteConfiguration } from '../envoy-filter/routes.ts'
import { patchesFor } from '../envoy-filter/select.ts'
import type { Generator } from '../model/generator.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { gatewayRouteConfiguration } from './gateway.ts'
import { outboundRouteConfiguration } from './outbound.ts'

/** One configuration a name; a name that means nothing gets an empty one, so that the proxy does not wait for it. */
export function generateRoutes(proxy: ProxyNode, push: PushContext, names: Iterable<string>): RouteConfiguration[] {
  const build = proxy.type === 'sidecar' ? outboundRouteConfiguration : gatewayRouteConfiguration
  const context = proxy.type === 'sidecar' ? 'SIDECAR_OUTBOUND' : 'GATEWAY'
  const patches = patchesFor(proxy, push)
  return Array.from(names, (name) => patchRouteConfiguration(build(name, proxy, push), context, patches))
}

export const routeGenerator: Generator<RouteConfiguration> = {
  typeUrl: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  schema: RouteConfigurationSchema,
  generate: (proxy, push, watched) => generateRoutes(proxy, push, watched ?? []),
}
