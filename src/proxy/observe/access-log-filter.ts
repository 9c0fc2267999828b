// envoy.config.accesslog.v3.AccessLogFilter: which streams are logged. Parsed to plain data, compiled to one predicate.

import {
  type AccessLogFilter,
  type ComparisonFilter,
  ComparisonFilter_Op,
  type ExtensionFilter,
} from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { AccessLogType as TypeNumber } from '../../api/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import { ExpressionFilterSchema } from '../../api/gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js'
import { FractionalPercent_DenominatorType } from '../../api/gen/envoy/type/v3/percent_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import type { ParseContext, RuntimeSnapshot } from '../config/extension.ts'
import { compileHeaderMatcher, type HeaderMatcherData, parseHeaderMatcher } from '../route/header-matcher.ts'
import {
  compileMetadataMatcher,
  type MetadataMatcherData,
  metadataValue,
  parseMetadataMatcher,
} from '../route/metadata-matcher.ts'
import { Flag, now, RESPONSE_FLAGS } from '../stream-info.ts'
import type { AccessLogType, LogContext } from './access-log.ts'
import { checkExpression, compileExpression } from './cel-filter.ts'
import { grpcStatusOfAnswer } from './format/header-operators.ts'

interface Comparison {
  readonly op: 'EQ' | 'GE' | 'LE' | 'NE'
  readonly value: number
  readonly runtimeKey: string
}

/** Plain data of a filter. */
export type LogFilterData =
  | { readonly kind: 'status' | 'duration'; readonly comparison: Comparison }
  | { readonly kind: 'not_health_check' | 'traceable' }
  | {
      readonly kind: 'runtime'
      readonly key: string
      readonly numerator: number
      readonly denominator: number
      readonly independent: boolean
    }
  | { readonly kind: 'and' | 'or'; readonly filters: readonly LogFilterData[] }
  | { readonly kind: 'header'; readonly header: HeaderMatcherData }
  | { readonly kind: 'flags'; readonly bits: number }
  | { readonly kind: 'grpc_status'; readonly statuses: readonly number[]; readonly exclude: boolean }
  | { readonly kind: 'metadata'; readonly matcher: MetadataMatcherData | null; readonly ifAbsent: boolean }
  | { readonly kind: 'cel'; readonly expression: string }
  | { readonly kind: 'log_type'; readonly types: readonly AccessLogType[]; readonly exclude: boolean }

/** True = log it. */
export type LogFilter = (context: LogContext) => boolean

const DENOMINATORS: Readonly<Record<number, number>> = {
  [FractionalPercent_DenominatorType.HUNDRED]: 100,
  [FractionalPercent_DenominatorType.TEN_THOUSAND]: 10_000,
  [FractionalPercent_DenominatorType.MILLION]: 1_000_000,
}

/** Throws ConfigError for what is not supported. */
export function parseLogFilter(filter: AccessLogFilter, context: ParseContext): LogFilterData {
  const { path } = context
  const spec = filter.filterSpecifier
  switch (spec.case) {
    case 'statusCodeFilter':
      return { kind: 'status', comparison: comparison(spec.value.comparison, `${path}.status_code_filter`) }
    case 'durationFilter':
      return { kind: 'duration', comparison: comparison(spec.value.comparison, `${path}.duration_filter`) }
    case 'notHealthCheckFilter':
      return { kind: 'not_health_check' }
    case 'traceableFilter':
      return { kind: 'traceable' }
    case 'runtimeFilter':
      return {
        kind: 'runtime',
        key: spec.value.runtimeKey,
        numerator: spec.value.percentSampled?.numerator ?? 0,
        denominator: DENOMINATORS[spec.value.percentSampled?.denominator ?? FractionalPercent_DenominatorType.HUNDRED]!,
        independent: spec.value.useIndependentRandomness,
      }
    case 'andFilter':
      return { kind: 'and', filters: parseList(spec.value.filters, context.at('and_filter')) }
    case 'orFilter':
      return { kind: 'or', filters: parseList(spec.value.filters, context.at('or_filter')) }
    case 'headerFilter':
      if (!spec.value.header) throw new ConfigError(`${path}.header_filter.header`, 'is required')
      return { kind: 'header', header: parseHeaderMatcher(spec.value.header, `${path}.header_filter.header`) }
    case 'responseFlagFilter':
      return { kind: 'flags', bits: flagBits(spec.value.flags, `${path}.response_flag_filter.flags`) }
    case 'grpcStatusFilter':
      return { kind: 'grpc_status', statuses: [...spec.value.statuses], exclude: spec.value.exclude }
    case 'metadataFilter':
      return {
        kind: 'metadata',
        matcher: spec.value.matcher
          ? parseMetadataMatcher(spec.value.matcher, `${path}.metadata_filter.matcher`)
          : null,
        ifAbsent: spec.value.matchIfKeyNotFound ?? true,
      }
    case 'logTypeFilter':
      return {
        kind: 'log_type',
        types: spec.value.types.map((type) => TypeNumber[type] as AccessLogType),
        exclude: spec.value.exclude,
      }
    case 'extensionFilter':
      return parseExtensionFilter(spec.value, context.at('extension_filter'))
    default:
      throw new ConfigError(path, 'a filter_specifier is required')
  }
}

/** The one extension there is: a CEL expression. */
function parseExtensionFilter(filter: ExtensionFilter, context: ParseContext): LogFilterData {
  const config = filter.configType.value
  if (!config || typeNameOf(config.typeUrl) !== ExpressionFilterSchema.typeName) {
    throw new ConfigError(context.path, `filter "${filter.name}" is not supported by this proxy`)
  }
  const { expression } = context.at('typed_config').unpack(config, ExpressionFilterSchema)
  checkExpression(expression, `${context.path}.typed_config.expression`)
  return { kind: 'cel', expression }
}

function parseList(filters: readonly AccessLogFilter[], context: ParseContext): LogFilterData[] {
  return filters.map((filter, i) => parseLogFilter(filter, context.at(`filters[${i}]`)))
}

function comparison(filter: ComparisonFilter | undefined, path: string): Comparison {
  if (!filter?.value) throw new ConfigError(`${path}.comparison`, 'is required')
  return {
    op: ComparisonFilter_Op[filter.op] as Comparison['op'],
    value: filter.value.defaultValue,
    runtimeKey: filter.value.runtimeKey,
  }
}

function flagBits(flags: readonly string[], path: string): number {
  let bits = 0
  for (const flag of flags) {
    if (!(flag in Flag)) throw new ConfigError(path, `${flag} is no response flag`)
    bits |= Flag[flag as keyof typeof Flag]
  }
  return bits || 2 ** RESPONSE_FLAGS.length - 1
}

/** Makes the predicate. */
export function compileLogFilter(data: LogFilterData, runtime: RuntimeSnapshot): LogFilter {
  switch (data.kind) {
    case 'status': {
      const holds = compileComparison(data.comparison, runtime)
      return (context) => holds(context.info.responseCode)
    }
    case 'duration': {
      const holds = compileComparison(data.comparison, runtime)
      // Of a stream that goes on, up to now.
      return ({ info }) => holds(Math.floor((info.end || now()) - info.start))
    }
    case 'not_health_check':
      return (context) => !context.info.isHealthCheck
    case 'traceable':
      return (context) => context.info.traced
    case 'runtime': {
      const { key, numerator, denominator, independent } = data
      return (context) => {
        const limit = runtime.number(key, numerator)
        const id = independent ? undefined : context.requestHeaders?.get('x-request-id')
        return (requestIdModulo(id, denominator) ?? Math.floor(Math.random() * denominator)) < limit
      }
    }
    case 'and': {
      const filters = data.filters.map((filter) => compileLogFilter(filter, runtime))
      return (context) => {
        for (let i = 0; i < filters.length; i++) if (!filters[i]!(context)) return false
        return true
      }
    }
    case 'or': {
      const filters = data.filters.map((filter) => compileLogFilter(filter, runtime))
      return (context) => {
        for (let i = 0; i < filters.length; i++) if (filters[i]!(context)) return true
        return false
      }
    }
    case 'header': {
      const matches = compileHeaderMatcher(data.header)
      return (context) => context.requestHeaders !== null && matches(context.requestHeaders)
    }
    case 'flags': {
      const bits = data.bits
      return (context) => (context.info.responseFlags & bits) !== 0
    }
    case 'grpc_status': {
      const { statuses, exclude } = data
      return (context) => statuses.includes(grpcStatusOfAnswer(context) ?? 2) !== exclude
    }
    case 'metadata': {
      const { matcher, ifAbsent } = data
      if (matcher === null) return () => true
      const matches = compileMetadataMatcher(matcher)
      return ({ info }) => {
        const there = metadataValue(info.dynamicMetadata, matcher.filter, matcher.path) !== undefined
        return there ? matches(info.dynamicMetadata) : ifAbsent
      }
    }
    case 'cel':
      return compileExpression(data.expression)
    case 'log_type': {
      const { types, exclude } = data
      return (context) => types.includes(context.type) !== exclude
    }
  }
}

function compileComparison(data: Comparison, runtime: RuntimeSnapshot): (value: number) => boolean {
  const { op, runtimeKey } = data
  const limit = () => (runtimeKey ? runtime.number(runtimeKey, data.value) : data.value)
  switch (op) {
    case 'EQ':
      return (value) => value === limit()
    case 'GE':
      return (value) => value >= limit()
    case 'LE':
      return (value) => value <= limit()
    case 'NE':
      return (value) => value !== limit()
  }
}

/** The first eight hex digits of a UUID modulo `denominator`: every proxy on a request's way decides alike. */
function requestIdModulo(id: string | undefined, denominator: number): number | null {
  if (id === undefined || id.length < 8) return null
  const number = Number.parseInt(id.slice(0, 8), 16)
  return Number.isNaN(number) ? null : number % denominator
}
