// Listeners of proxyless gRPC servers: mutual TLS and authorization, the requests go to the server itself.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type FilterChain, FilterChainSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteSchema, VirtualHostSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import {
  HttpConnectionManagerSchema,
  type HttpFilter,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { grpcRbacFilters } from '../authorization/grpc.ts'
import { networkFilter, ROUTER } from '../lds/filters.ts'
import { additionalAddresses } from '../lds/wildcard.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { addressesFor } from '../model/service-addresses.ts'
import { addressOf } from '../xds/messages.ts'
import { SERVER_LISTENER } from './asked.ts'
import { serverTls } from './tls.ts'

/** What the asked servers listen with; none for a port that no service of the workload has. */
export function serverListeners(proxy: ProxyNode, push: PushContext, names: readonly string[]): Listener[] {
  const servers = names.filter((name) => name.startsWith(SERVER_LISTENER))
  if (servers.length === 0) return []
  const instances = new Map(push.serviceInstances(proxy).map((instance) => [instance.targetPort, instance]))
  return servers.flatMap((name) => {
    const found = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(name.slice(SERVER_LISTENER.length))
    const port = Number(found?.[3])
    const instance = instances.get(port)
    if (!found || !instance) return []
    return create(ListenerSchema, {
      name,
      address: addressOf(found[1] ?? found[2]!, port),
      additionalAddresses: additionalAddresses(addressesFor(instance.service, proxy), port),
      filterChains: [serverChain(proxy, push, port)],
    })
  })
}

/** gRPC servers cannot tell TLS from plain text on one port: pods whose clients choose mutual TLS by themselves insist on it. */
function serverChain(proxy: ProxyNode, push: PushContext, port: number): FilterChain {
  const mode = push.peerAuthentications.forPort(proxy.namespace, proxy.labels, port)
  const automatic = proxy.labels['security.istio.io/tlsMode'] === 'istio'
  const secure = mode === 'STRICT' || (mode === 'PERMISSIVE' && automatic)
  const suffix = secure ? 'mtls' : 'plaintext'
  const manager = create(HttpConnectionManagerSchema, {
    routeSpecifier: { case: 'routeConfig', value: OWN_ROUTES },
    httpFilters: serverFilters(proxy, push),
  })
  return create(FilterChainSchema, {
    name: `inbound-${suffix}`,
    filters: [networkFilterOf(`inbound-hcm${suffix}`, manager)],
    transportSocket: secure ? serverTls() : undefined,
  })
}

const networkFilterOf = (name: string, manager: Parameters<typeof anyPack>[1]) =>
  networkFilter(name, anyPack(HttpConnectionManagerSchema, manager as never))

/** Everything goes to the server's own methods. */
const OWN_ROUTES = {
  name: 'inbound',
  virtualHosts: [
    create(VirtualHostSchema, {
      domains: ['*'],
      routes: [
        create(RouteSchema, {
          match: { pathSpecifier: { case: 'prefix', value: '/' } },
          action: { case: 'nonForwardingAction', value: {} },
        }),
      ],
    }),
  ],
}

function serverFilters(proxy: ProxyNode, push: PushContext): HttpFilter[] {
  return [...grpcRbacFilters(proxy, push), ROUTER]
}
