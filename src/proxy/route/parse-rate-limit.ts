// rate_limits of routes and virtual hosts → plain data. The descriptors are made by rate-limit-descriptors.ts.

import {
  type RateLimit,
  type RateLimit_Action,
  type RateLimit_Action_MetaData,
  RateLimit_Action_MetaData_Source,
  type RateLimit_Action_RemoteAddressMatch,
  type RateLimit_HitsAddend,
  type RateLimit_Override,
  RateLimit_XRateLimitOption,
  RateLimitSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { MetadataKey } from '../../api/gen/envoy/type/metadata/v3/metadata_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { metadataPath } from '../config/metadata-key.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { compileHeaderFormat, compileSegments } from '../observe/format/text-format.ts'
import { parseAddressMatcher } from './address-matcher.ts'
import type { HitsAddendData, RateLimitActionData, RateLimitData } from './config.ts'
import { parseHeaderMatchers } from './header-matcher.ts'
import { parseQueryParameters } from './parse-match.ts'

const SUPPORTED: ReadonlySet<string> = new Set([
  'stage',
  'disable_key',
  'actions',
  'limit',
  'hits_addend',
  'apply_on_stream_done',
  'x_ratelimit_option',
])

/** `rate_limits` of a route or virtual host. Envoy adds no hits for their hits_addend: neither do we. */
export function parseRateLimits(limits: readonly RateLimit[], context: ParseContext): RateLimitData[] {
  return limits.map((limit, i) => parseLimit(limit, context.at(`rate_limits[${i}]`)))
}

/** `rate_limits` of a filter's own configuration: they have hits, and no stage or switch. */
export function parseOwnRateLimits(limits: readonly RateLimit[], context: ParseContext): RateLimitData[] {
  return limits.map((limit, i) => {
    const at = context.at(`rate_limits[${i}]`)
    if (limit.stage !== undefined || limit.disableKey !== '')
      throw new ConfigError(at.path, "'stage' field and 'disable_key' field are not supported")
    const hitsAddend = limit.hitsAddend ? parseHits(limit.hitsAddend, at.at('hits_addend')) : null
    return { ...parseLimit(limit, at), hitsAddend }
  })
}

function parseLimit(limit: RateLimit, at: ParseContext): RateLimitData {
  refuseUnsupported(RateLimitSchema, limit, SUPPORTED, at.path)
  return {
    stage: limit.stage ?? 0,
    disableKey: limit.disableKey,
    actions: limit.actions.map((action, j) => parseAction(action, at.at(`actions[${j}]`))),
    hitsAddend: null,
    limit: limit.limit ? parseOverride(limit.limit, at.at('limit')) : null,
    onStreamDone: limit.applyOnStreamDone,
    told:
      limit.xRatelimitOption === RateLimit_XRateLimitOption.UNSPECIFIED
        ? null
        : limit.xRatelimitOption === RateLimit_XRateLimitOption.DRAFT_VERSION_03,
  }
}

function parseOverride({ overrideSpecifier }: RateLimit_Override, context: ParseContext): RateLimitData['limit'] {
  if (overrideSpecifier.case === 'rateLimit') {
    const { requestsPerUnit, unit } = overrideSpecifier.value
    return { kind: 'fixed', requestsPerUnit, unit }
  }
  if (overrideSpecifier.case !== 'dynamicMetadata')
    throw new ConfigError(context.path, 'one of dynamic_metadata, rate_limit is required')
  const key = overrideSpecifier.value.metadataKey
  if (!key) throw new ConfigError(context.at('dynamic_metadata.metadata_key').path, 'is required')
  return { kind: 'metadata', filter: key.key, path: metadataPath(key) }
}

function parseHits(message: RateLimit_HitsAddend, context: ParseContext): HitsAddendData {
  const { number, format, isNegativeHits: negative } = message
  if ((number === undefined) === (format === ''))
    throw new ConfigError(context.path, 'hits_addend must contain either a format or a number')
  if (number !== undefined) return { source: 'number', number: Number(number), format, negative }
  // Compiled again in the workers; here for the error.
  const segments = compileSegments(format, context.at('format').path)
  if (segments.length !== 1 || typeof segments[0] === 'string')
    throw new ConfigError(context.at('format').path, 'hits_addend format must contain exactly one substitution')
  return { source: 'format', number: 0, format, negative }
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
    case 'queryParameters':
      return {
        kind: 'query_parameters',
        key: specifier.value.descriptorKey,
        name: specifier.value.queryParameterName,
        skipIfAbsent: specifier.value.skipIfAbsent,
      }
    case 'remoteAddressMatch':
      return remoteAddressMatch(specifier.value, context.at('remote_address_match'))
    case 'dynamicMetadata':
      return metadataAction(specifier.value, 'dynamic', false)
    case 'metadata':
      return metadataAction(specifier.value, sourceOf(specifier.value, context), specifier.value.skipIfAbsent)
    default:
      throw new ConfigError(
        context.path,
        `rate limit action ${specifier.case ?? '(none)'} is not supported by this proxy`,
      )
  }
}

type MetadataSource = Extract<RateLimitActionData, { kind: 'metadata' }>['source']

function sourceOf({ source }: RateLimit_Action_MetaData, context: ParseContext): MetadataSource {
  switch (source) {
    case RateLimit_Action_MetaData_Source.DYNAMIC:
      return 'dynamic'
    case RateLimit_Action_MetaData_Source.ROUTE_ENTRY:
      return 'route'
    case RateLimit_Action_MetaData_Source.CLUSTER_ENTRY:
      return 'cluster'
    default:
      throw new ConfigError(context.at('metadata.source').path, 'CLUSTER_LOCALITY_ENTRY is not supported by this proxy')
  }
}

function remoteAddressMatch(message: RateLimit_Action_RemoteAddressMatch, at: ParseContext): RateLimitActionData {
  // Compiled again in the workers; here for the error.
  compileHeaderFormat(message.descriptorValue, at.at('descriptor_value').path)
  return {
    kind: 'remote_address_match',
    key: message.descriptorKey || 'remote_address_match',
    value: message.descriptorValue,
    defaultValue: message.defaultValue,
    addresses: parseAddressMatcher(message.addressMatcher!, at.at('address_matcher').path),
  }
}

function metadataAction(
  message: { readonly descriptorKey: string; readonly metadataKey?: MetadataKey; readonly defaultValue: string },
  source: MetadataSource,
  skipIfAbsent: boolean,
): RateLimitActionData {
  return {
    kind: 'metadata',
    key: message.descriptorKey,
    source,
    filter: message.metadataKey?.key ?? '',
    path: message.metadataKey ? metadataPath(message.metadataKey) : [],
    defaultValue: message.defaultValue,
    skipIfAbsent,
  }
}
