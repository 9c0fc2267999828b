// Istio's value notation (`*`, `abc*`, `*abc`, exact) as Envoy matchers.
import { create } from '@bufbuild/protobuf'
import { type CidrRange, CidrRangeSchema } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import { type HeaderMatcher, HeaderMatcherSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type MetadataMatcher, MetadataMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/metadata_pb.js'
import { type StringMatcher, StringMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import { type ValueMatcher, ValueMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/value_pb.js'

export function regexMatcher(regex: string): StringMatcher {
  return create(StringMatcherSchema, { matchPattern: { case: 'safeRegex', value: { regex } } })
}

export function exactMatcher(value: string): StringMatcher {
  return create(StringMatcherSchema, { matchPattern: { case: 'exact', value } })
}

export function prefixMatcher(value: string): StringMatcher {
  return create(StringMatcherSchema, { matchPattern: { case: 'prefix', value } })
}

/** Anything that is there. */
export const ANY_TEXT = regexMatcher('.+')

export function textMatcher(value: string, ignoreCase = false): StringMatcher {
  if (value === '*') return ANY_TEXT
  const matcher = value.startsWith('*')
    ? create(StringMatcherSchema, { matchPattern: { case: 'suffix', value: value.slice(1) } })
    : value.endsWith('*')
      ? prefixMatcher(value.slice(0, -1))
      : exactMatcher(value)
  matcher.ignoreCase = ignoreCase
  return matcher
}

export function headerMatcher(name: string, value: string, ignoreCase = false): HeaderMatcher {
  return create(HeaderMatcherSchema, {
    name,
    headerMatchSpecifier:
      value === '*'
        ? { case: 'presentMatch', value: true }
        : { case: 'stringMatch', value: textMatcher(value, ignoreCase) },
  })
}

export function cidrRange(text: string): CidrRange {
  const slash = text.indexOf('/')
  const addressPrefix = slash < 0 ? text : text.slice(0, slash)
  const prefixLen = slash < 0 ? (addressPrefix.includes(':') ? 128 : 32) : Number(text.slice(slash + 1))
  return create(CidrRangeSchema, { addressPrefix, prefixLen })
}

/** One of the values, as text. */
export function anyOfTexts(values: readonly string[]): ValueMatcher {
  const matchers = values.map((value) =>
    create(ValueMatcherSchema, { matchPattern: { case: 'stringMatch', value: textMatcher(value) } }),
  )
  return matchers.length === 1 ? matchers[0]! : orValues(matchers)
}

function orValues(valueMatchers: ValueMatcher[]): ValueMatcher {
  return create(ValueMatcherSchema, { matchPattern: { case: 'orMatch', value: { valueMatchers } } })
}

export function metadataMatcher(filter: string, path: readonly string[], value: ValueMatcher): MetadataMatcher {
  return create(MetadataMatcherSchema, {
    filter,
    path: path.map((key) => ({ segment: { case: 'key' as const, value: key } })),
    value,
  })
}

const JWT = 'envoy.filters.http.jwt_authn'

/** A claim that is text. */
export function claimText(claim: string, value: StringMatcher): MetadataMatcher {
  const matcher = create(ValueMatcherSchema, { matchPattern: { case: 'stringMatch', value } })
  return metadataMatcher(JWT, ['payload', claim], matcher)
}

/** A claim that is text or a list of texts, with one of the values. */
export function claimValues(path: readonly string[], values: readonly string[]): MetadataMatcher {
  const one = anyOfTexts(values)
  const inList = create(ValueMatcherSchema, {
    matchPattern: { case: 'listMatch', value: { matchPattern: { case: 'oneOf', value: one } } },
  })
  return metadataMatcher(JWT, ['payload', ...path], orValues([inList, one]))
}

/** Text as a regular expression that matches it alone. */
export function quoteRegex(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&')
}
