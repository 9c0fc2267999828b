// The two ends of a connection as an authorization service is told of them (envoy.service.auth.v3.AttributeContext).

import { create } from '@bufbuild/protobuf'
import { type Address as AddressMessage, AddressSchema } from '../../../api/gen/envoy/config/core/v3/address_pb.js'
import {
  type AttributeContext_Peer,
  AttributeContext_PeerSchema,
} from '../../../api/gen/envoy/service/auth/v3/attribute_context_pb.js'
import type { Address, ConnectionInfo } from '../../network/connection.ts'

function addressMessage(address: Address): AddressMessage {
  if (address.pipe !== undefined)
    return create(AddressSchema, { address: { case: 'pipe', value: { path: address.pipe } } })
  return create(AddressSchema, {
    address: {
      case: 'socketAddress',
      value: { address: address.ip, portSpecifier: { case: 'portValue', value: address.port } },
    },
  })
}

function principalOf(
  sans: readonly string[] | undefined,
  dns: readonly string[] | undefined,
  subject: string | undefined,
): string {
  return sans?.[0] ?? dns?.[0] ?? subject ?? ''
}

/** The client; `service` is what it calls itself. */
export function sourcePeer(
  { remoteAddress, ssl }: Pick<ConnectionInfo, 'remoteAddress'> & { ssl: ReturnType<ConnectionInfo['ssl']> },
  service: string,
  withCertificate: boolean,
): AttributeContext_Peer {
  return create(AttributeContext_PeerSchema, {
    address: addressMessage(remoteAddress),
    principal: principalOf(ssl?.uriSanPeer, ssl?.dnsSanPeer, ssl?.subjectPeer),
    service,
    certificate: withCertificate ? (ssl?.pemPeer ?? '') : '',
  })
}

/** This side; `service` is the name that a TLS client asked for. */
export function destinationPeer(
  { localAddress, ssl }: Pick<ConnectionInfo, 'localAddress'> & { ssl: ReturnType<ConnectionInfo['ssl']> },
  service: string,
): AttributeContext_Peer {
  return create(AttributeContext_PeerSchema, {
    address: addressMessage(localAddress),
    principal: principalOf(ssl?.uriSanLocal, ssl?.dnsSanLocal, ssl?.subjectLocal),
    service,
  })
}
