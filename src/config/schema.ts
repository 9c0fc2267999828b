// A small schema language: one declaration gives the TypeScript type of a resource and its parser.
// Chosen over generated CRD validators because it refuses unknown fields, turns durations into numbers,
// names the exact field, and costs nothing at start-up (an agent of 30 kinds is a few hundred closures).
import type { Problem } from '../base/errors.ts'
import { type DurationMs, parseDuration } from './duration.ts'

/** Collects what is wrong with one resource, by field path. */
export class Problems {
  readonly list: Problem[] = []
  /**
   * Read as istiod reads its own settings (protobuf JSON) and not as the API server reads a resource: names as in the
   * .proto file count too, integers may be quoted, and what is not known is said and left out.
   */
  readonly protobufJson: boolean

  constructor(protobufJson = false) {
    this.protobufJson = protobufJson
  }

  error(path: string, message: string, hint?: string): void {
    this.list.push({ path, message, hint, level: 'error' })
  }

  warning(path: string, message: string, hint?: string): void {
    this.list.push({ path, message, hint, level: 'warning' })
  }

  get failed(): boolean {
    return this.list.some((problem) => problem.level === 'error')
  }
}

/** How one field is read. `parse` reports every fault and returns undefined for what it cannot use. */
export interface Field<T> {
  readonly parse: (value: unknown, path: string, problems: Problems) => T | undefined
  /** The field must be present. */
  readonly required?: boolean
  /** What a required field is when it is not there, instead of a fault. */
  readonly zero?: T
  /** A parsed value as protobuf JSON, where that is another one. */
  json?(value: T): unknown
}

/** The type that a field's parser yields. */
export type Infer<F> = F extends Field<infer T> ? T : never
type Fields = Record<string, Field<unknown>>
/** A message's type: every field optional, as in protobuf JSON, except those declared `required`. */
export type Message<F extends Fields> = {
  readonly [K in keyof F as F[K] extends { readonly required: true } ? never : K]?: Infer<F[K]>
} & { readonly [K in keyof F as F[K] extends { readonly required: true } ? K : never]: Infer<F[K]> }

function typeName(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

interface StringRules {
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: RegExp
}

export function string(rules: StringRules = {}): Field<string> {
  return {
    parse(value, path, problems) {
      if (typeof value !== 'string') {
        const hint = typeof value === 'number' || typeof value === 'boolean' ? `write "${value}" in quotes` : undefined
        return problems.error(path, `must be a string, is ${typeName(value)}`, hint) as undefined
      }
      if (rules.minLength && value.length < rules.minLength) problems.error(path, 'must not be empty')
      else if (rules.maxLength && value.length > rules.maxLength) {
        problems.error(path, `must have at most ${rules.maxLength} characters, has ${value.length}`)
      } else if (rules.pattern && !rules.pattern.test(value)) {
        problems.error(path, `"${value}" does not match ${rules.pattern.source}`)
      }
      return value
    },
  }
}

interface NumberRules {
  readonly min?: number
  readonly max?: number
}

function checkRange(value: number, rules: NumberRules, path: string, problems: Problems): void {
  const { min, max } = rules
  if ((min !== undefined && value < min) || (max !== undefined && value > max)) {
    const range =
      max === undefined ? `at least ${min}` : min === undefined ? `at most ${max}` : `in range ${min}..${max}`
    problems.error(path, `must be ${range}, is ${value}`)
  }
}

const INT32_MIN = -(2 ** 31)
const INT32_MAX = 2 ** 31 - 1
const UINT32_MAX = 2 ** 32 - 1

/** An int32, or a uint32 where nothing below zero is allowed; unless the rules name another end. */
export function integer(range: NumberRules = {}): Field<number> {
  const { min = INT32_MIN } = range
  const rules = { min, max: range.max ?? (min < 0 ? INT32_MAX : UINT32_MAX) }
  return {
    parse(input, path, problems) {
      const quoted = problems.protobufJson && typeof input === 'string' && /^-?\d+$/.test(input)
      const value = quoted ? Number(input) : input
      if (typeof value !== 'number' || !Number.isInteger(value)) {
        const text =
          typeof value === 'string' ? `"${value}"` : typeof value === 'number' ? String(value) : typeName(value)
        return problems.error(path, `must be an integer, is ${text}`) as undefined
      }
      checkRange(value, rules, path, problems)
      return value
    },
  }
}

export function double(rules: NumberRules = {}): Field<number> {
  return {
    parse(value, path, problems) {
      if (typeof value !== 'number') {
        return problems.error(path, `must be a number, is ${typeName(value)}`) as undefined
      }
      checkRange(value, rules, path, problems)
      return value
    },
  }
}

export const bool: Field<boolean> = {
  parse(value, path, problems) {
    if (typeof value === 'boolean') return value
    return problems.error(path, `must be true or false, is ${typeName(value)}`) as undefined
  },
}

/** A duration such as `5s`; `min` in milliseconds; `wholeMs`: nothing finer than a millisecond. */
export function duration(rules: { readonly min?: DurationMs; readonly wholeMs?: boolean } = {}): Field<DurationMs> {
  return {
    parse(value, path, problems) {
      const ms = typeof value === 'string' ? parseDuration(value) : undefined
      if (ms === undefined) {
        const text = typeof value === 'string' ? `"${value}"` : typeName(value)
        return problems.error(path, `must be a duration, is ${text}`, 'for example 5s, 100ms or 1h30m') as undefined
      }
      if (rules.min !== undefined && ms < rules.min) problems.error(path, `must be at least ${rules.min}ms`)
      else if (rules.wholeMs && Math.round(ms * NS_PER_MS) % NS_PER_MS !== 0) {
        problems.error(path, 'must be whole milliseconds: only durations to ms precision are supported')
      }
      return ms
    },
    json(ms) {
      return `${ms / 1000}s`
    },
  }
}

const NS_PER_MS = 1e6

/** What istiod takes as a duration of a resource: whole milliseconds, one at least. */
export const positiveDuration = duration({ min: 1, wholeMs: true })

/** One of the named values. */
export function oneOfNames<const N extends string>(...names: readonly N[]): Field<N> {
  return {
    parse(value, path, problems) {
      if (typeof value === 'string' && (names as readonly string[]).includes(value)) return value as N
      const text = typeof value === 'string' ? `"${value}"` : typeName(value)
      return problems.error(path, `must be one of ${names.join(', ')}, is ${text}`) as undefined
    },
  }
}

export function list<T>(
  item: Field<T>,
  rules: { readonly min?: number; readonly max?: number } = {},
): Field<readonly T[]> {
  return {
    parse(value, path, problems) {
      if (!Array.isArray(value)) return problems.error(path, `must be a list, is ${typeName(value)}`) as undefined
      if (rules.min && value.length < rules.min) problems.error(path, `must have at least ${rules.min} entries`)
      if (rules.max && value.length > rules.max) problems.error(path, `must have at most ${rules.max} entries`)
      const parsed: T[] = []
      for (let i = 0; i < value.length; i++) {
        const one = item.parse(value[i], `${path}[${i}]`, problems)
        if (one !== undefined) parsed.push(one)
      }
      return parsed
    },
    json(values) {
      return item.json ? values.map((value) => item.json!(value)) : values
    },
  }
}

export function map<T>(item: Field<T>, rules: { readonly min?: number } = {}): Field<Readonly<Record<string, T>>> {
  return {
    parse(value, path, problems) {
      if (!isRecord(value)) return problems.error(path, `must be an object, is ${typeName(value)}`) as undefined
      const keys = Object.keys(value)
      if (rules.min && keys.length < rules.min) problems.error(path, `must have at least ${rules.min} entries`)
      const parsed: Record<string, T> = {}
      for (const key of keys) {
        const one = item.parse(value[key], `${path}[${JSON.stringify(key)}]`, problems)
        if (one !== undefined) Object.defineProperty(parsed, key, { value: one, enumerable: true })
      }
      return parsed
    },
    json(values) {
      if (!item.json) return values
      return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, item.json!(value)]))
    },
  }
}

/** Free-form JSON object (protobuf Struct). */
export const struct: Field<Readonly<Record<string, unknown>>> = {
  parse(value, path, problems) {
    if (isRecord(value)) return value
    return problems.error(path, `must be an object, is ${typeName(value)}`) as undefined
  },
}

/** Makes a field mandatory. */
export function required<T>(field: Field<T>): Field<T> & { readonly required: true } {
  return { ...field, required: true }
}

/** A field that always has a value: protobuf's zero when it is not there. */
export function withZero<T>(field: Field<T>, zero: T): Field<T> & { readonly required: true } {
  return { ...field, required: true, zero }
}

interface MessageRules {
  /** At most one field of each group may be set (a protobuf oneof). */
  readonly oneof?: readonly (readonly string[])[]
  /** Other spellings that the CRD accepts: old name → field. */
  readonly aliases?: Readonly<Record<string, string>>
}

export function message<F extends Fields>(fields: F, rules: MessageRules = {}): Field<Message<F>> {
  const table = new Map(Object.entries(fields))
  const requiredNames = Object.keys(fields).filter((name) => fields[name]!.required)
  return {
    parse(value, path, problems) {
      if (!isRecord(value)) return problems.error(path, `must be an object, is ${typeName(value)}`) as undefined
      const parsed: Record<string, unknown> = {}
      for (const key of Object.keys(value)) {
        const known = rules.aliases?.[key] ?? key
        const name = problems.protobufJson && !table.has(known) ? camelCase(known) : known
        const field = table.get(name)
        const at = path === '' ? key : `${path}.${key}`
        if (!field) {
          const hint = nearest(key, table.keys())
          if (problems.protobufJson) problems.warning(at, 'unknown field, it has no effect', hint)
          else problems.error(at, 'unknown field', hint)
          continue
        }
        const raw = value[key]
        if (raw === null || raw === undefined) continue
        const one = field.parse(raw, at, problems)
        if (one !== undefined) parsed[name] = one
      }
      for (const name of requiredNames) {
        if (value[name] !== undefined && value[name] !== null) continue
        const { zero } = fields[name]!
        if (zero === undefined) problems.error(`${path}.${name}`, 'is required')
        else parsed[name] = zero
      }
      for (const group of rules.oneof ?? []) {
        const set = group.filter((name) => parsed[name] !== undefined)
        if (set.length > 1)
          problems.error(path, `only one of ${group.join(', ')} may be set, found ${set.join(' and ')}`)
      }
      return parsed as Message<F>
    },
    json(values) {
      const out: Record<string, unknown> = {}
      for (const [key, value] of Object.entries(values)) out[key] = table.get(key)?.json?.(value) ?? value
      return out
    },
  }
}

/** A field's name in JSON, of its name in a .proto file. */
function camelCase(name: string): string {
  return name.replace(/_+([a-zA-Z0-9])/g, (_, next: string) => next.toUpperCase())
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A hint naming the known field that a mistyped one probably means. */
function nearest(word: string, known: Iterable<string>): string | undefined {
  const squeeze = (text: string): string => text.toLowerCase().replaceAll('_', '')
  for (const name of known) {
    if (squeeze(name) === squeeze(word) || editDistance(name, word) <= 2) return `did you mean ${name}?`
  }
  return undefined
}

function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    row = next
  }
  return row[b.length]!
}
