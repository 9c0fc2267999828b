// Interprets the `validate.rules` options that Envoy's API carries in its descriptors, so that every field is checked
// as Envoy checks it, and refuses the fields that nothing reads. A message type's checks are compiled once, on first use.

import { isIP } from 'node:net'
import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  hasOption,
  type Message,
} from '@bufbuild/protobuf'
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect'
import type { Any, Duration } from '@bufbuild/protobuf/wkt'
import { RE2JS } from 're2js'
import {
  type AnyRules,
  type BytesRules,
  type DurationRules,
  disabled,
  type FieldRules,
  rules as fieldRules,
  KnownRegex,
  required as oneofRequired,
  type RepeatedRules,
  type StringRules,
} from '../../api/gen/validate/validate_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { REFUSED_FIELDS } from './refused-fields.ts'

/** Throws ConfigError naming the first field of `message` (nested ones included, Any not opened) that breaks its rules or is not supported. */
export function checkRules<T extends Message>(desc: DescMessage, message: T, path: string): void {
  checkMessage(plan(desc), reflect(desc, message), path)
}

type ValueCheck = (value: unknown, path: string) => void
type FieldCheck = (message: ReflectMessage, path: string) => void
interface Plan {
  checks: FieldCheck[]
}

const plans = new Map<string, Plan>()

function plan(desc: DescMessage): Plan {
  const known = plans.get(desc.typeName)
  if (known) return known
  const made: Plan = { checks: [] }
  plans.set(desc.typeName, made) // before the fields: message types are recursive
  if (desc.typeName.startsWith('google.protobuf.') || (hasOption(desc, disabled) && getOption(desc, disabled)))
    return made
  for (const oneof of desc.oneofs)
    if (hasOption(oneof, oneofRequired) && getOption(oneof, oneofRequired)) made.checks.push(oneofCheck(oneof))
  const refused = REFUSED_FIELDS[desc.typeName]
  for (const field of desc.fields) {
    if (refused?.includes(field.name)) made.checks.push(refusal(field))
    const check = fieldCheck(field)
    if (check) made.checks.push(check)
  }
  return made
}

function refusal(field: DescField): FieldCheck {
  return (message, path) => {
    if (message.isSet(field))
      throw new ConfigError(join(path, field.name), 'not supported by this proxy; remove the field')
  }
}

function checkMessage(plan: Plan, message: ReflectMessage, path: string): void {
  for (const check of plan.checks) check(message, path)
}

function join(path: string, name: string): string {
  return path ? `${path}.${name}` : name
}

function oneofCheck(oneof: DescOneof): FieldCheck {
  return (message, path) => {
    if (!message.oneofCase(oneof)) {
      throw new ConfigError(path, `one of ${oneof.fields.map((f) => f.name).join(', ')} is required`)
    }
  }
}

function fieldCheck(field: DescField): FieldCheck | undefined {
  const rules = hasOption(field, fieldRules) ? getOption(field, fieldRules) : undefined
  if (field.fieldKind === 'list') return listCheck(field, rules)
  if (field.fieldKind === 'map') return mapCheck(field, rules)
  if (field.fieldKind === 'message') return messageFieldCheck(field, rules)
  const check = rules && valueCheck(rules, field.enum)
  if (!check) return undefined
  // Scalars have no presence in proto3: the rule sees the zero value too, except inside a oneof.
  return (message, path) => {
    if (field.oneof && !message.isSet(field)) return
    check(message.get(field), join(path, field.name))
  }
}

function messageFieldCheck(field: DescField & { fieldKind: 'message' }, rules: FieldRules | undefined): FieldCheck {
  // A oneof member is required only when its case is chosen, and then it is there.
  const required = !field.oneof && (rules?.message?.required === true || isRequired(rules))
  const skip = rules?.message?.skip === true
  const check = rules && wrapperCheck(field.message, rules)
  const duration = field.message.typeName === 'google.protobuf.Duration'
  const nested = skip ? undefined : plan(field.message)
  return (message, path) => {
    if (!message.isSet(field)) {
      if (required) throw new ConfigError(join(path, field.name), 'value is required')
      return
    }
    const value = message.get(field)
    if (duration) checkDuration((value as ReflectMessage).message as Duration, join(path, field.name))
    check?.(value, join(path, field.name))
    if (nested && nested.checks.length > 0) checkMessage(nested, value as ReflectMessage, join(path, field.name))
  }
}

/** Envoy counts in signed 64-bit nanoseconds, and knows no time before now. */
const MAX_DURATION_S = 9_223_372_036n

function checkDuration({ seconds, nanos }: Duration, path: string): void {
  if (seconds < 0n || nanos < 0) throw new ConfigError(path, 'Expected positive duration')
  if (seconds >= MAX_DURATION_S || nanos > 999_999_999) throw new ConfigError(path, 'Duration out-of-range')
}

function isRequired(rules: FieldRules | undefined): boolean {
  const type = rules?.type
  return (
    (type?.case === 'any' || type?.case === 'duration' || type?.case === 'timestamp') && type.value.required === true
  )
}

/** Rules on Any and Duration fields, and on wrapper types, whose rules are those of the scalar inside. */
function wrapperCheck(desc: DescMessage, rules: FieldRules): ValueCheck | undefined {
  const check = valueCheck(rules)
  if (!check) return undefined
  const name = desc.typeName
  const wrapper = name.startsWith('google.protobuf.') && name.endsWith('Value') && desc.fields.length === 1
  return (value, path) => {
    // A reflected wrapper field is its scalar; other messages are reflected ones.
    if (wrapper) check(isReflected(value) ? value.get(desc.fields[0]!) : value, path)
    else check(isReflected(value) ? value.message : value, path)
  }
}

function isReflected(value: unknown): value is ReflectMessage {
  return typeof value === 'object' && value !== null && 'message' in value && 'desc' in value
}

function listCheck(field: DescField & { fieldKind: 'list' }, rules: FieldRules | undefined): FieldCheck | undefined {
  const list = rules?.type.case === 'repeated' ? rules.type.value : undefined
  const item = list?.items ? itemCheck(field, list) : undefined
  const skipItems = list?.items?.message?.skip === true
  const nested = field.listKind === 'message' && !skipItems ? plan(field.message) : undefined
  if (!list && !nested) return undefined
  return (message, path) => {
    const at = join(path, field.name)
    const items = message.get(field)
    if (list?.minItems !== undefined && list.minItems > 0n && items.size < Number(list.minItems)) {
      throw new ConfigError(at, `needs at least ${list.minItems} item(s)`)
    }
    if (list?.maxItems !== undefined && list.maxItems > 0n && items.size > Number(list.maxItems)) {
      throw new ConfigError(at, `allows at most ${list.maxItems} item(s)`)
    }
    if (list?.unique && new Set(items).size < items.size) throw new ConfigError(at, 'items must be unique')
    if (!item && (!nested || nested.checks.length === 0)) return
    let i = 0
    for (const value of items) {
      item?.(value, `${at}[${i}]`)
      if (nested) checkMessage(nested, value as ReflectMessage, `${at}[${i}]`)
      i++
    }
  }
}

function itemCheck(field: DescField & { fieldKind: 'list' }, list: RepeatedRules): ValueCheck | undefined {
  return field.listKind === 'message' ? wrapperCheck(field.message, list.items!) : valueCheck(list.items!, field.enum)
}

function mapCheck(field: DescField & { fieldKind: 'map' }, rules: FieldRules | undefined): FieldCheck | undefined {
  const map = rules?.type.case === 'map' ? rules.type.value : undefined
  const key = map?.keys && valueCheck(map.keys)
  const value =
    map?.values &&
    (field.mapKind === 'message' ? wrapperCheck(field.message, map.values) : valueCheck(map.values, field.enum))
  const nested = field.mapKind === 'message' ? plan(field.message) : undefined
  if (!map && !nested) return undefined
  return (message, path) => {
    const at = join(path, field.name)
    const entries = message.get(field)
    if (map?.minPairs !== undefined && map.minPairs > 0n && entries.size < Number(map.minPairs)) {
      throw new ConfigError(at, `needs at least ${map.minPairs} entr${map.minPairs === 1n ? 'y' : 'ies'}`)
    }
    if (map?.maxPairs !== undefined && map.maxPairs > 0n && entries.size > Number(map.maxPairs)) {
      throw new ConfigError(at, `allows at most ${map.maxPairs} entries`)
    }
    for (const [k, v] of entries) {
      key?.(k, `${at} key`)
      value?.(v, `${at}["${String(k)}"]`)
      if (nested) checkMessage(nested, v as ReflectMessage, `${at}["${String(k)}"]`)
    }
  }
}

/** `desc`: the enum of an enum field. */
function valueCheck(rules: FieldRules, desc?: DescEnum): ValueCheck | undefined {
  const type = rules.type
  switch (type.case) {
    case undefined:
    case 'repeated':
    case 'map':
    case 'timestamp':
      return undefined
    case 'string':
      return stringCheck(type.value)
    case 'bytes':
      return bytesCheck(type.value)
    case 'bool':
      return type.value.$typeName && isOwn(type.value, 'const') ? constCheck(type.value.const) : undefined
    case 'enum': {
      const { in: allowed, notIn } = type.value
      const only = isOwn(type.value, 'const') ? constCheck(type.value.const) : undefined
      const defined = type.value.definedOnly && desc ? new Set(desc.values.map(({ number }) => number)) : undefined
      return (value, path) => {
        only?.(value, path)
        if (defined && !defined.has(value as number))
          throw new ConfigError(path, `value must be one of the defined enum values, not ${String(value)}`)
        if (allowed.length > 0 && !allowed.includes(value as number))
          throw new ConfigError(path, `must be one of ${allowed.join(', ')}`)
        if (notIn.includes(value as number)) throw new ConfigError(path, `must not be ${String(value)}`)
      }
    }
    case 'any':
      return anyCheck(type.value)
    case 'duration':
      return durationCheck(type.value)
    default:
      return numberCheck(type.value as unknown as NumberRules)
  }
}

/** Proto2 fields have defaults on the prototype: only an own property was written. */
function isOwn(rules: object, field: string): boolean {
  return Object.hasOwn(rules, field) && (rules as Record<string, unknown>)[field] !== undefined
}

function constCheck(expected: unknown): ValueCheck {
  return (value, path) => {
    if (value !== expected) throw new ConfigError(path, `must be ${String(expected)}`)
  }
}

interface NumberRules {
  const?: number | bigint
  lt?: number | bigint
  lte?: number | bigint
  gt?: number | bigint
  gte?: number | bigint
  in: (number | bigint)[]
  notIn: (number | bigint)[]
  ignoreEmpty?: boolean
}

function numberCheck(rules: NumberRules): ValueCheck {
  const limit = (key: 'lt' | 'lte' | 'gt' | 'gte'): number | bigint | undefined =>
    isOwn(rules, key) ? rules[key] : undefined
  const bounds = { lt: limit('lt'), lte: limit('lte'), gt: limit('gt'), gte: limit('gte') }
  const only = isOwn(rules, 'const') ? constCheck(rules.const) : undefined
  return (value, path) => {
    const v = value as number | bigint
    if (rules.ignoreEmpty && Number(v) === 0) return
    only?.(value, path)
    checkBounds(v, bounds, path, String)
    if (rules.in.length > 0 && !rules.in.includes(v))
      throw new ConfigError(path, `must be one of ${rules.in.join(', ')}`)
    if (rules.notIn.includes(v)) throw new ConfigError(path, `must not be ${v}`)
  }
}

type Bounds<T> = { lt?: T; lte?: T; gt?: T; gte?: T }

function checkBounds<T extends number | bigint>(v: T, b: Bounds<T>, path: string, print: (v: T) => string): void {
  // protoc-gen-validate reads an upper bound below the lower one as "outside the range".
  const upper = b.lt ?? b.lte
  const lower = b.gt ?? b.gte
  if (upper !== undefined && lower !== undefined && upper < lower) {
    const outside = (b.lt !== undefined ? v < b.lt : v <= upper) || (b.gt !== undefined ? v > b.gt : v >= lower)
    if (!outside) throw new ConfigError(path, `must be outside ${print(upper)} to ${print(lower)}`)
    return
  }
  if (b.lt !== undefined && !(v < b.lt)) throw new ConfigError(path, `must be less than ${print(b.lt)}`)
  if (b.lte !== undefined && !(v <= b.lte)) throw new ConfigError(path, `must be at most ${print(b.lte)}`)
  if (b.gt !== undefined && !(v > b.gt)) throw new ConfigError(path, `must be greater than ${print(b.gt)}`)
  if (b.gte !== undefined && !(v >= b.gte)) throw new ConfigError(path, `must be at least ${print(b.gte)}`)
}

function durationCheck(rules: DurationRules): ValueCheck {
  const nanos = (d: Duration): bigint => BigInt(d.seconds) * 1_000_000_000n + BigInt(d.nanos)
  const print = (v: bigint): string => `${Number(v) / 1e9}s`
  const bounds: Bounds<bigint> = {}
  for (const key of ['lt', 'lte', 'gt', 'gte'] as const) if (rules[key]) bounds[key] = nanos(rules[key])
  return (value, path) => checkBounds(nanos(value as Duration), bounds, path, print)
}

function anyCheck(rules: AnyRules): ValueCheck {
  return (value, path) => {
    const { typeUrl } = value as Any
    if (rules.in.length > 0 && !rules.in.includes(typeUrl))
      throw new ConfigError(path, `type must be one of ${rules.in.join(', ')}`)
    if (rules.notIn.includes(typeUrl)) throw new ConfigError(path, `type must not be ${typeUrl}`)
  }
}

function bytesCheck(rules: BytesRules): ValueCheck {
  return (value, path) => {
    const { length } = value as Uint8Array
    checkLength(length, rules, 'byte(s)', path)
  }
}

function checkLength(
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

function stringCheck(rules: StringRules): ValueCheck {
  const own = (key: keyof StringRules): boolean => isOwn(rules, key)
  const pattern = own('pattern') ? RE2JS.compile(rules.pattern) : undefined
  const format = formatCheck(rules)
  return (value, path) => {
    const text = value as string
    if (rules.ignoreEmpty && text === '') return
    if (own('const') && text !== rules.const) throw new ConfigError(path, `must be "${rules.const}"`)
    checkLength([...text].length, rules, 'character(s)', path)
    const { minBytes, maxBytes, lenBytes } = rules
    checkLength(Buffer.byteLength(text), { minLen: minBytes, maxLen: maxBytes, len: lenBytes }, 'byte(s)', path)
    if (own('prefix') && !text.startsWith(rules.prefix))
      throw new ConfigError(path, `must start with "${rules.prefix}"`)
    if (own('suffix') && !text.endsWith(rules.suffix)) throw new ConfigError(path, `must end with "${rules.suffix}"`)
    if (own('contains') && !text.includes(rules.contains))
      throw new ConfigError(path, `must contain "${rules.contains}"`)
    if (own('notContains') && text.includes(rules.notContains))
      throw new ConfigError(path, `must not contain "${rules.notContains}"`)
    if (pattern && !pattern.matcher(text).find()) throw new ConfigError(path, `must match ${rules.pattern}`)
    if (rules.in.length > 0 && !rules.in.includes(text))
      throw new ConfigError(path, `must be one of ${rules.in.join(', ')}`)
    if (rules.notIn.includes(text)) throw new ConfigError(path, `must not be "${text}"`)
    format?.(text, path)
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
