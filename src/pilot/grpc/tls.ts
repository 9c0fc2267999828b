// TLS of proxyless gRPC: certificates of the provider that Istio's gRPC bootstrap defines.
import { create, type DescMessage, type Message } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type TransportSocket, TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { StringMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'

const CERTIFICATE = { instanceName: 'default', certificateName: 'default' }
const AUTHORITY = { instanceName: 'default', certificateName: 'ROOTCA' }

/** Both forms of a provider's name, as in istiod: older clients read the deprecated fields only. */
function providerContext(names: readonly string[]): CommonTlsContext {
  return create(CommonTlsContextSchema, {
    tlsCertificateProviderInstance: CERTIFICATE,
    tlsCertificateCertificateProviderInstance: CERTIFICATE,
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          caCertificateProviderInstance: AUTHORITY,
          matchSubjectAltNames: names.map((value) =>
            create(StringMatcherSchema, { matchPattern: { case: 'exact', value } }),
          ),
        },
        validationContextCertificateProviderInstance: AUTHORITY,
      },
    },
  })
}

/** Clients take the socket by this name only. */
function tlsSocket<D extends DescMessage>(schema: D, context: Message): TransportSocket {
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: { case: 'typedConfig', value: anyPack(schema, context as never) },
  })
}

/** Mutual TLS towards servers with one of these names. */
export function clientTls(names: readonly string[]): TransportSocket {
  const context = create(UpstreamTlsContextSchema, { commonTlsContext: providerContext(names) })
  return tlsSocket(UpstreamTlsContextSchema, context)
}

export function serverTls(): TransportSocket {
  const context = create(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: providerContext([]),
  })
  return tlsSocket(DownstreamTlsContextSchema, context)
}
