// JSON Web Key Sets (RFC 7517), read as Envoy reads them: a key that cannot be used is passed over, a set without one
// that can is no set. Which keys that are, and what is said of others, was seen with Envoy 1.40.
import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'

export interface WebKey {
  readonly kid: string
  readonly alg: string
  readonly kty: string
  readonly crv: string
  readonly key: KeyObject
}

/** What is wrong with a whole set; what is wrong with a key is a text of its own. */
const KeySetProblem = {
  BadJson: 'Jwks is an invalid JSON',
  NoKeysField: 'Jwks does not have [keys] field',
  NoValidKeys: "Jwks doesn't have any valid public key",
} as const

/** The usable keys of a set; the text of the first fault when there are none. */
export function parseKeySet(text: string): readonly WebKey[] | string {
  let parsed: unknown
  try {
    // Sets are often folded over several lines; Envoy takes them so.
    parsed = JSON.parse(text.replace(/[\t\n\v\f\r]/g, ' '))
  } catch {
    return KeySetProblem.BadJson
  }
  const list = (parsed as { keys?: unknown } | null)?.keys
  if (!Array.isArray(list)) return KeySetProblem.NoKeysField
  const keys: WebKey[] = []
  let fault: string | null = null
  for (const one of list as unknown[]) {
    if (typeof one !== 'object' || one === null) continue
    const key = parseKey(one as JsonWebKey)
    if (typeof key !== 'string') keys.push(key)
    else fault ??= key
  }
  return keys.length > 0 ? keys : (fault ?? KeySetProblem.NoValidKeys)
}

/** Blanks between digits do not count, and padding may be left out. */
const BASE64URL = /^[A-Za-z0-9_-]+={0,2}$/

/** The digits of a field, null when it is no Base64. */
function digitsOf(value: string): string | null {
  const digits = value.replace(/[ \t\n\v\f\r]/g, '')
  if (!BASE64URL.test(digits) || (digits.endsWith('=') && digits.length % 4 !== 0)) return null
  return digits.replace(/=+$/, '')
}

/** By key type: the algorithms' first letters, the curves, and the fields that make the key. */
const TYPES: Readonly<
  Record<string, { algorithms: readonly string[]; curves: readonly string[]; fields: readonly string[]; name: string }>
> = {
  RSA: { algorithms: ['RS', 'PS'], curves: [], fields: ['n', 'e'], name: 'a RSA key' },
  EC: { algorithms: ['ES'], curves: ['P-256', 'P-384', 'P-521'], fields: ['x', 'y'], name: 'an EC key' },
  OKP: { algorithms: ['EdDSA'], curves: ['Ed25519'], fields: ['x'], name: 'an OKP key' },
  oct: { algorithms: ['HS'], curves: [], fields: ['k'], name: 'an HMAC key' },
}

/** One key, or why it cannot be used. */
function parseKey(jwk: JsonWebKey): WebKey | string {
  const text = (field: unknown): string => (typeof field === 'string' ? field : '')
  const { kty } = jwk
  if (typeof kty !== 'string') return '[kty] is missing in [keys]'
  const type = Object.hasOwn(TYPES, kty) ? TYPES[kty]! : null
  if (!type) return '[kty] is not supported in [keys]'
  const [alg, crv] = [text(jwk.alg), text(jwk.crv)]
  if (alg !== '' && !type.algorithms.some((prefix) => alg.startsWith(prefix)))
    return `[alg] is not started with [${type.algorithms.join('] or [')}] for ${type.name}`
  if (type.curves.length > 0 && !type.curves.includes(crv))
    return `[crv]${kty === 'EC' ? ' or [alg]' : ''} field is not supported for ${type.name}`
  const plain = { ...jwk }
  for (const field of type.fields as readonly ('n' | 'e' | 'x' | 'y' | 'k')[]) {
    const value = jwk[field]
    if (typeof value !== 'string') return `[${field}] field is missing for ${type.name}`
    const digits = digitsOf(value)
    // An empty secret is one that everybody knows.
    if (digits === null) return `[${field}] field is not Base64 for ${type.name}`
    plain[field] = digits
  }
  try {
    const key =
      kty === 'oct'
        ? createSecretKey(Buffer.from(plain.k!, 'base64url'))
        : createPublicKey({ key: plain, format: 'jwk' })
    if ((key.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS) < MIN_RSA_BITS)
      return 'Jwks RSA [n] or [e] field is missing or has a parse error'
    return { kid: text(jwk.kid), alg, kty, crv, key }
  } catch {
    return `the fields of ${type.name} do not make a key`
  }
}

/** What BoringSSL takes at least. */
const MIN_RSA_BITS = 512
