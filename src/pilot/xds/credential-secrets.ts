// Where a proxy gets the certificates that resources name: from the control plane, its agent, or an SDS server of others.
import { create } from '@bufbuild/protobuf'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type SdsSecretConfig,
  SdsSecretConfigSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { NO_CREDENTIAL } from '../model/credential.ts'
import type { ProxyNode } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { ADS_SECRETS, agentSds, sdsFrom } from './messages.ts'
import { outboundClusterName } from './names.ts'

/** The cluster of the SDS server at {@link EXTERNAL_SDS_SOCKET}. */
export const EXTERNAL_SDS_CLUSTER = 'sds-external'
/** Where a pod that has an SDS server of its own for gateway credentials has its socket. */
export const EXTERNAL_SDS_SOCKET = './var/run/secrets/credential-uds/socket'
/** The cluster of an SDS server that serves files in the agent's place; the bootstrap has it. */
const FILE_SDS_CLUSTER = 'sds-files-grpc'

/** Names secrets of other SDS servers: `sds://name`. */
const EXTERNAL = 'sds://'
/** The certificate of the gateway's own workload. */
const BUILTIN = 'builtin://'

/** The SDS servers that a proxy has beside control plane and agent. */
export interface SecretSources {
  /** Serves `sds://` credentials at a socket of the pod (node metadata `credential`). */
  readonly socket: boolean
  /** Serves certificate files in the agent's place (node metadata `file-credential`). */
  readonly fileSocket: boolean
  /** Serves `sds://` credentials of gateways: a provider of MeshConfig. Null: none; `unknown`: its service is not known. */
  readonly provider: { readonly cluster: string; readonly authority: string } | 'unknown' | null
}

export function ownSources({ metadata }: Pick<ProxyNode, 'metadata'>): SecretSources {
  return { socket: metadata.credential === 'true', fileSocket: metadata['file-credential'] === 'true', provider: null }
}

/** For servers of Gateways, which a provider of the mesh may give their certificates. */
export function serverSources(proxy: Pick<ProxyNode, 'metadata'>, push: PushContext): SecretSources {
  const sds = push.mesh.extensionProviders.find((provider) => provider.sds !== undefined)?.sds
  if (!sds) return ownSources(proxy)
  const host = providerHost(push, sds.service)
  const provider = host === null ? 'unknown' : { cluster: outboundClusterName(sds.port, '', host), authority: host }
  return { ...ownSources(proxy), provider }
}

/** The secret of a `credentialName`; `suffix` is `-cacert` for what the other side's certificates are checked against. */
export function credentialSecret(name: string, sources: SecretSources, suffix: '' | '-cacert' = ''): SdsSecretConfig {
  if (name === BUILTIN) return meshSecret(suffix === '' ? 'default' : 'ROOTCA')
  if (name === NO_CREDENTIAL) return secret(NO_CREDENTIAL, ADS_SECRETS)
  const full = name + suffix
  if (!full.startsWith(EXTERNAL)) return secret(full.includes('://') ? full : `kubernetes://${full}`, ADS_SECRETS)
  // The pod's own server is told the whole name, as in istiod.
  if (sources.socket) return secret(full, sdsFrom(EXTERNAL_SDS_CLUSTER))
  const resource = full.slice(EXTERNAL.length)
  if (sources.provider === 'unknown') return secret(NO_CREDENTIAL, ADS_SECRETS)
  if (sources.provider) return secret(resource, sdsFrom(sources.provider.cluster, sources.provider.authority))
  return secret(resource.includes('://') ? resource : `kubernetes://${resource}`, ADS_SECRETS)
}

/** A certificate or authority in files of the pod: `file-cert:CHAIN~KEY`, `file-root:PATH`. */
export function fileSecret(name: string, { fileSocket }: SecretSources): SdsSecretConfig {
  return secret(name, fileSocket ? sdsFrom(FILE_SDS_CLUSTER) : agentSds(false))
}

/** The workload's own certificate (`default`) or the authority of the mesh (`ROOTCA`). */
export function meshSecret(name: 'default' | 'ROOTCA'): SdsSecretConfig {
  return secret(name, agentSds(true))
}

function secret(name: string, sdsConfig: ConfigSource): SdsSecretConfig {
  return create(SdsSecretConfigSchema, { name, sdsConfig })
}
