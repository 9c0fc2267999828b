// rate_limits of routes and virtual hosts → plain data. The descriptors are made by rate-limit-descriptors.ts.

import {
  type RateLimit,
  type RateLimit_Action,
  type RateLimit_Action_MetaData,
  RateLimit_Action_MetaData_Source,
  RateLimitSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { MetadataKey } from '../../api/gen/envoy/type/metadata/v3/metadata_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import type { RateLimitActionData, RateLimitData } from './config.ts'
import { parseHeaderMatchers } from './header-matcher.ts'
import { parseQueryParameters } from './parse-match.ts'

const SUPPORTED: ReadonlySet<string> = new Set(['stage', 'disable_key', 'actions'])

export function parseRateLimits(limits: readonly RateLimit[], context: ParseContext): RateLimitData[] {
  return limits.map((limit, i) => {
    const at = context.at(`rate_limits[${i}]`)
    refuseUnsupported(RateLimitSchema, limit, SUPPORTED, at.path)
    return {
      stage: limit.stage ?? 0,
      disableKey: limit.disableKey,
      actions: limit.actions.map((action, j) => parseAction(action, at.at(`actions[${j}]`))),
    }
  })
}

function parseAction(action: RateLimit_Action, context: ParseContext): RateLimitActionData {
  const specifier = action.actionSpecifier
  switch (specifier.case) {
    case 'sourceCluster':
      return { kind: 'source_cluster' }
    case 'destinationCluster':
      return { kind: 'destination_cluster' }
    case 'remoteAddress':
      return { kind: 'remote_address' }
    case 'maskedRemoteAddress':
      return {
        kind: 'masked_remote_address',
        v4PrefixLength: specifier.value.v4PrefixMaskLen ?? 32,
        v6PrefixLength: specifier.value.v6PrefixMaskLen ?? 128,
      }
    case 'requestHeaders':
      return {
        kind: 'request_headers',
        name: specifier.value.headerName.toLowerCase(),
        key: specifier.value.descriptorKey,
        skipIfAbsent: specifier.value.skipIfAbsent,
      }
    case 'genericKey':
      return {
        kind: 'generic_key',
        key: specifier.value.descriptorKey || 'generic_key',
        value: specifier.value.descriptorValue,
      }
    case 'headerValueMatch':
      return {
        kind: 'header_value_match',
        key: specifier.value.descriptorKey || 'header_match',
        value: specifier.value.descriptorValue,
        expect: specifier.value.expectMatch ?? true,
        headers: parseHeaderMatchers(specifier.value.headers, context.at('header_value_match.headers').path),
      }
    case 'queryParameterValueMatch':
      return {
        kind: 'query_parameter_value_match',
        key: specifier.value.descriptorKey || 'query_match',
        value: specifier.value.descriptorValue,
        expect: specifier.value.expectMatch ?? true,
        queryParameters: parseQueryParameters(
          specifier.value.queryParameters,
          context.at('query_parameter_value_match.query_parameters').path,
        ),
      }
    case 'dynamicMetadata':
      return metadataAction(specifier.value, 'dynamic', false)
    case 'metadata':
      return metadataAction(specifier.value, sourceOf(specifier.value), specifier.value.skipIfAbsent)
    default:
      throw new ConfigError(
        context.path,
        `rate limit action ${specifier.case ?? '(none)'} is not supported by this proxy`,
      )
  }
}

function sourceOf(metadata: RateLimit_Action_MetaData): 'dynamic' | 'route' {
  return metadata.source === RateLimit_Action_MetaData_Source.ROUTE_ENTRY ? 'route' : 'dynamic'
}

function metadataAction(
  message: { readonly descriptorKey: string; readonly metadataKey?: MetadataKey; readonly defaultValue: string },
  source: 'dynamic' | 'route',
  skipIfAbsent: boolean,
): RateLimitActionData {
  return {
    kind: 'metadata',
    key: message.descriptorKey,
    source,
    filter: message.metadataKey?.key ?? '',
    path: (message.metadataKey?.path ?? []).map((segment) => segment.segment.value ?? ''),
    defaultValue: message.defaultValue,
    skipIfAbsent,
  }
}
