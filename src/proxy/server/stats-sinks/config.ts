// stats_sinks of the bootstrap → plain data.

import { isIP } from 'node:net'
import type { Bootstrap } from '../../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Cluster } from '../../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Address as AddressMessage } from '../../../api/gen/envoy/config/core/v3/address_pb.js'
import {
  DogStatsdSinkSchema,
  StatsdSinkSchema,
  type StatsSink,
} from '../../../api/gen/envoy/config/metrics/v3/stats_pb.js'
import { GraphiteStatsdSinkSchema } from '../../../api/gen/envoy/extensions/stat_sinks/graphite_statsd/v3/graphite_statsd_pb.js'
import { typeNameOf } from '../../../api/registry.ts'
import { ConfigError } from '../../../base/errors.ts'
import { unpackAs } from '../../config/extension-registry.ts'
import type { TagStyle } from './statsd-lines.ts'

/** A sink that takes statsd lines. */
export interface StatsdSinkData {
  readonly prefix: string
  readonly tags: TagStyle
  readonly to:
    | { readonly kind: 'udp'; readonly ip: string; readonly port: number; readonly maxDatagramBytes: number }
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
}

/** Envoy's. */
const DEFAULT_PREFIX = 'envoy'

/** Throws ConfigError for sinks that this proxy lacks. */
export function parseStatsSinks(bootstrap: Bootstrap): StatsdSinkData[] {
  const clusters = bootstrap.staticResources?.clusters ?? []
  return bootstrap.statsSinks.map((sink, i) => parseSink(sink, clusters, `stats_sinks[${i}]`))
}

function parseSink({ name, configType }: StatsSink, clusters: readonly Cluster[], path: string): StatsdSinkData {
  const any = configType.value
  const at = `${path}.typed_config`
  if (any === undefined) throw new ConfigError(at, `stats sink "${name}" has no typed_config`)
  switch (typeNameOf(any.typeUrl)) {
    case StatsdSinkSchema.typeName: {
      const { statsdSpecifier: to, prefix } = unpackAs(any, StatsdSinkSchema, at)
      const common = { prefix: prefix || DEFAULT_PREFIX, tags: 'none' } as const
      if (to.case === 'tcpClusterName')
        return { ...common, to: parseCluster(to.value, clusters, `${at}.tcp_cluster_name`) }
      return { ...common, to: parseUdp(to.value, 0, `${at}.address`) }
    }
    case DogStatsdSinkSchema.typeName: {
      const sink = unpackAs(any, DogStatsdSinkSchema, at)
      const bytes = Number(sink.maxBytesPerDatagram ?? 0n)
      return {
        prefix: sink.prefix || DEFAULT_PREFIX,
        tags: 'dog',
        to: parseUdp(sink.dogStatsdSpecifier.value, bytes, `${at}.address`),
      }
    }
    case GraphiteStatsdSinkSchema.typeName: {
      const sink = unpackAs(any, GraphiteStatsdSinkSchema, at)
      const bytes = Number(sink.maxBytesPerDatagram ?? 0n)
      return {
        prefix: sink.prefix || DEFAULT_PREFIX,
        tags: 'graphite',
        to: parseUdp(sink.statsdSpecifier.value, bytes, `${at}.address`),
      }
    }
    default:
      throw new ConfigError(
        at,
        `no stats sink "${name}" of type ${typeNameOf(any.typeUrl) || '(empty)'}; this build has envoy.stat_sinks.statsd, envoy.stat_sinks.dog_statsd and envoy.stat_sinks.graphite_statsd`,
      )
  }
}

function parseUdp(message: AddressMessage | undefined, maxDatagramBytes: number, path: string): StatsdSinkData['to'] {
  const address = message?.address
  if (address?.case !== 'socketAddress')
    throw new ConfigError(path, 'needs a socket_address; other kinds are not supported by this proxy')
  const { address: ip, portSpecifier } = address.value
  if (isIP(ip) === 0) throw new ConfigError(`${path}.socket_address.address`, `malformed IP address: ${ip}`)
  if (portSpecifier.case !== 'portValue') throw new ConfigError(`${path}.socket_address`, 'needs a port_value')
  return { kind: 'udp', ip, port: portSpecifier.value, maxDatagramBytes }
}

/** As management servers, the sink is reached at the cluster's first endpoint. */
function parseCluster(name: string, clusters: readonly Cluster[], path: string): StatsdSinkData['to'] {
  const cluster = clusters.find((one) => one.name === name)
  if (cluster === undefined) throw new ConfigError(path, `tcp statsd: unknown cluster '${name}'`)
  if (cluster.transportSocket && !cluster.transportSocket.configType.value?.typeUrl.endsWith('.RawBuffer'))
    throw new ConfigError(path, `cluster '${name}' has a transport socket: not supported for statsd by this proxy`)
  const endpoint = cluster.loadAssignment?.endpoints[0]?.lbEndpoints[0]?.hostIdentifier
  const address = endpoint?.case === 'endpoint' ? endpoint.value.address?.address : undefined
  if (address?.case !== 'socketAddress' || address.value.portSpecifier.case !== 'portValue')
    throw new ConfigError(path, `cluster '${name}' needs an endpoint with a socket address`)
  return { kind: 'tcp', host: address.value.address, port: address.value.portSpecifier.value }
}
