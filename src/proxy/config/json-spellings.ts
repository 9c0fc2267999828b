// Spellings of protobuf JSON that Envoy's loader takes and canonical JSON does not: booleans as texts, durations and
// wrappers as messages, enum names in any case and numbers as texts, one item where a list is meant.

import { type DescEnum, type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf'
import { messageType, typeNameOf } from '../../api/registry.ts'

/** The same JSON in canonical spelling; what is wrong stays as it is, for the decoder to refuse. */
export function canonicalSpelling(desc: DescMessage, json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json
  if (desc.typeName === 'google.protobuf.Any') return extensionSpelling(json as Extension)
  if (desc.typeName === 'google.protobuf.Duration') return durationText(json as DurationObject)
  if (desc.typeName.startsWith('google.protobuf.')) return isWrapper(desc) ? unwrapped(json, desc) : json
  let changed: Record<string, unknown> | undefined
  for (const [key, value] of Object.entries(json)) {
    const field = desc.fields.find((f) => f.jsonName === key || f.name === key)
    const canonical = field ? fieldSpelling(field, value) : value
    if (canonical === value) continue
    changed ??= { ...json }
    changed[key] = canonical
  }
  return changed ?? json
}

/** Configuration of an extension, in its own type. */
interface Extension {
  readonly '@type'?: unknown
}

function extensionSpelling(json: Extension): unknown {
  const type = json['@type']
  if (typeof type === 'string' && type.indexOf('/') <= 0) return { ...json, '@type': null } // no URL
  const desc = typeof type === 'string' ? messageType(typeNameOf(type)) : undefined
  if (!desc || desc.typeName.startsWith('google.protobuf.')) return json
  // `@type` is no field of the message, and so stays as it is.
  return canonicalSpelling(desc, json)
}

/** Messages around one value (google.protobuf.UInt32Value and its like), which canonical JSON writes as that value. */
function isWrapper(desc: DescMessage): boolean {
  const [field, ...others] = desc.fields
  return others.length === 0 && field?.name === 'value' && field.fieldKind === 'scalar'
}

function unwrapped(json: object, desc: DescMessage): unknown {
  const [key, ...others] = Object.keys(json)
  if (key === undefined) return ZERO[desc.fields[0]!.scalar!] ?? 0
  return others.length === 0 && key === 'value' ? (json as { value: unknown }).value : json
}

/** What is not here is a number. */
const ZERO: { readonly [type in ScalarType]?: unknown } = {
  [ScalarType.BOOL]: false,
  [ScalarType.STRING]: '',
  [ScalarType.BYTES]: '',
}

function fieldSpelling(field: DescField, value: unknown): unknown {
  switch (field.fieldKind) {
    case 'message': {
      const plain = canonicalSpelling(field.message, value)
      return field.message.typeName === 'google.protobuf.BoolValue' ? booleanOf(plain) : plain
    }
    case 'list': {
      if (value === null) return value
      // Lists in a list are one list.
      const items: unknown[] = Array.isArray(value) ? flattened(value) : [value]
      if (field.listKind === 'enum') return mapped(items, (item) => enumValue(field.enum, item))
      if (field.listKind === 'scalar') return items
      return mapped(items, (item) => canonicalSpelling(field.message, item))
    }
    case 'map': {
      if (field.mapKind !== 'message' || typeof value !== 'object' || value === null) return value
      const entries = Object.entries(value)
      const items = entries.map(([, item]) => item)
      const canonical = mapped(items, (item) => canonicalSpelling(field.message, item))
      return canonical === items ? value : Object.fromEntries(entries.map(([key], i) => [key, canonical[i]]))
    }
    case 'enum':
      return enumValue(field.enum, value)
    default:
      return field.scalar === ScalarType.BOOL ? booleanOf(value) : value
  }
}

function enumValue(desc: DescEnum, value: unknown): unknown {
  if (typeof value !== 'string' || desc.values.some((v) => v.name === value)) return value
  if (/^-?\d+$/.test(value)) return Number(value)
  const folded = value.toUpperCase()
  return desc.values.find((v) => v.name.toUpperCase() === folded)?.name ?? value
}

function booleanOf(value: unknown): unknown {
  if (typeof value !== 'string') return value
  const folded = value.toLowerCase()
  if (TRUE.has(folded)) return true
  return FALSE.has(folded) ? false : value
}

/** Texts that Envoy's decoder takes for booleans, in any case. */
const TRUE: ReadonlySet<string> = new Set(['true', 't', 'yes', 'y', '1'])
const FALSE: ReadonlySet<string> = new Set(['false', 'f', 'no', 'n', '0'])

/** The array itself when it holds no others. */
function flattened(list: unknown[]): unknown[] {
  return list.some(Array.isArray) ? list.flat(Number.POSITIVE_INFINITY) : list
}

/** The array itself when nothing changed. */
function mapped(list: unknown[], change: (item: unknown) => unknown): unknown[] {
  const out = list.map(change)
  return out.every((item, i) => item === list[i]) ? list : out
}

interface DurationObject {
  readonly seconds?: unknown
  readonly nanos?: unknown
}

function durationText(json: DurationObject): unknown {
  const seconds = Number(json.seconds ?? 0)
  const nanos = Number(json.nanos ?? 0)
  if (!Number.isInteger(seconds) || !Number.isInteger(nanos)) return json
  if (Object.keys(json).some((key) => key !== 'seconds' && key !== 'nanos')) return json
  const sign = seconds < 0 || nanos < 0 ? '-' : ''
  const fraction = nanos === 0 ? '' : `.${String(Math.abs(nanos)).padStart(9, '0')}`
  return `${sign}${Math.abs(seconds)}${fraction}s`
}
