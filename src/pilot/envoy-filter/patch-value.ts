// The values of EnvoyFilter patches, read as istiod reads them: durations in Go's notation too, fields that nobody knows
// said and left out.
import { type DescField, type DescMessage, fromJson, type JsonValue, type Message } from '@bufbuild/protobuf'
import { messageType, typeNameOf, typeRegistry } from '../../api/registry.ts'
import { parseDuration } from '../../config/index.ts'

interface PatchValue {
  readonly value: Message
  /** Paths of the fields that its message does not have. */
  readonly unknown: readonly string[]
}

/** Throws with the reason when the value is not one of the message. */
export function readPatchValue(schema: DescMessage, value: JsonValue): PatchValue {
  const unknown: string[] = []
  const known = knownPart(schema, value, '', unknown)
  return { value: fromJson(schema, known, { registry: typeRegistry }), unknown }
}

const TYPED_STRUCT = 'type.googleapis.com/udpa.type.v1.TypedStruct'
const TYPE_URL = /^type\.googleapis\.com\/[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$/

function knownPart(schema: DescMessage, value: JsonValue, path: string, unknown: string[]): JsonValue {
  if (schema.typeName === 'google.protobuf.Duration') return duration(value, path)
  if (schema.typeName === 'google.protobuf.Any') return anyValue(value, path, unknown)
  if (schema.typeName.startsWith('google.protobuf.')) return value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const known: Record<string, JsonValue> = {}
  for (const [name, inner] of Object.entries(value)) {
    const field = schema.fields.find((one) => one.jsonName === name || one.name === name)
    const at = path === '' ? name : `${path}.${name}`
    if (field) known[name] = fieldValue(field, inner, at, unknown)
    else unknown.push(at)
  }
  return known
}

function fieldValue(field: DescField, value: JsonValue, path: string, unknown: string[]): JsonValue {
  const { message } = field
  if (!message) return value
  if (field.fieldKind === 'list' && Array.isArray(value))
    return value.map((one, i) => knownPart(message, one, `${path}[${i}]`, unknown))
  if (field.fieldKind === 'map' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, one]) => [key, knownPart(message, one, `${path}.${key}`, unknown)]),
    )
  }
  return field.fieldKind === 'message' ? knownPart(message, value, path, unknown) : value
}

function duration(value: JsonValue, path: string): JsonValue {
  if (typeof value !== 'string' || /^-?\d+(\.\d{1,9})?s$/.test(value)) return value
  const ms = parseDuration(value)
  if (ms === undefined) throw new Error(`${path}: "${value}" is no duration`)
  return `${(ms / 1000).toFixed(9)}s`
}

/**
 * Extensions whose types we do not know travel as TypedStruct, which Envoy reads for any of its own: a filter that only
 * some build of Envoy has can still be configured.
 */
function anyValue(value: JsonValue, path: string, unknown: string[]): JsonValue {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const { '@type': type, ...rest } = value
  if (type === undefined) throw new Error(`${path}: has no "@type"`)
  if (typeof type !== 'string' || !TYPE_URL.test(type))
    throw new Error(`${path}: referenced type unknown: ${JSON.stringify(type)}`)
  const schema = messageType(typeNameOf(type))
  if (!schema) return { '@type': TYPED_STRUCT, typeUrl: type, value: rest }
  if (schema.typeName.startsWith('google.protobuf.')) return value
  return { '@type': type, ...(knownPart(schema, rest, path, unknown) as Record<string, JsonValue>) }
}
