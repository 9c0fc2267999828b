// Proxyless gRPC: configuration for clients and servers that speak xDS themselves (node metadata GENERATOR=grpc).
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { clientListeners } from './client-listeners.ts'
import { serverListeners } from './server-listeners.ts'

/**
 * Listeners by name: `host`, `host:port` (short names too) for clients, `xds.istio.io/grpc/lds/inbound/ip:port` for servers;
 * without a name those of all services.
 */
export function generateGrpcListeners(proxy: ProxyNode, push: PushContext, names: Iterable<string>): Listener[] {
  const asked = [...names]
  return [...clientListeners(proxy, push, asked), ...serverListeners(proxy, push, asked)]
}
