// Hides secrets in what /config_dump prints: the fields that Envoy's API marks as sensitive.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf'

const SENSITIVE = new Set([
  'private_key',
  'password',
  'pkcs12',
  'session_ticket_keys',
  'generic_secret',
  'token_secret',
  'hmac_secret',
  'auth_password',
  'access_token',
])
const REDACTED = '[redacted]'
const REDACTED_BYTES = Buffer.from(REDACTED).toString('base64')

/** A copy with every text below a sensitive field replaced, and `@type` first in every object, as Envoy prints it. */
export function redact(value: JsonValue, sensitive = false): JsonValue {
  if (Array.isArray(value)) return value.map((item) => redact(item, sensitive))
  if (typeof value === 'object' && value !== null) {
    const out: JsonObject = {}
    if (value['@type'] !== undefined) out['@type'] = value['@type']
    for (const [key, inner] of Object.entries(value)) {
      if (key === '@type') continue
      out[key] = sensitive && key === 'inline_bytes' ? REDACTED_BYTES : redact(inner, sensitive || SENSITIVE.has(key))
    }
    return out
  }
  return sensitive && typeof value === 'string' ? REDACTED : value
}
