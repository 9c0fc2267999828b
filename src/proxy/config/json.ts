// Protobuf JSON for configuration people write: fromJson with the field path in its errors.

import { type DescField, type DescMessage, fromJson, type JsonValue, type MessageShape } from '@bufbuild/protobuf'
import { messageType, typeNameOf, typeRegistry } from '../../api/registry.ts'
import { ConfigError, errorText } from '../../base/errors.ts'
import { canonicalSpelling } from './json-spellings.ts'

/** Parses `json` (camelCase or snake_case) as `desc`. Throws ConfigError with the path of the first bad field. */
export function parseJson<Desc extends DescMessage>(
  desc: Desc,
  json: unknown,
  options: { path: string; ignoreUnknownFields?: boolean },
): MessageShape<Desc> {
  const decode = { registry: typeRegistry, ignoreUnknownFields: options.ignoreUnknownFields ?? false }
  const canonical = canonicalSpelling(desc, json)
  try {
    return fromJson(desc, canonical as JsonValue, decode)
  } catch (error) {
    throw (
      locate(desc, canonical, options.path, decode) ?? new ConfigError(options.path, reason(error), { cause: error })
    )
  }
}

type DecodeOptions = Parameters<typeof fromJson>[2]

/** Descends into the first field whose own part of the input does not parse. */
function locate(desc: DescMessage, json: unknown, path: string, decode: DecodeOptions): ConfigError | undefined {
  if (desc.typeName === 'google.protobuf.Any') return locateAny(json, path, decode)
  if (desc.typeName.startsWith('google.protobuf.')) return undefined
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return new ConfigError(path, `expected an object (${desc.typeName})`)
  }
  for (const [key, value] of Object.entries(json)) {
    const field = desc.fields.find((f) => f.jsonName === key || f.name === key)
    const at = path ? `${path}.${key}` : key
    if (!field) {
      if (decode?.ignoreUnknownFields) continue
      return new ConfigError(at, `unknown field of ${desc.typeName}${suggestion(key, desc)}`)
    }
    if (parses(desc, { [key]: value }, decode)) continue
    return locateField(field, value, at, decode) ?? new ConfigError(at, failure(desc, { [key]: value }, decode))
  }
  return undefined
}

function locateField(field: DescField, value: unknown, path: string, decode: DecodeOptions): ConfigError | undefined {
  if (field.fieldKind === 'message') return locate(field.message, value, path, decode)
  if (field.fieldKind === 'list' && field.listKind === 'message' && Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      if (!parses(field.message, item, decode)) {
        const at = `${path}[${i}]`
        return locate(field.message, item, at, decode) ?? new ConfigError(at, failure(field.message, item, decode))
      }
    }
  }
  if (field.fieldKind === 'map' && field.mapKind === 'message' && typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      if (!parses(field.message, item, decode)) {
        const at = `${path}["${key}"]`
        return locate(field.message, item, at, decode) ?? new ConfigError(at, failure(field.message, item, decode))
      }
    }
  }
  return undefined
}

function locateAny(json: unknown, path: string, decode: DecodeOptions): ConfigError | undefined {
  const typeUrl = (json as { '@type'?: unknown } | null)?.['@type']
  if (typeof typeUrl !== 'string')
    return new ConfigError(path, 'an extension needs "@type", a URL such as type.googleapis.com/NAME')
  const desc = messageType(typeNameOf(typeUrl))
  if (!desc) return new ConfigError(path, `unknown type URL ${typeUrl}: this build has no such extension`)
  const { '@type': _, ...rest } = json as Record<string, unknown>
  return desc.typeName.startsWith('google.protobuf.') ? undefined : locate(desc, rest, path, decode)
}

function parses(desc: DescMessage, json: unknown, decode: DecodeOptions): boolean {
  try {
    fromJson(desc, json as JsonValue, decode)
    return true
  } catch {
    return false
  }
}

function failure(desc: DescMessage, json: unknown, decode: DecodeOptions): string {
  try {
    fromJson(desc, json as JsonValue, decode)
    return 'invalid value'
  } catch (error) {
    return reason(error)
  }
}

/** The library's text without its own location prefix. */
function reason(error: unknown): string {
  return errorText(error).replace(/^cannot decode (?:field|message) \S+(?: from JSON)?: /, '')
}

function suggestion(key: string, desc: DescMessage): string {
  const wanted = key.replaceAll('_', '').toLowerCase()
  const near = desc.fields.find((f) => distance(f.name.replaceAll('_', ''), wanted) <= 2)
  return near ? `; did you mean ${near.name}?` : ''
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    row = next
  }
  return row[b.length]!
}
