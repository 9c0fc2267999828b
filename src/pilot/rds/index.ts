// RDS: the route configurations that a proxy's listeners name.
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { patchRouteConfiguration } from '../envoy-filter/routes.ts'
import { patchesFor } from '../envoy-filter/select.ts'
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
  return Array.from(names, (name) => {
    const config =
      proxy.type === 'sidecar'
        ? outboundRouteConfiguration(name, proxy, push, remarks)
        : gatewayRouteConfiguration(name, proxy, push)
    return patchRouteConfiguration(counts ? config : withoutAttemptCount(config), context, patches)
  })
}

/** Whether requests carry x-envoy-attempt-count: they do unless ProxyConfig.proxyHeaders says otherwise. */
export function countsAttempts(proxy: ProxyNode, push: PushContext): boolean {
  return proxyConfigOf(proxy, push.mesh).proxyHeaders?.attemptCount?.disabled !== true
}

/** Virtual hosts are shared between proxies: changed in a copy. */
function withoutAttemptCount(config: RouteConfiguration): RouteConfiguration {
  const virtualHosts = config.virtualHosts.map((host) => ({ ...host, includeRequestAttemptCount: false }))
  return { ...config, virtualHosts }
}
