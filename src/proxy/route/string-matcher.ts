// envoy.type.matcher.v3.StringMatcher, and the same message of xds.type.matcher.v3: parsed to plain data, compiled to one comparison.

import type { StringMatcher } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import type { StringMatcher as XdsStringMatcher } from '../../api/gen/xds/type/matcher/v3/string_pb.js'
import { asciiLowerCase, byteString } from '../../base/byte-string.ts'
import { ConfigError } from '../../base/errors.ts'
import { checkRegex, compileFullMatch } from './regex.ts'

export interface StringMatcherData {
  readonly kind: 'exact' | 'prefix' | 'suffix' | 'contains' | 'regex'
  readonly value: string
  readonly ignoreCase: boolean
}

export type StringMatch = (text: string) => boolean

/** Throws ConfigError for a bad regex, and for the `custom` extension point, of which we have none. */
export function parseStringMatcher(matcher: StringMatcher | XdsStringMatcher, path: string): StringMatcherData {
  const pattern = matcher.matchPattern
  switch (pattern.case) {
    case 'exact':
    case 'prefix':
    case 'suffix':
    case 'contains':
      return { kind: pattern.case, value: pattern.value, ignoreCase: matcher.ignoreCase }
    case 'safeRegex':
      if (matcher.ignoreCase) throw new ConfigError(`${path}.ignore_case`, 'has no effect for safe_regex: use (?i)')
      checkRegex(pattern.value.regex, `${path}.safe_regex.regex`)
      return { kind: 'regex', value: pattern.value.regex, ignoreCase: false }
    case 'custom':
      throw new ConfigError(`${path}.custom`, 'no string matcher extension is known to this proxy')
    default:
      throw new ConfigError(path, 'a string matcher needs one of exact, prefix, suffix, contains, safe_regex')
  }
}

/** For texts that are byte strings (one char per byte), as header values are: both sides are compared byte by byte (Envoy). */
export function compileByteMatcher(data: StringMatcherData): StringMatch {
  return compileStringMatcher({ ...data, value: byteString(data.value) })
}

export function compileStringMatcher(data: StringMatcherData): StringMatch {
  if (data.kind === 'regex') return compileFullMatch(data.value)
  if (data.ignoreCase) {
    const match = compileStringMatcher({ kind: data.kind, value: asciiLowerCase(data.value), ignoreCase: false })
    return (text) => match(asciiLowerCase(text))
  }
  const value = data.value
  switch (data.kind) {
    case 'exact':
      return (text) => text === value
    case 'prefix':
      return (text) => text.startsWith(value)
    case 'suffix':
      return (text) => text.endsWith(value)
    case 'contains':
      return (text) => text.includes(value)
  }
}
