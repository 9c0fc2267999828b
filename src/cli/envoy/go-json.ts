// Messages as Go's protojson writes them: lowerCamelCase names, fields as their message declares them, keys of maps sorted.

import type { DescField, DescMessage, JsonObject, JsonValue, Registry } from '@bufbuild/protobuf'

/** Proto JSON in Go's order. Loads the descriptors only now. */
export async function camelJson(desc: DescMessage, raws: readonly JsonObject[]): Promise<JsonValue[]> {
  const { fromJson, toJson } = await import('@bufbuild/protobuf')
  const { typeRegistry: registry } = await import('../../api/registry.ts')
  return raws.map((raw) => {
    const { '@type': _, ...body } = raw
    const message = fromJson(desc, body, { registry, ignoreUnknownFields: true })
    return inOrder(desc, toJson(desc, message, { registry }), registry)
  })
}

function inOrder(desc: DescMessage, value: JsonValue, registry: Registry): JsonValue {
  if (!isObject(value)) return value
  if (desc.typeName === 'google.protobuf.Any') return anyInOrder(value, registry)
  if (desc.typeName === 'google.protobuf.Struct') return keysSorted(value)
  const out: JsonObject = {}
  for (const field of desc.fields) {
    const inner = value[field.jsonName]
    if (inner !== undefined) out[field.jsonName] = fieldInOrder(field, inner, registry)
  }
  return out
}

/** `@type` stands before the fields; a type with a JSON form of its own has it under `value`. */
function anyInOrder(value: JsonObject, registry: Registry): JsonValue {
  const { '@type': type, ...body } = value
  const desc = registry.getMessage(String(type).replace(/^.*\//, ''))
  if (!desc) return value
  if (Object.keys(body).length === 1 && 'value' in body && desc.typeName.startsWith('google.protobuf.')) {
    return { '@type': type!, value: inOrder(desc, body.value!, registry) }
  }
  return { '@type': type!, ...(inOrder(desc, body, registry) as JsonObject) }
}

function fieldInOrder(field: DescField, value: JsonValue, registry: Registry): JsonValue {
  if (field.fieldKind === 'map') {
    if (!isObject(value)) return value
    const { message } = field
    const each = (inner: JsonValue) => (message ? inOrder(message, inner, registry) : inner)
    return Object.fromEntries(sortedEntries(value).map(([key, inner]) => [key, each(inner)]))
  }
  const { message } = field
  if (!message) return value
  return Array.isArray(value)
    ? value.map((inner) => inOrder(message, inner, registry))
    : inOrder(message, value, registry)
}

function keysSorted(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(keysSorted)
  if (!isObject(value)) return value
  return Object.fromEntries(sortedEntries(value).map(([key, inner]) => [key, keysSorted(inner)]))
}

function sortedEntries(value: JsonObject): [string, JsonValue][] {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
