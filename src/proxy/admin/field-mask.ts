// FieldMask on proto JSON.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf'

/** Keeps what the paths name, and every `@type` on the way. Lists keep all their elements, masked. */
export function applyMask(value: JsonObject, paths: readonly (readonly string[])[]): JsonObject {
  const out: JsonObject = {}
  if (value['@type'] !== undefined) out['@type'] = value['@type']
  for (const [key, inner] of Object.entries(value)) {
    const below = paths.filter((path) => path[0] === key).map((path) => path.slice(1))
    if (below.length === 0) continue
    out[key] = below.some((path) => path.length === 0) ? inner : maskInside(inner, below)
  }
  return out
}

function maskInside(value: JsonValue, paths: readonly (readonly string[])[]): JsonValue {
  if (Array.isArray(value)) return value.map((item) => maskInside(item, paths))
  return typeof value === 'object' && value !== null ? applyMask(value, paths) : value
}
