// Connections spread evenly over the proxy's workers, when its node asks for that.

import { create } from '@bufbuild/protobuf'
import {
  type Listener_ConnectionBalanceConfig,
  Listener_ConnectionBalanceConfigSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { ProxyNode } from '../model/node.ts'

/** Node metadata INBOUND_LISTENER_EXACT_BALANCE and OUTBOUND_LISTENER_EXACT_BALANCE; undefined: as the kernel does it. */
export function exactBalance(
  { metadata }: Pick<ProxyNode, 'metadata'>,
  direction: 'INBOUND' | 'OUTBOUND',
): Listener_ConnectionBalanceConfig | undefined {
  const asked = metadata[`${direction}_LISTENER_EXACT_BALANCE`]
  if (asked !== true && asked !== 'true' && asked !== '1') return undefined
  return create(Listener_ConnectionBalanceConfigSchema, { balanceType: { case: 'exactBalance', value: {} } })
}
