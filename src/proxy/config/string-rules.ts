// The rules of strings among `validate.rules`: lengths, affixes, patterns, well-known formats.

import { isIP } from 'node:net'
import { RE2JS } from 're2js'
import { KnownRegex, type StringRules } from '../../api/gen/validate/validate_pb.js'
import { ConfigError } from '../../base/errors.ts'

/** Throws ConfigError with `path` when the value breaks the rule. */
export type ValueCheck = (value: unknown, path: string) => void

/** Proto2 fields have defaults on the prototype: only an own property was written. */
export function isOwn(rules: object, field: string): boolean {
  return Object.hasOwn(rules, field) && (rules as Record<string, unknown>)[field] !== undefined
}

/** Rules of a length, shared by strings and bytes. */
export function checkLength(
  length: number,
  rules: { len?: bigint; minLen?: bigint; maxLen?: bigint },
  unit: string,
  path: string,
): void {
  if (rules.len && length !== Number(rules.len)) throw new ConfigError(path, `must have ${rules.len} ${unit}`)
  if (rules.minLen && length < Number(rules.minLen))
    throw new ConfigError(path, `must have at least ${rules.minLen} ${unit}`)
  if (rules.maxLen && length > Number(rules.maxLen))
    throw new ConfigError(path, `must have at most ${rules.maxLen} ${unit}`)
}

/** Code points, counted without making an array of them: a peer may send a name of 64 MB. */
export function characters(text: string): number {
  let count = text.length
  for (let i = 0; i < text.length; i++) if (text.codePointAt(i)! > 0xffff) count--
  return count
}

/** The rules of a string field as one function; patterns are compiled once. */
export function stringCheck(rules: StringRules): ValueCheck {
  const own = (key: keyof StringRules): boolean => isOwn(rules, key)
  const checks: ((text: string, path: string) => void)[] = []
  /** `what` completes "must …". */
  const must = (holds: (text: string) => boolean, what: (text: string) => string) =>
    checks.push((text, path) => {
      if (!holds(text)) throw new ConfigError(path, `must ${what(text)}`)
    })
  if (own('const'))
    must(
      (text) => text === rules.const,
      () => `be "${rules.const}"`,
    )
  if (rules.len || rules.minLen || rules.maxLen)
    checks.push((text, path) => checkLength(characters(text), rules, 'character(s)', path))
  const bytes = { minLen: rules.minBytes, maxLen: rules.maxBytes, len: rules.lenBytes }
  if (bytes.len || bytes.minLen || bytes.maxLen)
    checks.push((text, path) => checkLength(Buffer.byteLength(text), bytes, 'byte(s)', path))
  if (own('prefix'))
    must(
      (text) => text.startsWith(rules.prefix),
      () => `start with "${rules.prefix}"`,
    )
  if (own('suffix'))
    must(
      (text) => text.endsWith(rules.suffix),
      () => `end with "${rules.suffix}"`,
    )
  if (own('contains'))
    must(
      (text) => text.includes(rules.contains),
      () => `contain "${rules.contains}"`,
    )
  if (own('notContains'))
    must(
      (text) => !text.includes(rules.notContains),
      () => `not contain "${rules.notContains}"`,
    )
  if (own('pattern')) {
    const pattern = RE2JS.compile(rules.pattern)
    must(
      (text) => pattern.matcher(text).find(),
      () => `match ${rules.pattern}`,
    )
  }
  if (rules.in.length > 0)
    must(
      (text) => rules.in.includes(text),
      () => `be one of ${rules.in.join(', ')}`,
    )
  if (rules.notIn.length > 0)
    must(
      (text) => !rules.notIn.includes(text),
      (text) => `not be "${text}"`,
    )
  const format = formatCheck(rules)
  if (format) checks.push(format)
  return (value, path) => {
    if (rules.ignoreEmpty && value === '') return
    for (const check of checks) check(value as string, path)
  }
}

const HEADER_BREAKERS = /[\0\r\n]/
const HEADER_NAME = /^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$/
const HEADER_VALUE_CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/
const HOSTNAME =
  /^(?=.{1,253}\.?$)(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?$/
const UUID = /^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/

/** Well-known string formats (validate.proto, StringRules.well_known). Runs when configuration loads, never per request. */
function formatCheck(rules: StringRules): ((text: string, path: string) => void) | undefined {
  const { case: kind, value } = rules.wellKnown
  if (!kind || value === false) return undefined
  const must = (test: (text: string) => boolean, what: string) => (text: string, path: string) => {
    if (!test(text)) throw new ConfigError(path, `must be ${what}, not "${text}"`)
  }
  switch (kind) {
    case 'ip':
      return must((t) => isIP(t) !== 0, 'an IP address')
    case 'ipv4':
      return must((t) => isIP(t) === 4, 'an IPv4 address')
    case 'ipv6':
      return must((t) => isIP(t) === 6, 'an IPv6 address')
    case 'hostname':
      return must((t) => HOSTNAME.test(t), 'a host name')
    case 'address':
      return must((t) => isIP(t) !== 0 || HOSTNAME.test(t), 'a host name or an IP address')
    case 'uri':
      return must((t) => URL.canParse(t), 'an absolute URI')
    case 'uriRef':
      return must((t) => URL.canParse(t, 'http://base.invalid/'), 'a URI reference')
    case 'email':
      return must((t) => /^[^@\s]+@[^@\s]+$/.test(t), 'an email address')
    case 'uuid':
      return must((t) => UUID.test(t), 'a UUID')
    case 'wellKnownRegex':
      return headerFormat(value as KnownRegex, rules.strict, must)
    default:
      return undefined
  }
}

function headerFormat(
  kind: KnownRegex,
  strict: boolean,
  must: (test: (text: string) => boolean, what: string) => (text: string, path: string) => void,
): ((text: string, path: string) => void) | undefined {
  if (kind === KnownRegex.HTTP_HEADER_NAME) {
    return must((t) => t === '' || (strict ? HEADER_NAME.test(t) : !HEADER_BREAKERS.test(t)), 'an HTTP header name')
  }
  if (kind === KnownRegex.HTTP_HEADER_VALUE) {
    return must((t) => !(strict ? HEADER_VALUE_CONTROL : HEADER_BREAKERS).test(t), 'an HTTP header value')
  }
  return undefined
}
