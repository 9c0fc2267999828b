// Extensions of the connection manager that look at a request first: original_ip_detection_extensions and
// early_header_mutation_extensions.

import type { CidrRange } from '../../../../api/gen/envoy/config/core/v3/address_pb.js'
import type { TypedExtensionConfig } from '../../../../api/gen/envoy/config/core/v3/extension_pb.js'
import type { HttpConnectionManager } from '../../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { HeaderMutationSchema } from '../../../../api/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js'
import { CustomHeaderConfigSchema } from '../../../../api/gen/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header_pb.js'
import {
  type XffConfig,
  XffConfigSchema,
} from '../../../../api/gen/envoy/extensions/http/original_ip_detection/xff/v3/xff_pb.js'
import { typeNameOf } from '../../../../api/registry.ts'
import { type Cidr, parseCidr } from '../../../../base/cidr.ts'
import { ConfigError } from '../../../../base/errors.ts'
import type { ParseContext } from '../../../config/extension.ts'
import type { IpDetectionData } from '../../../http/connection-manager/config.ts'
import type { HeaderMutationsData } from '../../../route/config.ts'
import { parseHeaderMutation } from '../../../route/parse-common.ts'

/** Answers of custom_header outside 400 to 511 are this one. */
const FORBIDDEN = 403

/** Without extensions the connection manager's own reading of X-Forwarded-For. */
export function parseIpDetection(message: HttpConnectionManager, context: ParseContext): IpDetectionData[] {
  const extensions = message.originalIpDetectionExtensions
  if (extensions.length === 0) {
    return message.useRemoteAddress
      ? []
      : [{ kind: 'xff', hops: message.xffNumTrustedHops, trusted: null, append: false }]
  }
  const field = context.at('original_ip_detection_extensions')
  if (message.useRemoteAddress) throw new ConfigError(field.path, 'cannot be combined with use_remote_address: true')
  if (message.xffNumTrustedHops > 0) {
    throw new ConfigError(
      field.path,
      'cannot be combined with xff_num_trusted_hops: set it in the configuration of the xff extension',
    )
  }
  return extensions.map((extension, i): IpDetectionData => {
    const at = context.at(`original_ip_detection_extensions[${i}].typed_config`)
    const any = extension.typedConfig
    switch (typeNameOf(any?.typeUrl ?? '')) {
      case XffConfigSchema.typeName:
        return parseXff(at.unpack(any!, XffConfigSchema), at)
      case CustomHeaderConfigSchema.typeName: {
        const config = at.unpack(any!, CustomHeaderConfigSchema)
        const status = config.rejectWithStatus?.code ?? 0
        return {
          kind: 'custom_header',
          header: config.headerName.toLowerCase(),
          trusted: config.allowExtensionToSetAddressAsTrusted,
          rejectStatus: config.rejectWithStatus ? (status < 400 || status > 511 ? FORBIDDEN : status) : 0,
        }
      }
      default:
        throw unknown(extension, at)
    }
  })
}

function parseTrusted(ranges: readonly CidrRange[], at: ParseContext): Cidr[] {
  return ranges.map((range, i) => {
    const parsed = parseCidr(range.addressPrefix, range.prefixLen ?? 0)
    if (!parsed) throw new ConfigError(at.at(`xff_trusted_cidrs.cidrs[${i}]`).path, 'malformed IP range')
    return parsed
  })
}

function parseXff(config: XffConfig, at: ParseContext): IpDetectionData {
  const { xffNumTrustedHops: hops, xffTrustedCidrs } = config
  if (xffTrustedCidrs && hops > 0)
    throw new ConfigError(at.path, 'Cannot set both xff_num_trusted_hops and xff_trusted_cidrs')
  const trusted = xffTrustedCidrs?.cidrs.length ? parseTrusted(xffTrustedCidrs.cidrs, at) : null
  return { kind: 'xff', hops, trusted, append: !(config.skipXffAppend ?? true) }
}

export function parseEarlyHeaderMutations(
  message: HttpConnectionManager,
  context: ParseContext,
): HeaderMutationsData[] {
  return message.earlyHeaderMutationExtensions.flatMap((extension, i) => {
    const at = context.at(`early_header_mutation_extensions[${i}].typed_config`)
    const any = extension.typedConfig
    if (typeNameOf(any?.typeUrl ?? '') !== HeaderMutationSchema.typeName) throw unknown(extension, at)
    const { mutations } = at.unpack(any!, HeaderMutationSchema)
    return mutations.map((mutation, j) => parseHeaderMutation(mutation, at.at(`mutations[${j}]`)))
  })
}

function unknown(extension: TypedExtensionConfig, at: ParseContext): ConfigError {
  const url = extension.typedConfig?.typeUrl ?? ''
  return new ConfigError(
    at.path,
    url === '' ? 'is required' : `extension ${extension.name} (${url}) is not supported by this proxy`,
  )
}
