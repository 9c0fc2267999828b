// Routes of proxyless gRPC clients: what a sidecar would have, under names with their port.
import { create } from '@bufbuild/protobuf'
import type { VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { hostMatches } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { countsAttempts, withoutAttemptCount } from '../rds/index.ts'
import { outboundVirtualHosts } from '../rds/outbound.ts'
import { type OutboundCluster, parseOutboundClusterName } from '../xds/names.ts'

/** Routes by cluster name, `outbound|port||host`; a name of another form has none. */
export function generateGrpcRoutes(proxy: ProxyNode, push: PushContext, names: Iterable<string>): RouteConfiguration[] {
  const out: RouteConfiguration[] = []
  const counts = countsAttempts(proxy, push)
  for (const name of names) {
    const parts = parseOutboundClusterName(name)
    if (!parts) continue
    const virtualHosts = outboundVirtualHosts(parts.port, proxy, push).filter((host) => concerns(host, parts))
    const config = create(RouteConfigurationSchema, { name, virtualHosts })
    out.push(counts ? config : withoutAttemptCount(config))
  }
  return out
}

/** A client asks for one host: it need not hear of the others of the port. */
function concerns({ domains }: VirtualHost, { host, port }: OutboundCluster): boolean {
  const wanted = host.toLowerCase()
  return domains.some((domain) => {
    const [, name = domain, ownPort] = /^(.*):(\d+)$/.exec(domain) ?? []
    if (ownPort !== undefined && Number(ownPort) !== port) return false
    const lower = name.toLowerCase()
    return lower === wanted || (lower.startsWith('*') && hostMatches(lower, wanted))
  })
}
