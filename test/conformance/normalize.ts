import type { JsonValue } from '@bufbuild/protobuf'

/** Sorts what Istio itself emits in no fixed order, and keys, so that two answers can be compared. */
export function normalize(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(normalize)
  if (typeof value !== 'object' || value === null) return value
  const out: Record<string, JsonValue> = {}
  for (const [key, inner] of Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) {
    // The store's own count.
    const normalized = key === 'ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION' ? '' : normalize(inner)
    const unordered = key === 'queryParameters' || key === 'dynamicMetadata' || key === 'spaceDelimitedClaims'
    out[key] =
      unordered && Array.isArray(normalized)
        ? normalized.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
        : normalized
  }
  return out
}

/** A resource's name, whatever its type. */
export function nameOf(value: JsonValue): string {
  const { name, clusterName } = value as { [key: string]: JsonValue }
  return String(name ?? clusterName)
}
