// Small builders for messages that several generators make.
import { create, type JsonObject } from '@bufbuild/protobuf'
import { type Any, anyPack, type Duration, DurationSchema } from '@bufbuild/protobuf/wkt'
import { type Address, AddressSchema } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import { type TransportSocket, TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  ApiConfigSource_ApiType,
  ApiVersion,
  type ConfigSource,
  ConfigSourceSchema,
} from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { RawBufferSchema } from '../../api/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { TypedStructSchema } from '../../api/gen/udpa/type/v1/typed_struct_pb.js'

/** A protobuf duration from milliseconds (may be fractional). */
export function durationOf(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000)
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) })
}

/** An IP and port, or a pipe for `unix://path`. */
export function addressOf(host: string, port: number): Address {
  if (host.startsWith('unix://')) {
    return create(AddressSchema, { address: { case: 'pipe', value: { path: host.slice('unix://'.length) } } })
  }
  return create(AddressSchema, {
    address: {
      case: 'socketAddress',
      value: { address: host, portSpecifier: { case: 'portValue', value: port } },
    },
  })
}

/** An address or a range of them. */
export function cidrRange(range: string): { addressPrefix: string; prefixLen: number } {
  const slash = range.indexOf('/')
  const address = slash < 0 ? range : range.slice(0, slash)
  const bits = slash < 0 ? (address.includes(':') ? 128 : 32) : Number(range.slice(slash + 1))
  return { addressPrefix: address, prefixLen: bits }
}

/** Resources over the same ADS stream, waited for without limit. */
export const ADS_WITHOUT_TIMEOUT: ConfigSource = create(ConfigSourceSchema, {
  configSourceSpecifier: { case: 'ads', value: {} },
  initialFetchTimeout: durationOf(0),
  resourceApiVersion: ApiVersion.V3,
})

/** Secrets that the control plane itself holds (`kubernetes://…`). */
export const ADS_SECRETS: ConfigSource = create(ConfigSourceSchema, {
  configSourceSpecifier: { case: 'ads', value: {} },
  resourceApiVersion: ApiVersion.V3,
})

/** Secrets from the agent's SDS socket. Mesh certificates (`default`, `ROOTCA`) are waited for without limit. */
export function agentSds(waitWithoutLimit: boolean): ConfigSource {
  const source = sdsFrom('sds-grpc')
  if (waitWithoutLimit) source.initialFetchTimeout = durationOf(0)
  return source
}

/** Secrets from the SDS server of a cluster. */
export function sdsFrom(clusterName: string, authority = ''): ConfigSource {
  return create(ConfigSourceSchema, {
    configSourceSpecifier: {
      case: 'apiConfigSource',
      value: {
        apiType: ApiConfigSource_ApiType.GRPC,
        transportApiVersion: ApiVersion.V3,
        setNodeOnFirstMessageOnly: true,
        grpcServices: [{ targetSpecifier: { case: 'envoyGrpc', value: { clusterName, authority } } }],
      },
    },
    resourceApiVersion: ApiVersion.V3,
  })
}

export const RAW_BUFFER_SOCKET: TransportSocket = create(TransportSocketSchema, {
  name: 'envoy.transport_sockets.raw_buffer',
  configType: { case: 'typedConfig', value: anyPack(RawBufferSchema, create(RawBufferSchema)) },
})

/** The TypedStruct form of a configuration whose type only Istio's Envoy build knows. */
export function typedStruct(typeUrl: string, value: JsonObject): Any {
  return anyPack(TypedStructSchema, create(TypedStructSchema, { typeUrl, value }))
}
