// TLS that inbound chains terminate: the mesh's own mutual TLS.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type TransportSocket, TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { TlsParameters_TlsProtocol } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type DownstreamTlsContext,
  DownstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { MeshConfig } from '../../config/index.ts'
import { meshSecret } from '../xds/credential-secrets.ts'

/** Istio's cipher suites for inbound TLS 1.2. */
const CIPHER_SUITES = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
]
const HTTP_ALPN = ['h2', 'http/1.1']
const TCP_ALPN = ['istio-peer-exchange', 'h2', 'http/1.1']

const memo = new WeakMap<MeshConfig, { http: TransportSocket; tcp: TransportSocket }>()

/** The transport socket of inbound mutual TLS; one a mesh and chain kind. */
export function mutualTlsSocket(mesh: MeshConfig, kind: 'http' | 'tcp'): TransportSocket {
  let sockets = memo.get(mesh)
  if (!sockets) {
    sockets = { http: downstreamSocket(context(mesh, HTTP_ALPN)), tcp: downstreamSocket(context(mesh, TCP_ALPN)) }
    memo.set(mesh, sockets)
  }
  return sockets[kind]
}

export function downstreamSocket(tls: DownstreamTlsContext): TransportSocket {
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: { case: 'typedConfig', value: anyPack(DownstreamTlsContextSchema, tls) },
  })
}

function context(mesh: MeshConfig, alpnProtocols: string[]): DownstreamTlsContext {
  const { minProtocolVersion, ecdhCurves, cipherSuites } = mesh.meshMTLS ?? {}
  const tls13Only = minProtocolVersion === 'TLSV1_3'
  return create(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: {
      alpnProtocols,
      tlsParams: {
        tlsMinimumProtocolVersion: tls13Only ? TlsParameters_TlsProtocol.TLSv1_3 : TlsParameters_TlsProtocol.TLSv1_2,
        tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
        cipherSuites: cipherSuites?.length ? [...cipherSuites] : CIPHER_SUITES,
        ecdhCurves: [...(ecdhCurves ?? [])],
      },
      tlsCertificateSdsSecretConfigs: [meshSecret('default')],
      validationContextType: {
        case: 'combinedValidationContext',
        value: {
          defaultValidationContext: { matchSubjectAltNames: trustDomains(mesh) },
          validationContextSdsSecretConfig: meshSecret('ROOTCA'),
        },
      },
    },
  })
}

/** A client's identity must be of the mesh's trust domain or of one of its aliases. */
function trustDomains(mesh: MeshConfig) {
  return [mesh.trustDomain, ...mesh.trustDomainAliases].map((domain) => ({
    matchPattern: { case: 'prefix' as const, value: `spiffe://${domain}/` },
  }))
}
