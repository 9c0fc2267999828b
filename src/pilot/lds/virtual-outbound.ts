// virtualOutbound: where iptables sends everything; hands connections to the listener of their original destination.
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { type FilterChain, FilterChainSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { anyHostRoutes } from '../rds/catch-all.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { addressOf } from '../xds/messages.ts'
import { BLACK_HOLE_CLUSTER } from '../xds/names.ts'
import { PLAINTEXT_HTTP_ALPN } from './chain.ts'
import type { ListenerContext } from './context.ts'
import { httpInspector, NO_SECURITY } from './filters.ts'
import { httpConnectionManager } from './http-connection-manager.ts'
import { catchAllFilters, fixedClusterFilters } from './tcp-proxy.ts'
import { additionalAddresses, wildcardOf, wildcardsOf } from './wildcard.ts'

export function virtualOutboundListener(context: ListenerContext): Listener {
  const { mesh, proxy, push, scope, telemetry } = context
  const dynamicDns = scope.outboundTrafficPolicy.mode === 'ALLOW_ANY_DYNAMIC_DNS'
  return create(ListenerSchema, {
    name: 'virtualOutbound',
    address: addressOf(wildcardOf(proxy), mesh.proxyListenPort),
    additionalAddresses: additionalAddresses(wildcardsOf(proxy), mesh.proxyListenPort),
    trafficDirection: TrafficDirection.OUTBOUND,
    useOriginalDst: true,
    transparent: proxy.interceptionMode === 'TPROXY' ? true : undefined,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildAccessLogs(push, proxy, telemetry.client, 'listener'),
    listenerFilters: dynamicDns ? [httpInspector()] : [],
    filterChains: [
      // A connection to the listener's own port would be sent to itself for ever.
      create(FilterChainSchema, {
        name: 'virtualOutbound-blackhole',
        filterChainMatch: { destinationPort: mesh.proxyListenPort },
        filters: fixedClusterFilters(context, BLACK_HOLE_CLUSTER, true),
      }),
      ...(dynamicDns ? [dynamicDnsChain(context)] : []),
      create(FilterChainSchema, {
        name: 'virtualOutbound-catchall-tcp',
        filters: catchAllFilters(context),
      }),
    ],
  })
}

/** Plaintext HTTP to a port that no service has: forwarded to the host that it names. */
function dynamicDnsChain(context: ListenerContext): FilterChain {
  return create(FilterChainSchema, {
    name: 'virtualOutbound-catchall-tcp-http',
    filterChainMatch: { applicationProtocols: [...PLAINTEXT_HTTP_ALPN] },
    filters: [
      httpConnectionManager(context, {
        kind: 'outbound',
        statPrefix: 'outbound_virtualOutbound_allow_any_dynamic_dns;',
        routes: anyHostRoutes(context.scope, context.proxyConfig),
        grpcWeb: false,
        security: NO_SECURITY,
        port: 0,
      }),
    ],
  })
}
