// Interprets the `validate.rules` options that Envoy's API carries in its descriptors, so that every field is checked
// as Envoy checks it, and refuses the fields that nothing reads. A message type's checks are compiled once, on first use.

import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  hasOption,
  isFieldSet,
  isMessage,
  type Message,
  type ScalarType,
} from '@bufbuild/protobuf'
import { scalarZeroValue } from '@bufbuild/protobuf/reflect'
import type { Any, Duration } from '@bufbuild/protobuf/wkt'
import {
  type AnyRules,
  type BytesRules,
  type DurationRules,
  disabled,
  type FieldRules,
  rules as fieldRules,
  required as oneofRequired,
  type RepeatedRules,
} from '../../api/gen/validate/validate_pb.js'
import { ConfigError } from '../../base/errors.ts'
import { REFUSED_FIELDS } from './refused-fields.ts'
import { checkLength, isOwn, stringCheck, type ValueCheck } from './string-rules.ts'

/** Throws ConfigError naming the first field of `message` (nested ones included, Any not opened) that breaks its rules or is not supported. */
export function checkRules<T extends Message>(desc: DescMessage, message: T, path: string): void {
  checkMessage(plan(desc), message as unknown as Fields, path)
}

/**
 * A message as protobuf-es keeps it: a property for each field, `{ case, value }` for each oneof, a bare scalar for a
 * wrapper outside of oneofs, lists and maps. Reflection would wrap every value once more, and this is most of what an
 * update costs a proxy.
 */
type Fields = Readonly<Record<string, unknown>>
interface Oneof {
  readonly case: string | undefined
  readonly value?: unknown
}

type FieldCheck = (message: Fields, path: string) => void
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
    if (isFieldSet(message as unknown as Message, field))
      throw new ConfigError(join(path, field.name), 'not supported by this proxy; remove the field')
  }
}

function checkMessage(plan: Plan, message: Fields, path: string): void {
  for (const check of plan.checks) check(message, path)
}

function join(path: string, name: string): string {
  return path ? `${path}.${name}` : name
}

function oneofCheck(oneof: DescOneof): FieldCheck {
  return (message, path) => {
    if ((message[oneof.localName] as Oneof).case === undefined) {
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
  const zero = field.fieldKind === 'enum' ? field.enum.values[0]!.number : scalarZeroValue(field.scalar, false)
  return (message, path) => {
    if (field.oneof && (message[field.oneof.localName] as Oneof).case !== field.localName) return
    check(singular(message, field) ?? zero, join(path, field.name))
  }
}

/** The value of a field that is neither list nor map; undefined: it is not set. */
function singular(message: Fields, { oneof, localName }: DescField): unknown {
  if (!oneof) return message[localName]
  const chosen = message[oneof.localName] as Oneof
  return chosen.case === localName ? chosen.value : undefined
}

function messageFieldCheck(field: DescField & { fieldKind: 'message' }, rules: FieldRules | undefined): FieldCheck {
  // A oneof member is required only when its case is chosen, and then it is there.
  const required = !field.oneof && (rules?.message?.required === true || isRequired(rules))
  const skip = rules?.message?.skip === true
  const check = rules && wrapperCheck(field.message, rules)
  const duration = field.message.typeName === 'google.protobuf.Duration'
  const nested = skip ? undefined : plan(field.message)
  return (message, path) => {
    const value = singular(message, field)
    if (value === undefined) {
      if (required) throw new ConfigError(join(path, field.name), 'value is required')
      return
    }
    if (duration) checkDuration(value as Duration, join(path, field.name))
    check?.(value, join(path, field.name))
    if (nested && nested.checks.length > 0) checkMessage(nested, value as Fields, join(path, field.name))
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
    check(wrapper && isMessage(value) ? (value as Message & { value: unknown }).value : value, path)
  }
}

function listCheck(field: DescField & { fieldKind: 'list' }, rules: FieldRules | undefined): FieldCheck | undefined {
  const list = rules?.type.case === 'repeated' ? rules.type.value : undefined
  const item = list?.items ? itemCheck(field, list) : undefined
  const skipItems = list?.items?.message?.skip === true
  const nested = field.listKind === 'message' && !skipItems ? plan(field.message) : undefined
  if (!list && !nested) return undefined
  return (message, path) => {
    const at = join(path, field.name)
    const items = message[field.localName] as readonly unknown[]
    if (list?.minItems !== undefined && list.minItems > 0n && items.length < Number(list.minItems)) {
      throw new ConfigError(at, `needs at least ${list.minItems} item(s)`)
    }
    if (list?.maxItems !== undefined && list.maxItems > 0n && items.length > Number(list.maxItems)) {
      throw new ConfigError(at, `allows at most ${list.maxItems} item(s)`)
    }
    if (list?.unique && new Set(items).size < items.length) throw new ConfigError(at, 'items must be unique')
    if (!item && (!nested || nested.checks.length === 0)) return
    for (const [i, value] of items.entries()) {
      item?.(value, `${at}[${i}]`)
      if (nested) checkMessage(nested, value as Fields, `${at}[${i}]`)
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
    const entries = Object.entries(message[field.localName] as Fields)
    if (map?.minPairs !== undefined && map.minPairs > 0n && entries.length < Number(map.minPairs)) {
      throw new ConfigError(at, `needs at least ${map.minPairs} entr${map.minPairs === 1n ? 'y' : 'ies'}`)
    }
    if (map?.maxPairs !== undefined && map.maxPairs > 0n && entries.length > Number(map.maxPairs)) {
      throw new ConfigError(at, `allows at most ${map.maxPairs} entries`)
    }
    for (const [k, v] of entries) {
      key?.(mapKey(field.mapKey, k), `${at} key`)
      value?.(v, `${at}["${k}"]`)
      if (nested) checkMessage(nested, v as Fields, `${at}["${k}"]`)
    }
  }
}

/** Maps are kept with keys that are strings; a rule is about what they stand for. */
function mapKey(type: ScalarType, key: string): string | number | bigint | boolean {
  const zero = scalarZeroValue(type, false)
  if (typeof zero === 'bigint') return BigInt(key)
  if (typeof zero === 'number') return Number(key)
  return typeof zero === 'boolean' ? key === 'true' : key
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
