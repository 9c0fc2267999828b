// envoy.config.route.v3.HeaderMatcher and lists of them (all must match).

import type { HeaderMatcher } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { HeaderMap } from '../http/header-map.ts'
import { checkRegex } from './regex.ts'
import { compileByteMatcher, parseStringMatcher, type StringMatcherData } from './string-matcher.ts'

export interface HeaderMatcherData {
  /** Lower case. */
  readonly name: string
  readonly match:
    | { readonly kind: 'present'; readonly present: boolean }
    | { readonly kind: 'range'; readonly start: bigint; readonly end: bigint }
    | { readonly kind: 'string'; readonly matcher: StringMatcherData }
  readonly invert: boolean
  readonly missingAsEmpty: boolean
}

export type HeadersMatch = (headers: HeaderMap) => boolean

/** Throws ConfigError for a bad regex. A matcher of no kind asks for presence, as in Envoy. */
export function parseHeaderMatcher(matcher: HeaderMatcher, path: string): HeaderMatcherData {
  return {
    name: matcher.name.toLowerCase(),
    match: parseMatch(matcher, path),
    invert: matcher.invertMatch,
    missingAsEmpty: matcher.treatMissingHeaderAsEmpty,
  }
}

export function parseHeaderMatchers(matchers: readonly HeaderMatcher[], path: string): HeaderMatcherData[] {
  return matchers.map((matcher, i) => parseHeaderMatcher(matcher, `${path}[${i}]`))
}

function parseMatch(matcher: HeaderMatcher, path: string): HeaderMatcherData['match'] {
  const specifier = matcher.headerMatchSpecifier
  switch (specifier.case) {
    case 'exactMatch':
      return specifier.value === '' ? { kind: 'present', present: true } : string('exact', specifier.value)
    case 'prefixMatch':
      return string('prefix', specifier.value)
    case 'suffixMatch':
      return string('suffix', specifier.value)
    case 'containsMatch':
      return string('contains', specifier.value)
    case 'safeRegexMatch':
      checkRegex(specifier.value.regex, `${path}.safe_regex_match.regex`)
      return string('regex', specifier.value.regex)
    case 'stringMatch':
      return { kind: 'string', matcher: parseStringMatcher(specifier.value, `${path}.string_match`) }
    case 'rangeMatch':
      return { kind: 'range', start: specifier.value.start, end: specifier.value.end }
    case 'presentMatch':
      return { kind: 'present', present: specifier.value }
    default:
      return { kind: 'present', present: true }
  }
}

function string(kind: StringMatcherData['kind'], value: string): HeaderMatcherData['match'] {
  return { kind: 'string', matcher: { kind, value, ignoreCase: false } }
}

/** Where a request's Host header is. */
const AUTHORITY = ':authority'

export function compileHeaderMatcher(data: HeaderMatcherData): HeadersMatch {
  const { name, match, invert } = data
  if (match.kind === 'present') {
    const wanted = match.present !== invert
    // A header treated as empty when missing is always there.
    if (data.missingAsEmpty) return () => wanted
    return (headers) => (headers.has(name) || (name === 'host' && headers.has(AUTHORITY))) === wanted
  }
  const pseudo = name.charCodeAt(0) === 58
  const matches = match.kind === 'range' ? rangeMatch(match.start, match.end) : compileByteMatcher(match.matcher)
  // A missing header does not match, inverted or not (Envoy 1.40), unless it counts as empty.
  const missing = data.missingAsEmpty && matches('') !== invert
  return (headers) => {
    // One entry that matches is enough (Envoy 1.40, which joined them before).
    const { list } = headers
    let seen = false
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== name) continue
      if (matches(list[i + 1]!)) return !invert
      seen = true
    }
    if (seen) return invert
    const value = pseudo ? headers.get(name) : name === 'host' ? headers.get(AUTHORITY) : undefined
    return value === undefined ? missing : matches(value) !== invert
  }
}

const INTEGER = /^\s*[+-]?\d{1,19}\s*$/

/** [start, end) of a decimal int64; anything else does not match. */
function rangeMatch(start: bigint, end: bigint): (text: string) => boolean {
  return (text) => {
    if (!INTEGER.test(text)) return false
    const value = BigInt(text.trim().replace('+', ''))
    return value >= start && value < end
  }
}

const ALWAYS: HeadersMatch = () => true

/** All of them must match; none = always. */
export function compileHeaderMatchers(list: readonly HeaderMatcherData[]): HeadersMatch {
  if (list.length === 0) return ALWAYS
  const matchers = list.map(compileHeaderMatcher)
  if (matchers.length === 1) return matchers[0]!
  return (headers) => {
    for (let i = 0; i < matchers.length; i++) if (!matchers[i]!(headers)) return false
    return true
  }
}
