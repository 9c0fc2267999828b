// envoy.filters.listener.original_src: upstream connections for this one come from the client's own address.

import {
  type OriginalSrc,
  OriginalSrcSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/original_src/v3/original_src_pb.js'
import { ipAddress } from '../../../network/address.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from '../../../network/listener-filter.ts'
import type { ListenerFilterExtension } from '../../../network/listener-filters.ts'

interface OriginalSrcConfig {
  readonly bindPort: boolean
  /** SO_MARK of upstream sockets; 0 = none. */
  readonly mark: number
}

export const originalSrc: ListenerFilterExtension<OriginalSrcConfig> = {
  name: 'envoy.filters.listener.original_src',
  desc: OriginalSrcSchema,
  parse(message) {
    const { bindPort, mark } = message as OriginalSrc
    return { bindPort, mark }
  },
  create: (config) => {
    const filter: ListenerFilter = {
      onAccept({ info }: AcceptedSocketView): ListenerFilterStatus {
        const { ip, port, pipe } = info.remoteAddress
        // A Unix socket has no address that another socket could take.
        if (pipe === undefined && ip !== '')
          info.upstreamSource = { address: ipAddress(ip, config.bindPort ? port : 0), mark: config.mark }
        return ListenerFilterStatus.Continue
      },
    }
    return () => filter
  },
}
