// Hides secrets in what /config_dump prints: the fields that Envoy's API marks as sensitive.

import type { JsonValue } from '@bufbuild/protobuf'

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

/** A copy with every text below a sensitive field replaced. */
export function redact(value: JsonValue, sensitive = false): JsonValue {
  if (Array.isArray(value)) return value.map((item) => redact(item, sensitive))
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => {
        if (key === '@type') return [key, inner]
        if (sensitive && key === 'inline_bytes') return [key, REDACTED_BYTES]
        return [key, redact(inner, sensitive || SENSITIVE.has(key))]
      }),
    )
  }
  return sensitive && typeof value === 'string' ? REDACTED : value
}
