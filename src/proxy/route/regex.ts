// Regular expressions of the configuration: RE2 syntax in linear time (re2js), with comparisons of plain strings in
// place of the automaton where the expression is no more than that. Istio writes most prefixes as `literal.*`.

import { RE2JS } from 're2js'
import { ConfigError, errorText } from '../../base/errors.ts'

/** Istio's runtime value of re2.max_program_size.error_level; no expression may compile to more instructions. */
const MAX_PROGRAM_SIZE = 32768

/** True when the whole text matches. */
export type FullMatch = (text: string) => boolean

/** Refuses what does not parse or grows too large. Throws ConfigError at `path`. */
export function checkRegex(regex: string, path: string): void {
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(regex)
  } catch (error) {
    throw new ConfigError(path, errorText(error), { cause: error })
  }
  if (compiled.programSize() > MAX_PROGRAM_SIZE) {
    throw new ConfigError(path, `regex program size ${compiled.programSize()} exceeds ${MAX_PROGRAM_SIZE}: shorten it`)
  }
}

const META = /[\\^$.|?*+()[\]{}]/

/** Compiles an expression that checkRegex accepted, to be matched against the whole text (as Envoy does everywhere). */
export function compileFullMatch(regex: string): FullMatch {
  const plain = plainMatch(regex)
  if (plain) return plain
  const compiled = RE2JS.compile(regex)
  return (text) => compiled.testExact(text)
}

/** `literal`, `literal.*`, `.*literal`, `.*literal.*`, `.*`, `.+` and `a|b|c`, or undefined. RE2's dot excludes newline. */
function plainMatch(regex: string): FullMatch | undefined {
  if (!META.test(regex)) return (text) => text === regex
  if (regex === '.*') return (text) => !text.includes('\n')
  if (regex === '.+') return (text) => text.length > 0 && !text.includes('\n')
  const head = regex.startsWith('.*')
  const tail = regex.endsWith('.*')
  const literal = regex.slice(head ? 2 : 0, tail ? -2 : undefined)
  if ((head || tail) && literal !== '' && !META.test(literal)) {
    if (head && tail) return (text) => text.includes(literal) && !text.includes('\n')
    if (tail) return (text) => text.startsWith(literal) && !text.includes('\n', literal.length)
    return (text) => text.endsWith(literal) && !text.includes('\n')
  }
  const alternatives = regex.split('|')
  if (alternatives.length > 1 && alternatives.every((part) => !META.test(part))) {
    const set = new Set(alternatives)
    return (text) => set.has(text)
  }
  return undefined
}

/** `regex_rewrite`, `regex` + RE2 substitution (`\1`, `\\`). */
export interface RegexSubstitutionData {
  readonly regex: string
  readonly substitution: string
}

/** Refuses a bad expression, and a substitution that names a group the expression lacks. */
export function checkRegexSubstitution(data: RegexSubstitutionData, path: string): void {
  checkRegex(data.regex, `${path}.pattern.regex`)
  const groups = RE2JS.compile(data.regex).groupCount()
  for (const part of parseSubstitution(data.substitution, `${path}.substitution`)) {
    if (typeof part === 'number' && part > groups) {
      throw new ConfigError(`${path}.substitution`, `\\${part} refers to a group, but the regex has only ${groups}`)
    }
  }
}

/** Literal texts and group numbers, in order. */
function parseSubstitution(text: string, path: string): (string | number)[] {
  const parts: (string | number)[] = []
  let literal = ''
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (c !== '\\') {
      literal += c
      continue
    }
    const next = text[++i]
    if (next === '\\') literal += '\\'
    else if (next !== undefined && next >= '0' && next <= '9') {
      if (literal) parts.push(literal)
      literal = ''
      parts.push(Number(next))
    } else throw new ConfigError(path, 'a backslash must be followed by a digit or a backslash')
  }
  if (literal) parts.push(literal)
  return parts
}

/** Replaces every match that does not overlap an earlier one, nor is empty right behind it (RE2::GlobalReplace). */
export function compileRegexSubstitution(data: RegexSubstitutionData): (text: string) => string {
  const regex = RE2JS.compile(data.regex)
  const parts = parseSubstitution(data.substitution, '')
  return (text) => {
    const matcher = regex.matcher(text)
    let out = ''
    let from = 0
    let behind = -1
    while (matcher.find()) {
      if (matcher.start() === behind && matcher.end() === behind) continue
      behind = matcher.end()
      out += text.slice(from, matcher.start())
      for (const part of parts) out += typeof part === 'string' ? part : (matcher.group(part) ?? '')
      from = matcher.end()
    }
    return from === 0 && out === '' ? text : out + text.slice(from)
  }
}
