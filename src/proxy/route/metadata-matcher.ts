// envoy.type.matcher.v3.MetadataMatcher and ValueMatcher, over plain JSON values.

import type { MetadataMatcher } from '../../api/gen/envoy/type/matcher/v3/metadata_pb.js'
import type { ValueMatcher } from '../../api/gen/envoy/type/matcher/v3/value_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { compileStringMatcher, parseStringMatcher, type StringMatcherData } from './string-matcher.ts'

export type ValueMatcherData =
  | { readonly kind: 'null' }
  | { readonly kind: 'exact'; readonly value: number }
  | { readonly kind: 'range'; readonly start: number; readonly end: number }
  | { readonly kind: 'string'; readonly matcher: StringMatcherData }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'present'; readonly present: boolean }
  | { readonly kind: 'list'; readonly oneOf: ValueMatcherData }
  | { readonly kind: 'or'; readonly values: readonly ValueMatcherData[] }

export interface MetadataMatcherData {
  readonly filter: string
  readonly path: readonly string[]
  readonly value: ValueMatcherData
  readonly invert: boolean
}

/** Namespace → values, as StreamInfo.dynamicMetadata and filter_metadata hold them. */
export type MetadataValues = Readonly<Record<string, Readonly<Record<string, unknown>>>>
export type MetadataMatch = (metadata: MetadataValues | null) => boolean

/** Throws ConfigError for a bad regex. */
export function parseMetadataMatcher(matcher: MetadataMatcher, path: string): MetadataMatcherData {
  if (!matcher.value) throw new ConfigError(`${path}.value`, 'is required')
  return {
    filter: matcher.filter,
    path: matcher.path.map((segment) => (segment.segment.case === 'key' ? segment.segment.value : '')),
    value: parseValueMatcher(matcher.value, `${path}.value`),
    invert: matcher.invert,
  }
}

function parseValueMatcher(matcher: ValueMatcher, path: string): ValueMatcherData {
  const pattern = matcher.matchPattern
  switch (pattern.case) {
    case 'nullMatch':
      return { kind: 'null' }
    case 'doubleMatch': {
      const double = pattern.value.matchPattern
      if (double.case === 'exact') return { kind: 'exact', value: double.value }
      if (double.case === 'range') return { kind: 'range', start: double.value.start, end: double.value.end }
      throw new ConfigError(`${path}.double_match`, 'one of exact, range is required')
    }
    case 'stringMatch':
      return { kind: 'string', matcher: parseStringMatcher(pattern.value, `${path}.string_match`) }
    case 'boolMatch':
      return { kind: 'bool', value: pattern.value }
    case 'presentMatch':
      return { kind: 'present', present: pattern.value }
    case 'listMatch': {
      const list = pattern.value.matchPattern
      if (list.case !== 'oneOf') throw new ConfigError(`${path}.list_match`, 'one_of is required')
      return { kind: 'list', oneOf: parseValueMatcher(list.value, `${path}.list_match.one_of`) }
    }
    case 'orMatch':
      return {
        kind: 'or',
        values: pattern.value.valueMatchers.map((value, i) =>
          parseValueMatcher(value, `${path}.or_match.value_matchers[${i}]`),
        ),
      }
    default:
      throw new ConfigError(path, 'a value matcher needs a match_pattern')
  }
}

/** The value at `path`, or undefined. */
export function metadataValue(metadata: MetadataValues | null, filter: string, path: readonly string[]): unknown {
  let value: unknown = metadata?.[filter]
  for (let i = 0; i < path.length; i++) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[path[i]!]
  }
  return value
}

export function compileMetadataMatcher(data: MetadataMatcherData): MetadataMatch {
  const matches = compileValueMatcher(data.value)
  return (metadata) => matches(metadataValue(metadata, data.filter, data.path)) !== data.invert
}

function compileValueMatcher(data: ValueMatcherData): (value: unknown) => boolean {
  switch (data.kind) {
    case 'null':
      return (value) => value === null
    case 'exact':
      return (value) => value === data.value
    case 'range':
      return (value) => typeof value === 'number' && value >= data.start && value < data.end
    case 'string': {
      const match = compileStringMatcher(data.matcher)
      return (value) => typeof value === 'string' && match(value)
    }
    case 'bool':
      return (value) => value === data.value
    case 'present':
      // false matches nothing, also what is absent (Envoy).
      return data.present ? (value) => value !== undefined : () => false
    case 'list': {
      const match = compileValueMatcher(data.oneOf)
      return (value) => Array.isArray(value) && value.some(match)
    }
    case 'or': {
      const matchers = data.values.map(compileValueMatcher)
      return (value) => matchers.some((match) => match(value))
    }
  }
}
