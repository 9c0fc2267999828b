// Management servers as the bootstrap describes them: a gRPC channel to a static cluster.

import { readFileSync } from 'node:fs'
import type { ChannelCredentials } from '@grpc/grpc-js'
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { type ApiConfigSource, ApiConfigSource_ApiType } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { UpstreamTlsContextSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { ADS_CHANNEL_OPTIONS, type AdsTransport } from '../../xds/index.ts'
import { readDataSource } from '../config/data-source.ts'
import { unpackAs } from '../config/extension-registry.ts'

/** Looks up a cluster: of static_resources, where it is asked for before any other can be there. */
export type FindCluster = (name: string) => Cluster | undefined

/** Of the two ways to ask: changes only. */
export function isDelta(source: ApiConfigSource | undefined): boolean {
  return (
    source?.apiType === ApiConfigSource_ApiType.DELTA_GRPC ||
    source?.apiType === ApiConfigSource_ApiType.AGGREGATED_DELTA_GRPC
  )
}

/** Throws ConfigError when the source names no usable gRPC service. Files are read anew for every connection. */
export function grpcTransport(source: ApiConfigSource, find: FindCluster, path: string): AdsTransport {
  const service = source.grpcServices[0]
  if (!service) throw new ConfigError(`${path}.grpc_services`, 'is empty')
  const target = service.targetSpecifier
  if (target.case !== 'envoyGrpc')
    throw new ConfigError(`${path}.grpc_services[0]`, 'only envoy_grpc is supported by this proxy')
  const name = target.value.clusterName
  const cluster = find(name)
  if (!cluster) throw new ConfigError(`${path}.grpc_services[0].envoy_grpc.cluster_name`, `unknown cluster '${name}'`)
  const address = endpointOf(cluster)
  const authority = target.value.authority
  return {
    async connect() {
      const grpc = await grpcJs()
      return new grpc.Client(address, credentialsOf(cluster, grpc), {
        ...ADS_CHANNEL_OPTIONS,
        'grpc.default_authority': authority || name,
        ...serverName(cluster, authority),
      })
    },
    async metadata() {
      const metadata = new (await grpcJs()).Metadata()
      for (const { key, value } of service.initialMetadata) metadata.add(key, value)
      return metadata
    },
  }
}

type GrpcJs = typeof import('@grpc/grpc-js')

/** Not loaded with this module, which a proxy with static configuration loads too. */
function grpcJs(): Promise<GrpcJs> {
  return import('@grpc/grpc-js')
}

/** gRPC's target of the cluster's first endpoint. */
function endpointOf(cluster: Cluster): string {
  const endpoint = cluster.loadAssignment?.endpoints[0]?.lbEndpoints[0]?.hostIdentifier
  const address = endpoint?.case === 'endpoint' ? endpoint.value.address?.address : undefined
  if (address?.case === 'pipe') {
    const { path } = address.value
    return path.startsWith('@') ? `unix-abstract:${path.slice(1)}` : `unix:${path}`
  }
  if (address?.case === 'socketAddress') {
    const { value } = address
    const host = value.address.includes(':') ? `[${value.address}]` : value.address
    return `dns:${host}:${value.portSpecifier.value ?? 0}`
  }
  throw new ConfigError(`cluster ${cluster.name}`, 'needs an endpoint with a socket address or pipe')
}

function tlsOf(cluster: Cluster) {
  const config = cluster.transportSocket?.configType
  if (config?.case !== 'typedConfig' || config.value.typeUrl.endsWith('.RawBuffer')) return null
  return unpackAs(config.value, UpstreamTlsContextSchema, `cluster ${cluster.name}.transport_socket`)
}

function credentialsOf(cluster: Cluster, { credentials }: GrpcJs): ChannelCredentials {
  const tls = tlsOf(cluster)
  if (tls === null) return credentials.createInsecure()
  const common = tls.commonTlsContext
  const validation =
    common?.validationContextType.case === 'validationContext' ? common.validationContextType.value : undefined
  const certificate = common?.tlsCertificates[0]
  const read = (source: DataSource | undefined): Buffer | null =>
    source?.specifier.case === 'filename'
      ? readFileSync(source.specifier.value)
      : source
        ? readDataSource(source, cluster.name)
        : null
  return credentials.createSsl(
    read(validation?.trustedCa),
    read(certificate?.privateKey),
    read(certificate?.certificateChain),
  )
}

function serverName(cluster: Cluster, authority: string): Record<string, string> {
  const sni = tlsOf(cluster)?.sni || authority
  return sni ? { 'grpc.ssl_target_name_override': sni } : {}
}
