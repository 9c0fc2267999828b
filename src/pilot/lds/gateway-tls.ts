// TLS of a Gateway's server, or of a Sidecar's ingress: who the server is, and what clients must show.
import { create } from '@bufbuild/protobuf'
import type { TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  type TlsParameters,
  TlsParametersSchema,
  CertificateValidationContext_TrustChainVerification as TrustChainVerification,
  TlsParameters_TlsProtocol as Version,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type SdsSecretConfig,
  SdsSecretConfigSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { DownstreamTlsContextSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { CIPHER_SUITES, type MeshConfig, type ServerTls, type TlsProtocolVersion } from '../../config/index.ts'
import { ADS_SECRETS, agentSds } from '../xds/messages.ts'
import { downstreamSocket } from './downstream-tls.ts'

const ALPN = ['h2', 'http/1.1']

/** Versions, ciphers and curves that a server does not say come from MeshConfig.tlsDefaults. */
export function gatewayTlsSocket(tls: ServerTls, mesh: Pick<MeshConfig, 'tlsDefaults'>): TransportSocket {
  const clientCa = clientCaSecret(tls)
  return downstreamSocket(
    create(DownstreamTlsContextSchema, {
      requireClientCertificate: tls.mode === 'MUTUAL' || tls.mode === 'ISTIO_MUTUAL',
      commonTlsContext: {
        alpnProtocols: ALPN,
        tlsParams: parameters(tls, mesh.tlsDefaults ?? {}),
        tlsCertificateSdsSecretConfigs: certificateSecrets(tls),
        validationContextType: clientCa
          ? {
              case: 'combinedValidationContext',
              value: { defaultValidationContext: clientNames(tls), validationContextSdsSecretConfig: clientCa },
            }
          : undefined,
      },
    }),
  )
}

const VERSIONS: Readonly<Record<TlsProtocolVersion, Version>> = {
  TLS_AUTO: Version.TLS_AUTO,
  TLSV1_0: Version.TLSv1_0,
  TLSV1_1: Version.TLSv1_1,
  TLSV1_2: Version.TLSv1_2,
  TLSV1_3: Version.TLSv1_3,
}

/** Nothing asked: Envoy's own defaults. */
function parameters(tls: ServerTls, defaults: NonNullable<MeshConfig['tlsDefaults']>): TlsParameters | undefined {
  const { maxProtocolVersion } = tls
  const minProtocolVersion = tls.minProtocolVersion ?? defaults.minProtocolVersion
  const asked = tls.cipherSuites?.length ? tls.cipherSuites : (defaults.cipherSuites ?? [])
  const cipherSuites = [...new Set(asked)].filter((suite) => CIPHER_SUITES.has(suite))
  const ecdhCurves = defaults.ecdhCurves ?? []
  if (!minProtocolVersion && !maxProtocolVersion && cipherSuites.length + ecdhCurves.length === 0) return undefined
  return create(TlsParametersSchema, {
    tlsMinimumProtocolVersion: VERSIONS[minProtocolVersion ?? 'TLS_AUTO'],
    tlsMaximumProtocolVersion: VERSIONS[maxProtocolVersion ?? 'TLS_AUTO'],
    cipherSuites,
    ecdhCurves: [...ecdhCurves],
  })
}

function certificateSecrets(tls: ServerTls): SdsSecretConfig[] {
  // `builtin://`: the certificate of the gateway's own workload.
  if (tls.mode === 'ISTIO_MUTUAL' || tls.credentialName === 'builtin://') return [meshSecret('default')]
  if (tls.credentialNames?.length) return tls.credentialNames.map(credential)
  if (tls.credentialName) return [credential(tls.credentialName)]
  if (tls.tlsCertificates?.length) {
    return tls.tlsCertificates.map((c) => fileSecret(`file-cert:${c.serverCertificate ?? ''}~${c.privateKey ?? ''}`))
  }
  return [fileSecret(`file-cert:${tls.serverCertificate ?? ''}~${tls.privateKey ?? ''}`)]
}

/** Where the CA of client certificates comes from; null when clients show none. */
function clientCaSecret(tls: ServerTls): SdsSecretConfig | null {
  switch (tls.mode) {
    case 'ISTIO_MUTUAL':
      return meshSecret('ROOTCA')
    case 'MUTUAL':
    case 'OPTIONAL_MUTUAL': {
      if (tls.caCertCredentialName) return credential(tls.caCertCredentialName)
      const name = tls.credentialName ?? tls.credentialNames?.[0]
      if (name) return credential(`${name}-cacert`)
      return tls.caCertificates ? fileSecret(`file-root:${tls.caCertificates}`) : null
    }
    default:
      return null
  }
}

function clientNames(tls: ServerTls): CertificateValidationContext {
  return create(CertificateValidationContextSchema, {
    matchSubjectAltNames: tls.subjectAltNames?.map((name) => ({
      matchPattern: { case: 'exact' as const, value: name },
    })),
    verifyCertificateSpki: [...(tls.verifyCertificateSpki ?? [])],
    verifyCertificateHash: [...(tls.verifyCertificateHash ?? [])],
    trustChainVerification: tls.insecureSkipVerify
      ? TrustChainVerification.ACCEPT_UNTRUSTED
      : TrustChainVerification.VERIFY_TRUST_CHAIN,
    crl: tls.caCrl ? { specifier: { case: 'filename', value: tls.caCrl } } : undefined,
  })
}

function credential(name: string): SdsSecretConfig {
  const full = name.includes('://') ? name : `kubernetes://${name}`
  return create(SdsSecretConfigSchema, { name: full, sdsConfig: ADS_SECRETS })
}

function meshSecret(name: string): SdsSecretConfig {
  return create(SdsSecretConfigSchema, { name, sdsConfig: agentSds(true) })
}

function fileSecret(name: string): SdsSecretConfig {
  return create(SdsSecretConfigSchema, { name, sdsConfig: agentSds(false) })
}
