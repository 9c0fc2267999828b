// Management servers as configuration describes them: a gRPC channel to a cluster.

import { readFileSync } from 'node:fs'
import type { ChannelCredentials } from '@grpc/grpc-js'
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { type ApiConfigSource, ApiConfigSource_ApiType } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { UpstreamTlsContextSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { ADS_CHANNEL_OPTIONS, type AdsTransport } from '../../xds/index.ts'
import { readDataSource } from '../config/data-source.ts'
import { unpackAs } from '../config/extension-registry.ts'
import { pipeAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'

/** A cluster as a channel needs it. */
export interface GrpcCluster {
  readonly message: Cluster
  /** Of its endpoints; names too. */
  readonly addresses: readonly GrpcAddress[]
}

type GrpcAddress = Pick<Address, 'ip' | 'port' | 'pipe'>

/** Looks up a cluster, as it is now. */
export type FindCluster = (name: string) => GrpcCluster | undefined

/** With the endpoints that its message has. */
function grpcCluster(message: Cluster): GrpcCluster {
  const endpoints = (message.loadAssignment?.endpoints ?? []).flatMap(({ lbEndpoints }) => lbEndpoints)
  const addresses = endpoints.flatMap(({ hostIdentifier }): GrpcAddress[] => {
    const address = hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined
    if (address?.case === 'pipe') return [pipeAddress(address.value.path)]
    if (address?.case !== 'socketAddress') return []
    const { address: host, portSpecifier } = address.value
    return [{ ip: host, port: portSpecifier.case === 'portValue' ? portSpecifier.value : 0 }]
  })
  return { message, addresses }
}

/** Clusters of the bootstrap, by name. */
export function findStatic({ staticResources }: Bootstrap): FindCluster {
  return (name) => {
    const message = staticResources?.clusters.find((cluster) => cluster.name === name)
    return message && grpcCluster(message)
  }
}

/** Of the two ways to ask: changes only. */
export function isDelta(source: ApiConfigSource | undefined): boolean {
  return (
    source?.apiType === ApiConfigSource_ApiType.DELTA_GRPC ||
    source?.apiType === ApiConfigSource_ApiType.AGGREGATED_DELTA_GRPC
  )
}

/**
 * Throws ConfigError when the source names no gRPC service. `needed`: also when its cluster is not there, or has no endpoint;
 * else each attempt looks for itself. Attempts take the endpoints in turn; files are read anew for every connection.
 */
export function grpcTransport(
  source: ApiConfigSource,
  find: FindCluster,
  path: string,
  needed: 'needed' | 'may come later',
): AdsTransport {
  const service = source.grpcServices[0]
  if (!service) throw new ConfigError(`${path}.grpc_services`, 'is empty')
  const target = service.targetSpecifier
  if (target.case !== 'envoyGrpc')
    throw new ConfigError(`${path}.grpc_services[0]`, 'only envoy_grpc is supported by this proxy')
  const name = target.value.clusterName
  let attempts = 0
  const next = (): { cluster: Cluster; address: GrpcAddress } => {
    const cluster = find(name)
    if (!cluster) throw new ConfigError(`${path}.grpc_services[0].envoy_grpc.cluster_name`, `unknown cluster '${name}'`)
    const { addresses, message } = cluster
    if (addresses.length === 0)
      throw new ConfigError(`cluster ${name}`, 'needs an endpoint with a socket address or pipe')
    return { cluster: message, address: addresses[attempts++ % addresses.length]! }
  }
  if (needed === 'needed') {
    next()
    attempts = 0
  }
  const authority = target.value.authority
  return {
    async connect() {
      const { cluster, address } = next()
      const grpc = await grpcJs()
      return new grpc.Client(targetOf(address), credentialsOf(cluster, grpc), {
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

/** As gRPC writes it. */
function targetOf({ ip, port, pipe }: GrpcAddress): string {
  if (pipe !== undefined) return pipe.startsWith('@') ? `unix-abstract:${pipe.slice(1)}` : `unix:${pipe}`
  return `dns:${ip.includes(':') ? `[${ip}]` : ip}:${port}`
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
