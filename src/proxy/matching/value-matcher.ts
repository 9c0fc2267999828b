// envoy.type.matcher.v3.ValueMatcher and MetadataMatcher: matches on JSON values of metadata.

import type { MetadataMatcher } from '../../api/gen/envoy/type/matcher/v3/metadata_pb.js'
import type { ValueMatcher } from '../../api/gen/envoy/type/matcher/v3/value_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { compileStringMatcher, parseStringMatcher, type StringMatcherData } from '../route/string-matcher.ts'

export type ValueMatcherData =
  | { readonly kind: 'null' }
  | { readonly kind: 'present'; readonly present: boolean }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'number'; readonly value: number }
  /** [start, end). */
  | { readonly kind: 'range'; readonly start: number; readonly end: number }
  | { readonly kind: 'string'; readonly matcher: StringMatcherData }
  | { readonly kind: 'list'; readonly oneOf: ValueMatcherData }
  | { readonly kind: 'or'; readonly matchers: readonly ValueMatcherData[] }

export type ValueMatch = (value: unknown) => boolean

export function parseValueMatcher(matcher: ValueMatcher, path: string): ValueMatcherData {
  const pattern = matcher.matchPattern
  switch (pattern.case) {
    case 'nullMatch':
      return { kind: 'null' }
    case 'presentMatch':
      return { kind: 'present', present: pattern.value }
    case 'boolMatch':
      return { kind: 'bool', value: pattern.value }
    case 'doubleMatch': {
      const number = pattern.value.matchPattern
      if (number.case === 'range') return { kind: 'range', start: number.value.start, end: number.value.end }
      return { kind: 'number', value: number.case === 'exact' ? number.value : 0 }
    }
    case 'stringMatch':
      return { kind: 'string', matcher: parseStringMatcher(pattern.value, `${path}.string_match`) }
    case 'listMatch': {
      const list = pattern.value.matchPattern
      if (list.case !== 'oneOf') throw new ConfigError(`${path}.list_match`, 'needs one_of')
      return { kind: 'list', oneOf: parseValueMatcher(list.value, `${path}.list_match.one_of`) }
    }
    case 'orMatch':
      return {
        kind: 'or',
        matchers: pattern.value.valueMatchers.map((m, i) =>
          parseValueMatcher(m, `${path}.or_match.value_matchers[${i}]`),
        ),
      }
    default:
      throw new ConfigError(path, 'a value matcher needs one of its kinds')
  }
}

export function compileValueMatcher(data: ValueMatcherData): ValueMatch {
  switch (data.kind) {
    case 'null':
      return (value) => value === null
    case 'present':
      return (value) => (value !== undefined) === data.present
    case 'bool':
      return (value) => value === data.value
    case 'number':
      return (value) => value === data.value
    case 'range':
      return (value) => typeof value === 'number' && value >= data.start && value < data.end
    case 'string': {
      const match = compileStringMatcher(data.matcher)
      return (value) => typeof value === 'string' && match(value)
    }
    case 'list': {
      const match = compileValueMatcher(data.oneOf)
      return (value) => Array.isArray(value) && value.some(match)
    }
    case 'or': {
      const matches = data.matchers.map(compileValueMatcher)
      return (value) => matches.some((match) => match(value))
    }
  }
}

export interface MetadataMatcherData {
  readonly filter: string
  readonly path: readonly string[]
  readonly value: ValueMatcherData
  readonly invert: boolean
}

export function parseMetadataMatcher(matcher: MetadataMatcher, path: string): MetadataMatcherData {
  return {
    filter: matcher.filter,
    path: matcher.path.map((segment) => (segment.segment.case === 'key' ? segment.segment.value : '')),
    value: parseValueMatcher(matcher.value!, `${path}.value`),
    invert: matcher.invert,
  }
}

/** Looks `filter` and then `path` up in metadata; what is missing matches nothing but `present_match: false`. */
export function compileMetadataMatcher(
  data: MetadataMatcherData,
): (metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> | null) => boolean {
  const match = compileValueMatcher(data.value)
  return (metadata) => {
    let value: unknown = metadata?.[data.filter]
    for (const key of data.path) {
      value =
        typeof value === 'object' && value !== null && Object.hasOwn(value, key)
          ? (value as Record<string, unknown>)[key]
          : undefined
    }
    return match(value) !== data.invert
  }
}
