// Upstream TLS of outbound clusters: Istio mutual TLS, automatic or asked for, and TLS to others.

import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import type { Cluster_TransportSocketMatch } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { Cluster_TransportSocketMatchSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { type TransportSocket, TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ProxyProtocolConfig_Version } from '../../api/gen/envoy/config/core/v3/proxy_protocol_pb.js'
import { ProxyProtocolUpstreamTransportSchema } from '../../api/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  TlsParameters_TlsProtocol,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  type UpstreamTlsContext,
  UpstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { StringMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import type { ClientTls, MeshConfig } from '../../config/index.ts'
import type { ProxyNode } from '../model/node.ts'
import { credentialSecret, fileSecret, meshSecret, type SecretSources } from '../xds/credential-secrets.ts'
import { RAW_BUFFER_SOCKET } from '../xds/messages.ts'

const ISTIO_ALPN = ['istio-peer-exchange', 'istio'] as const
const ISTIO_ALPN_H2 = ['istio-peer-exchange', 'istio', 'h2'] as const

const CURVES_AND_VERSIONS = {
  tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_2,
  tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
}

/** What decides a cluster's TLS. */
export interface TlsInputs {
  readonly mesh: MeshConfig
  readonly http2: boolean
  /** Default server name: `outbound_.P_.subset_.host`. */
  readonly sni: string
  /** Identities that the endpoints may have; empty: any certificate of the mesh. */
  readonly subjectAltNames: readonly string[]
  /** The service is a ServiceEntry: its names stand in for those that a rule leaves out. */
  readonly external: boolean
  readonly router: boolean
  /** The DestinationRule selects workloads: sidecars may then read credentials too. */
  readonly selecting: boolean
  /** Of the proxy. */
  readonly secrets: SecretSources
}

/** TLS of a cluster, and what the names of each request's host decide of it. */
export interface ClusterTls {
  /** Null: without the certificate that its settings ask for there is no TLS, as in istiod. */
  readonly socket: TransportSocket | null
  readonly autoSni: boolean
  readonly autoSan: boolean
}

/** TLS of a cluster whose DestinationRule says `tls`; null: none (DISABLE). */
export function explicitTls(tls: ClientTls, inputs: TlsInputs): ClusterTls | null {
  switch (tls.mode ?? 'DISABLE') {
    case 'DISABLE':
      return null
    case 'ISTIO_MUTUAL':
      return {
        socket: tlsSocket(
          istioMutualContext(
            tls.sni || inputs.sni,
            tls.subjectAltNames?.length ? tls.subjectAltNames : inputs.subjectAltNames,
            inputs,
          ),
        ),
        autoSni: false,
        autoSan: false,
      }
    default: {
      // Sidecars may not read credentials: without one there is no TLS, as in istiod.
      if (tls.credentialName && !usesCredential(tls, inputs)) return null
      const verify = !tls.insecureSkipVerify
      const autoSni = !tls.sni
      const lacksFiles = tls.mode === 'MUTUAL' && !tls.credentialName && !(tls.clientCertificate && tls.privateKey)
      return {
        socket: lacksFiles ? null : tlsSocket(originationContext(tls, inputs)),
        autoSni,
        autoSan: autoSni && verify && !tls.subjectAltNames?.length,
      }
    }
  }
}

/** Certificate files that a proxy's node names as its client certificate; each a path, or empty. */
export interface NodeCertificates {
  readonly chain: string
  readonly key: string
  readonly root: string
}

/** Node metadata TLS_CLIENT_CERT_CHAIN, TLS_CLIENT_KEY and TLS_CLIENT_ROOT_CERT; null without a chain. */
export function nodeCertificates({ metadata }: Pick<ProxyNode, 'metadata'>): NodeCertificates | null {
  const text = (name: string): string => (typeof metadata[name] === 'string' ? metadata[name] : '')
  const chain = text('TLS_CLIENT_CERT_CHAIN')
  return chain === '' ? null : { chain, key: text('TLS_CLIENT_KEY'), root: text('TLS_CLIENT_ROOT_CERT') }
}

/** Mutual TLS with a node's own files: of a rule's settings only names and the leave not to verify count. */
export function nodeTls(
  { chain, key, root }: NodeCertificates,
  { subjectAltNames, sni, insecureSkipVerify }: Pick<ClientTls, 'subjectAltNames' | 'sni' | 'insecureSkipVerify'>,
): ClientTls {
  return {
    mode: 'MUTUAL',
    clientCertificate: chain,
    privateKey: key,
    caCertificates: root,
    subjectAltNames,
    sni,
    insecureSkipVerify,
  }
}

/** Istio mutual TLS with the workload's own certificate. */
export function istioMutualContext(
  sni: string,
  subjectAltNames: readonly string[],
  inputs: TlsInputs,
): UpstreamTlsContext {
  return create(UpstreamTlsContextSchema, {
    sni,
    commonTlsContext: {
      tlsParams: CURVES_AND_VERSIONS,
      alpnProtocols: [...(inputs.http2 ? ISTIO_ALPN_H2 : ISTIO_ALPN)],
      tlsCertificateSdsSecretConfigs: [meshSecret('default')],
      validationContextType: {
        case: 'combinedValidationContext',
        value: {
          defaultValidationContext: exactNames(subjectAltNames),
          validationContextSdsSecretConfig: meshSecret('ROOTCA'),
        },
      },
    },
  })
}

function exactNames(names: readonly string[]): CertificateValidationContext {
  return create(CertificateValidationContextSchema, {
    matchSubjectAltNames: names.map((name) =>
      create(StringMatcherSchema, { matchPattern: { case: 'exact', value: name } }),
    ),
  })
}

function originationContext(tls: ClientTls, inputs: TlsInputs): UpstreamTlsContext {
  const common = create(CommonTlsContextSchema, {
    tlsParams: originationParameters(inputs.mesh.tlsDefaults ?? {}),
    alpnProtocols: inputs.http2 ? ['h2'] : [],
  })
  setClientCertificate(common, tls, inputs)
  setValidation(common, tls, inputs)
  return create(UpstreamTlsContextSchema, { sni: tls.sni ?? '', commonTlsContext: common })
}

/** Ciphers and curves of TLS that is not the mesh's own come from MeshConfig.tlsDefaults. */
function originationParameters(defaults: NonNullable<MeshConfig['tlsDefaults']>) {
  const { ecdhCurves = [], cipherSuites = [] } = defaults
  return {
    ...CURVES_AND_VERSIONS,
    ecdhCurves: [...ecdhCurves],
    cipherSuites: [...cipherSuites],
  }
}

function setClientCertificate(common: CommonTlsContext, tls: ClientTls, inputs: TlsInputs): void {
  if (tls.mode !== 'MUTUAL') return
  if (usesCredential(tls, inputs))
    common.tlsCertificateSdsSecretConfigs = [credentialSecret(tls.credentialName!, inputs.secrets)]
  else if (tls.clientCertificate) {
    common.tlsCertificateSdsSecretConfigs = [
      fileSecret(`file-cert:${tls.clientCertificate}~${tls.privateKey ?? ''}`, inputs.secrets),
    ]
  }
}

function setValidation(common: CommonTlsContext, tls: ClientTls, inputs: TlsInputs): void {
  const own = tls.subjectAltNames ?? []
  const context = exactNames(own.length === 0 && inputs.external ? inputs.subjectAltNames : own)
  if (tls.caCrl)
    context.crl = { $typeName: 'envoy.config.core.v3.DataSource', specifier: { case: 'filename', value: tls.caCrl } }
  if (tls.insecureSkipVerify) {
    // Beside a credential istiod says nothing, which Envoy takes for the same.
    if (usesCredential(tls, inputs)) return
    common.validationContextType = { case: 'validationContext', value: create(CertificateValidationContextSchema) }
    return
  }
  const secret = usesCredential(tls, inputs)
    ? credentialSecret(tls.credentialName!, inputs.secrets, '-cacert')
    : fileSecret(`file-root:${tls.caCertificates || 'system'}`, inputs.secrets)
  common.validationContextType = {
    case: 'combinedValidationContext',
    value: {
      $typeName: 'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext',
      defaultValidationContext: context,
      validationContextSdsSecretConfig: secret,
    },
  }
}

/** Credentials reach gateways by ADS; sidecars only through a rule that selects them, so no secret leaks to a namespace. */
function usesCredential(tls: ClientTls, inputs: TlsInputs): boolean {
  if (!tls.credentialName) return false
  return inputs.router || inputs.selecting || tls.credentialName.startsWith('configmap://')
}

export function tlsSocket(context: UpstreamTlsContext): TransportSocket {
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: { case: 'typedConfig', value: anyPack(UpstreamTlsContextSchema, context) },
  })
}

/** Automatic mutual TLS: per endpoint, by its metadata. */
export function autoTlsMatches(tls: TransportSocket): Cluster_TransportSocketMatch[] {
  return [
    create(Cluster_TransportSocketMatchSchema, {
      name: 'tlsMode-istio',
      match: { tlsMode: 'istio' },
      transportSocket: tls,
    }),
    create(Cluster_TransportSocketMatchSchema, {
      name: 'tlsMode-disabled',
      match: {},
      transportSocket: RAW_BUFFER_SOCKET,
    }),
  ]
}

/** Wraps a transport socket so that the PROXY protocol header goes first. */
export function withProxyProtocol(socket: TransportSocket, version: 'V1' | 'V2'): TransportSocket {
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    configType: {
      case: 'typedConfig',
      value: anyPack(
        ProxyProtocolUpstreamTransportSchema,
        create(ProxyProtocolUpstreamTransportSchema, {
          config: { version: version === 'V2' ? ProxyProtocolConfig_Version.V2 : ProxyProtocolConfig_Version.V1 },
          transportSocket: socket,
        }),
      ),
    },
  })
}
