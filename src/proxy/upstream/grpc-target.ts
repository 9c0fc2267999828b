// Where calls of the proxy's own go: envoy.config.core.v3.GrpcService as plain data.

import { create } from '@bufbuild/protobuf'
import {
  HeaderValueOption_HeaderAppendAction as Append,
  type HeaderValue,
  HeaderValueOptionSchema,
} from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { GrpcService } from '../../api/gen/envoy/config/core/v3/grpc_service_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import type { HeaderMutationsData } from '../route/config.ts'
import { parseHeaderToAdd } from '../route/parse-common.ts'

/** Where a call goes. */
export interface GrpcTarget {
  readonly cluster: string
  readonly authority: string
  /** 0 = without end. */
  readonly timeoutMs: number
  /** Values are formats; of one name the last counts, as in Envoy. */
  readonly metadata: HeaderMutationsData | null
}

function parseMetadata(headers: readonly HeaderValue[], context: ParseContext): HeaderMutationsData | null {
  if (headers.length === 0) return null
  const add = headers.map((header, i) => {
    const option = create(HeaderValueOptionSchema, { header, appendAction: Append.OVERWRITE_IF_EXISTS_OR_ADD })
    return parseHeaderToAdd(option, context.at(`initial_metadata[${i}]`))
  })
  return { add, remove: [] }
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
    metadata: parseMetadata(service.initialMetadata, context),
  }
}
