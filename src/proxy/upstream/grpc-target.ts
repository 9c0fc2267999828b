// Where calls of the proxy's own go: envoy.config.core.v3.GrpcService as plain data.

import type { GrpcService } from '../../api/gen/envoy/config/core/v3/grpc_service_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'

/** Where a call goes. */
export interface GrpcTarget {
  readonly cluster: string
  readonly authority: string
  /** 0 = without end. */
  readonly timeoutMs: number
  /** Names in lower case; of one name the last counts, as in Envoy. */
  readonly metadata: readonly (readonly [string, string])[]
}

/** `context` is the service's; throws ConfigError where the service is none of Envoy's own client. */
export function parseGrpcTarget(
  service: GrpcService | undefined,
  timeoutMs: number,
  context: ParseContext,
): GrpcTarget {
  const target = service?.targetSpecifier
  if (!service || target?.case !== 'envoyGrpc')
    throw new ConfigError(context.path, 'envoy_grpc is required: this proxy supports no other')
  return {
    cluster: target.value.clusterName,
    authority: target.value.authority || target.value.clusterName,
    timeoutMs,
    metadata: service.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value]),
  }
}
