// Whose configuration a stream may have.
import { GRPC_STATUS, GrpcStatusError } from '../../base/grpc-status.ts'
import { parseSpiffeId } from '../../security/index.ts'
import type { XdsConnection } from '../../xds/server-types.ts'
import type { ProxyNode } from '../model/node.ts'

/**
 * Who authenticated may claim only its own namespace and service account (istiod's PILOT_ENABLE_XDS_IDENTITY_CHECK): the
 * node decides which configuration it gets. Throws GrpcStatusError(PERMISSION_DENIED).
 */
export function checkIdentity(connection: XdsConnection, proxy: ProxyNode): void {
  const { identities } = connection.peer
  if (identities.length === 0) return
  const proved = identities.map(parseSpiffeId).flatMap((identity) => (identity.ok ? [identity.value] : []))
  if (
    proved.some(
      (id) => id.namespace === proxy.namespace && (!proxy.serviceAccount || id.serviceAccount === proxy.serviceAccount),
    )
  )
    return
  const claimed = `namespace ${proxy.namespace}, service account ${proxy.serviceAccount || 'any'}`
  throw new GrpcStatusError(
    GRPC_STATUS.PERMISSION_DENIED,
    `authorization failed: ${identities.join(', ')} does not belong to ${claimed}`,
  )
}

/** Private keys go only to who proved, by certificate or token, to live where it says it does. */
export function provedNamespace({ peer }: Pick<XdsConnection, 'peer'>): boolean {
  // Whose identity does not fit its node was refused when it connected.
  return peer.identities.length > 0
}
