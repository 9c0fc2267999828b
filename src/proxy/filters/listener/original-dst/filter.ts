// envoy.filters.listener.original_dst: where a connection redirected by iptables wanted to go (envoy-contract §4.4).

import { OriginalDstSchema } from '../../../../api/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js'
import { sameAddress } from '../../../network/address.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'
import { originalDestination } from '../../../network/socket-options.ts'

/** Restores the local address; one instance serves all connections. */
export const originalDstFilter: ListenerFilter = {
  onAccept(socket: AcceptedSocketView): ListenerFilterStatus {
    const { info } = socket
    if (socket.transparent) {
      // TPROXY leaves the destination in place.
      info.localAddressRestored = true
      return ListenerFilterStatus.Continue
    }
    const original = originalDestination(socket.fd, socket.ipv6)
    if (original !== null && !sameAddress(original, info.localAddress)) {
      info.localAddress = original
      info.localAddressRestored = true
    }
    return ListenerFilterStatus.Continue
  },
}

export const originalDst: ListenerFilterExtension = {
  name: 'envoy.filters.listener.original_dst',
  desc: OriginalDstSchema,
  parse: () => ({}),
  create: () => () => originalDstFilter,
}
