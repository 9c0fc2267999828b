// rate_limits of routes and virtual hosts → plain data. The descriptors are made by rate-limit-descriptors.ts.

import {
  type RateLimit,
  type RateLimit_Action,
  type RateLimit_Action_MetaData,
  RateLimit_Action_MetaData_Source,
  type RateLimit_HitsAddend,
  type RateLimit_Override,
  RateLimitSchema,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { MetadataKey } from '../../api/gen/envoy/type/metadata/v3/metadata_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { compileSegments } from '../observe/format/text-format.ts'
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
])
const MAX_HITS = 1_000_000_000n

/** `rate_limits` of a route or virtual host. Envoy checks their hits_addend and then adds no hits for them: so do we. */
export function parseRateLimits(limits: readonly RateLimit[], context: ParseContext): RateLimitData[] {
  return limits.map((limit, i) => {
    const at = context.at(`rate_limits[${i}]`)
    if (limit.hitsAddend) checkHits(limit.hitsAddend, at.at('hits_addend'))
    return parseLimit(limit, at)
  })
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
  }
}

function parseOverride({ overrideSpecifier }: RateLimit_Override, context: ParseContext): RateLimitData['limit'] {
  if (overrideSpecifier.case !== 'dynamicMetadata')
    throw new ConfigError(context.path, 'one of dynamic_metadata is required')
  const key = overrideSpecifier.value.metadataKey
  if (!key) throw new ConfigError(context.at('dynamic_metadata.metadata_key').path, 'is required')
  return { filter: key.key, path: pathOf(key) }
}

function checkHits({ number, format }: RateLimit_HitsAddend, context: ParseContext): void {
  if (number !== undefined && number > MAX_HITS)
    throw new ConfigError(context.at('number').path, `must not be above ${MAX_HITS}`)
  if (format !== '' && !(format.startsWith('%') && format.endsWith('%')))
    throw new ConfigError(context.at('format').path, 'must begin and end with %')
}

function parseHits(message: RateLimit_HitsAddend, context: ParseContext): HitsAddendData {
  const { number, format, isNegativeHits: negative } = message
  if ((number === undefined) === (format === ''))
    throw new ConfigError(context.path, 'hits_addend must contain either a format or a number')
  checkHits(message, context)
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
    path: message.metadataKey ? pathOf(message.metadataKey) : [],
    defaultValue: message.defaultValue,
    skipIfAbsent,
  }
}

function pathOf({ path }: MetadataKey): string[] {
  return path.map(({ segment }) => segment.value ?? '')
}
