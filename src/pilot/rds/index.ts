// RDS: the route configurations that a proxy's listeners name.
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { type GatewayPorts, NO_PORTS, patchRouteConfiguration } from '../envoy-filter/routes.ts'
import { NO_PATCHES, patchesFor } from '../envoy-filter/select.ts'
import { mergedGateways } from '../gateway/merge.ts'
import type { ProxyNode } from '../model/node.ts'
import { proxyConfigOf } from '../model/proxy-config.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Remark } from '../model/remarks.ts'
import { gatewayRouteConfiguration } from './gateway.ts'
import { outboundRouteConfiguration } from './outbound.ts'

/** `remarks` takes what is left out. One configuration a name; a name that means nothing gets an empty one, so that the proxy does not wait for it. */
export function generateRoutes(
  proxy: ProxyNode,
  push: PushContext,
  names: Iterable<string>,
  remarks: Remark[] = [],
): RouteConfiguration[] {
  const context = proxy.type === 'sidecar' ? 'SIDECAR_OUTBOUND' : 'GATEWAY'
  const patches = patchesFor(proxy, push)
  const counts = countsAttempts(proxy, push)
  const ports = patches === NO_PATCHES || context !== 'GATEWAY' ? NO_PORTS : gatewayPorts(proxy, push)
  return Array.from(names, (name) => {
    const config =
      proxy.type === 'sidecar'
        ? outboundRouteConfiguration(name, proxy, push, remarks)
        : gatewayRouteConfiguration(name, proxy, push)
    return patchRouteConfiguration(counts ? config : withoutAttemptCount(config), context, patches, ports)
  })
}

/** By the port in a route configuration's name, as istiod takes it: that of the router, of HTTPS the server's own. */
function gatewayPorts(proxy: ProxyNode, push: PushContext): GatewayPorts {
  const ports = new Map<number, Set<number>>()
  for (const [name, servers] of mergedGateways(proxy, push).byRouteName) {
    const port = Number(name.split('.')[1])
    let set = ports.get(port)
    if (!set) ports.set(port, (set = new Set()))
    for (const { server } of servers) set.add(server.port.number)
  }
  return ports
}

/** Whether requests carry x-envoy-attempt-count: they do unless ProxyConfig.proxyHeaders says otherwise. */
export function countsAttempts(proxy: ProxyNode, push: PushContext): boolean {
  return proxyConfigOf(proxy, push.mesh).proxyHeaders?.attemptCount?.disabled !== true
}

/** Virtual hosts are shared between proxies: changed in a copy. */
export function withoutAttemptCount(config: RouteConfiguration): RouteConfiguration {
  const virtualHosts = config.virtualHosts.map((host) => ({ ...host, includeRequestAttemptCount: false }))
  return { ...config, virtualHosts }
}
