// envoy.filters.http.grpc_http1_bridge: configuration.

import {
  type Config,
  ConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/grpc_http1_bridge/v3/config_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { createGrpcHttp1BridgeFilter } from './filter.ts'

export interface GrpcHttp1BridgeConfig {
  /** Requests with a bare protobuf message become gRPC. */
  readonly upgradeProtobuf: boolean
  /** gRPC methods have no query. */
  readonly ignoreQuery: boolean
}

export const grpcHttp1BridgeFilter: HttpFilterExtension<GrpcHttp1BridgeConfig> = {
  name: 'envoy.filters.http.grpc_http1_bridge',
  desc: ConfigSchema,
  parse: (message) => {
    const { upgradeProtobufToGrpc, ignoreQueryParameters } = message as Config
    return { upgradeProtobuf: upgradeProtobufToGrpc, ignoreQuery: ignoreQueryParameters }
  },
  create: createGrpcHttp1BridgeFilter,
}
