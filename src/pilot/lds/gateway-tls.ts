// TLS of a Gateway's server, or of a Sidecar's ingress: who the server is, and what clients must show.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import type { TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  type TlsParameters,
  TlsParametersSchema,
  CertificateValidationContext_TrustChainVerification as TrustChainVerification,
  TlsParameters_TlsProtocol as Version,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { SdsSecretConfig } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { isCipherSuite, type MeshConfig, type ServerTls, type TlsProtocolVersion } from '../../config/index.ts'
import { isHttp, type Protocol } from '../model/protocol.ts'
import { credentialSecret, fileSecret, meshSecret, type SecretSources } from '../xds/credential-secrets.ts'
import { downstreamSocket } from './downstream-tls.ts'

const ALPN = ['h2', 'http/1.1']
/** TCP over mutual TLS of the mesh: peers tell each other who they are. */
const PEER_EXCHANGE_ALPN = ['istio-peer-exchange', ...ALPN]

/** Versions, ciphers and curves that a server does not say come from MeshConfig.tlsDefaults. */
export function gatewayTlsSocket(
  tls: ServerTls,
  mesh: Pick<MeshConfig, 'tlsDefaults'>,
  protocol: Protocol,
  secrets: SecretSources,
): TransportSocket {
  const mutual = tls.mode === 'ISTIO_MUTUAL'
  const carriesTcp = !isHttp(protocol) && protocol !== 'HTTPS'
  return downstreamSocket(
    create(DownstreamTlsContextSchema, {
      requireClientCertificate: tls.mode === 'MUTUAL' || mutual,
      commonTlsContext: {
        alpnProtocols: mutual && carriesTcp ? PEER_EXCHANGE_ALPN : ALPN,
        tlsParams: mutual ? undefined : parameters(tls, mesh.tlsDefaults ?? {}),
        tlsCertificateSdsSecretConfigs: certificateSecrets(tls, secrets),
        validationContextType: clientValidation(tls, secrets),
      },
    }),
  )
}

function clientValidation(
  tls: ServerTls,
  secrets: SecretSources,
): MessageInitShape<typeof CommonTlsContextSchema>['validationContextType'] {
  const clientCa = clientCaSecret(tls, secrets)
  if (clientCa) {
    return {
      case: 'combinedValidationContext',
      value: { defaultValidationContext: clientNames(tls), validationContextSdsSecretConfig: clientCa },
    }
  }
  // Names are checked of clients that show a certificate without being asked who signed it.
  if (!byCredential(tls) || !tls.subjectAltNames?.length) return undefined
  return { case: 'validationContext', value: { matchSubjectAltNames: exactNames(tls) } }
}

/** Certificates come from Secrets, not from files. */
function byCredential({ credentialName, credentialNames, mode }: ServerTls): boolean {
  return mode !== 'ISTIO_MUTUAL' && Boolean(credentialName || credentialNames?.length)
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
  const version = (asked: TlsProtocolVersion | undefined) => (asked === 'TLS_AUTO' ? undefined : asked)
  const maxProtocolVersion = version(tls.maxProtocolVersion)
  const minProtocolVersion = version(tls.minProtocolVersion) ?? version(defaults.minProtocolVersion)
  const asked = tls.cipherSuites?.length ? tls.cipherSuites : (defaults.cipherSuites ?? [])
  const cipherSuites = [...new Set(asked)].filter(isCipherSuite)
  const ecdhCurves = defaults.ecdhCurves ?? []
  if (!minProtocolVersion && !maxProtocolVersion && cipherSuites.length + ecdhCurves.length === 0) return undefined
  return create(TlsParametersSchema, {
    tlsMinimumProtocolVersion: VERSIONS[minProtocolVersion ?? 'TLS_AUTO'],
    tlsMaximumProtocolVersion: VERSIONS[maxProtocolVersion ?? 'TLS_AUTO'],
    cipherSuites,
    ecdhCurves: [...ecdhCurves],
  })
}

function certificateSecrets(tls: ServerTls, secrets: SecretSources): SdsSecretConfig[] {
  if (tls.mode === 'ISTIO_MUTUAL') return [meshSecret('default')]
  if (tls.credentialNames?.length) return tls.credentialNames.map((name) => credentialSecret(name, secrets))
  if (tls.credentialName) return [credentialSecret(tls.credentialName, secrets)]
  const pairs = tls.tlsCertificates?.length ? tls.tlsCertificates : [tls]
  return pairs.map((pair) => certificateFiles(pair, secrets))
}

function certificateFiles(
  { serverCertificate, privateKey }: Pick<ServerTls, 'serverCertificate' | 'privateKey'>,
  secrets: SecretSources,
) {
  if (!serverCertificate || !privateKey) return meshSecret('default')
  return fileSecret(`file-cert:${serverCertificate}~${privateKey}`, secrets)
}

/** Where the CA of client certificates comes from; null when clients show none. */
function clientCaSecret(tls: ServerTls, secrets: SecretSources): SdsSecretConfig | null {
  switch (tls.mode) {
    case 'ISTIO_MUTUAL':
      return meshSecret('ROOTCA')
    case 'MUTUAL':
    case 'OPTIONAL_MUTUAL': {
      if (tls.caCertCredentialName) return credentialSecret(tls.caCertCredentialName, secrets)
      const name = tls.credentialName ?? tls.credentialNames?.[0]
      if (name) return credentialSecret(name, secrets, '-cacert')
      return tls.caCertificates ? fileSecret(`file-root:${tls.caCertificates}`, secrets) : meshSecret('ROOTCA')
    }
    default:
      return null
  }
}

function exactNames(tls: ServerTls) {
  return tls.subjectAltNames?.map((name) => ({ matchPattern: { case: 'exact' as const, value: name } }))
}

function clientNames(tls: ServerTls): CertificateValidationContext {
  const secrets = byCredential(tls)
  return create(CertificateValidationContextSchema, {
    matchSubjectAltNames: exactNames(tls),
    verifyCertificateSpki: secrets ? [...(tls.verifyCertificateSpki ?? [])] : [],
    verifyCertificateHash: secrets ? [...(tls.verifyCertificateHash ?? [])] : [],
    trustChainVerification: tls.insecureSkipVerify
      ? TrustChainVerification.ACCEPT_UNTRUSTED
      : TrustChainVerification.VERIFY_TRUST_CHAIN,
    // A list of revoked certificates comes with the Secret.
    crl: tls.caCrl && !secrets ? { specifier: { case: 'filename', value: tls.caCrl } } : undefined,
  })
}
