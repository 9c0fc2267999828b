// virtualOutbound: where iptables sends everything; hands connections to the listener of their original destination.
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { FilterChainSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { addressOf } from '../xds/messages.ts'
import { BLACK_HOLE_CLUSTER } from '../xds/names.ts'
import type { ListenerContext } from './context.ts'
import { WILDCARD } from './outbound.ts'
import { catchAllFilters, fixedClusterFilters } from './tcp-proxy.ts'

export function virtualOutboundListener(context: ListenerContext): Listener {
  const { mesh, proxy, telemetry } = context
  return create(ListenerSchema, {
    name: 'virtualOutbound',
    address: addressOf(WILDCARD, mesh.proxyListenPort),
    trafficDirection: TrafficDirection.OUTBOUND,
    useOriginalDst: true,
    transparent: proxy.interceptionMode === 'TPROXY' ? true : undefined,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildAccessLogs(mesh, telemetry.client, 'listener'),
    filterChains: [
      // A connection to the listener's own port would be sent to itself for ever.
      create(FilterChainSchema, {
        name: 'virtualOutbound-blackhole',
        filterChainMatch: { destinationPort: mesh.proxyListenPort },
        filters: fixedClusterFilters(context, BLACK_HOLE_CLUSTER, true),
      }),
      create(FilterChainSchema, {
        name: 'virtualOutbound-catchall-tcp',
        filters: catchAllFilters(context),
      }),
    ],
  })
}
