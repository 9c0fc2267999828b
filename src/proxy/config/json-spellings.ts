// Spellings of protobuf JSON that Envoy's loader takes and canonical JSON does not: booleans and durations as people
// write them in YAML, and enum names in any case.

import type { DescField, DescMessage } from '@bufbuild/protobuf'

/** The same JSON in canonical spelling; what is wrong stays as it is, for the decoder to refuse. */
export function canonicalSpelling(desc: DescMessage, json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json
  if (desc.typeName === 'google.protobuf.Duration') return durationText(json as DurationObject)
  if (desc.typeName.startsWith('google.protobuf.')) return json
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

function fieldSpelling(field: DescField, value: unknown): unknown {
  switch (field.fieldKind) {
    case 'message':
      if (field.message.typeName === 'google.protobuf.BoolValue') return booleanOf(value)
      return canonicalSpelling(field.message, value)
    case 'list':
      if (field.listKind !== 'message' || !Array.isArray(value)) return value
      return mapped(value, (item) => canonicalSpelling(field.message, item))
    case 'map': {
      if (field.mapKind !== 'message' || typeof value !== 'object' || value === null) return value
      const entries = Object.entries(value)
      const items = entries.map(([, item]) => item)
      const canonical = mapped(items, (item) => canonicalSpelling(field.message, item))
      return canonical === items ? value : Object.fromEntries(entries.map(([key], i) => [key, canonical[i]]))
    }
    case 'enum': {
      if (typeof value !== 'string' || field.enum.values.some((v) => v.name === value)) return value
      const folded = value.toUpperCase()
      return field.enum.values.find((v) => v.name.toUpperCase() === folded)?.name ?? value
    }
    default:
      return field.scalar === 8 /* bool */ ? booleanOf(value) : value
  }
}

function booleanOf(value: unknown): unknown {
  return value === 'true' ? true : value === 'false' ? false : value
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
