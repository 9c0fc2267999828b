// JSON Web Tokens (RFC 7519): taken apart, their times and audience judged, their signature checked. Texts are Envoy's.

import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto'
import type { WebKey } from '../../../../base/json-web-keys.ts'

/** Why a token is no good; the text of the answer. */
export const JwtStatus = {
  Missing: 'Jwt is missing',
  NotYetValid: 'Jwt not yet valid',
  Expired: 'Jwt is expired',
  BadFormat: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
  HeaderBadBase64: 'Jwt header is an invalid Base64url encoded',
  HeaderBadJson: 'Jwt header is an invalid JSON',
  HeaderBadAlg: 'Jwt header [alg] field is required and must be a string',
  HeaderAlgNotSupported: 'Jwt header [alg] is not supported',
  HeaderBadKid: 'Jwt header [kid] field is not a string',
  PayloadBadBase64: 'Jwt payload is an invalid Base64url encoded',
  PayloadBadJson: 'Jwt payload is an invalid JSON',
  SignatureBadBase64: 'Jwt signature is an invalid Base64url encoded',
  UnknownIssuer: 'Jwt issuer is not configured',
  SubjectNotAllowed: 'Jwt subject is not allowed',
  AudienceNotAllowed: 'Audiences in Jwt are not allowed',
  NoExpiration: 'Jwt has no expiration',
  TooLongLived: 'Jwt lifetime exceeds the allowed maximum',
  VerificationFails: 'Jwt verification fails',
  NoKey: "Jwks doesn't have key to match kid or alg from Jwt",
  FetchFailed: 'Jwks remote fetch is failed',
} as const
export type JwtStatus = (typeof JwtStatus)[keyof typeof JwtStatus]

export interface Jwt {
  readonly header: Readonly<Record<string, unknown>>
  readonly payload: Readonly<Record<string, unknown>>
  readonly algorithm: Algorithm
  readonly kid: string
  /** Base64url, as in the token. */
  readonly encodedPayload: string
  readonly signed: string
  readonly signature: Buffer
}

interface Algorithm {
  readonly name: string
  readonly kty: 'RSA' | 'EC' | 'oct' | 'OKP'
  readonly hash: string | null
  readonly curve: string
  readonly pss: boolean
}

const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map(
  [
    ...['256', '384', '512'].flatMap((bits): Algorithm[] => [
      { name: `RS${bits}`, kty: 'RSA', hash: `sha${bits}`, curve: '', pss: false },
      { name: `PS${bits}`, kty: 'RSA', hash: `sha${bits}`, curve: '', pss: true },
      { name: `HS${bits}`, kty: 'oct', hash: `sha${bits}`, curve: '', pss: false },
    ]),
    { name: 'ES256', kty: 'EC' as const, hash: 'sha256', curve: 'P-256', pss: false },
    { name: 'ES384', kty: 'EC' as const, hash: 'sha384', curve: 'P-384', pss: false },
    { name: 'ES512', kty: 'EC' as const, hash: 'sha512', curve: 'P-521', pss: false },
    { name: 'EdDSA', kty: 'OKP' as const, hash: null, curve: 'Ed25519', pss: false },
  ].map((algorithm) => [algorithm.name, algorithm]),
)

const BASE64URL = /^[A-Za-z0-9_-]*$/

/** A single character past the last group of four holds no byte. */
function isBase64Url(text: string): boolean {
  return text.length % 4 !== 1 && BASE64URL.test(text)
}

function decodeObject(
  part: string,
  badBase64: JwtStatus,
  badJson: JwtStatus,
): Readonly<Record<string, unknown>> | JwtStatus {
  if (part === '' || !isBase64Url(part)) return badBase64
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // Not JSON: the same answer as for JSON that is no object.
  }
  return badJson
}

/** The token's parts, or what is wrong with them. Nothing is verified yet. */
export function parseJwt(token: string): Jwt | JwtStatus {
  const parts = token.split('.')
  if (parts.length !== 3) return JwtStatus.BadFormat
  const [head = '', body = '', tail = ''] = parts
  const header = decodeObject(head, JwtStatus.HeaderBadBase64, JwtStatus.HeaderBadJson)
  if (typeof header === 'string') return header
  if (typeof header.alg !== 'string') return JwtStatus.HeaderBadAlg
  const algorithm = ALGORITHMS.get(header.alg)
  if (!algorithm) return JwtStatus.HeaderAlgNotSupported
  if (header.kid !== undefined && typeof header.kid !== 'string') return JwtStatus.HeaderBadKid
  const payload = decodeObject(body, JwtStatus.PayloadBadBase64, JwtStatus.PayloadBadJson)
  if (typeof payload === 'string') return payload
  if (!isBase64Url(tail)) return JwtStatus.SignatureBadBase64
  return {
    header,
    payload,
    algorithm,
    kid: header.kid ?? '',
    encodedPayload: body,
    signed: `${head}.${body}`,
    signature: Buffer.from(tail, 'base64url'),
  }
}

function numberClaim(payload: Jwt['payload'], name: string): number | null {
  const value = payload[name]
  return typeof value === 'number' ? value : null
}

/** null = within its time. `skewS` is granted at both ends. */
export function checkTimes(
  jwt: Jwt,
  nowS: number,
  limits: { readonly clockSkewS: number; readonly requireExpiration: boolean; readonly maxLifetimeS: number },
): JwtStatus | null {
  const notBefore = numberClaim(jwt.payload, 'nbf')
  const expires = numberClaim(jwt.payload, 'exp')
  if (notBefore !== null && nowS + limits.clockSkewS < notBefore) return JwtStatus.NotYetValid
  if (expires !== null && nowS > expires + limits.clockSkewS) return JwtStatus.Expired
  if (limits.requireExpiration && expires === null) return JwtStatus.NoExpiration
  if (limits.maxLifetimeS > 0) {
    const issued = numberClaim(jwt.payload, 'iat') ?? notBefore ?? nowS
    if (expires === null || expires - issued > limits.maxLifetimeS) return JwtStatus.TooLongLived
  }
  return null
}

/** Audiences compare without scheme and trailing slash. */
export function normalizeAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, '').replace(/\/$/, '')
}

/** `aud` as a list. */
export function audiencesOf(jwt: Jwt): readonly string[] {
  const { aud } = jwt.payload
  if (typeof aud === 'string') return [aud]
  return Array.isArray(aud) ? aud.filter((one): one is string => typeof one === 'string') : []
}

/** null = signed by one of the keys. */
export function checkSignature(jwt: Jwt, keys: readonly WebKey[]): JwtStatus | null {
  let candidate = false
  for (const key of keys) {
    if (jwt.kid !== '' && key.kid !== '' && key.kid !== jwt.kid) continue
    if (key.kty !== jwt.algorithm.kty || (key.alg !== '' && key.alg !== jwt.algorithm.name)) continue
    if (jwt.algorithm.curve !== '' && key.crv !== jwt.algorithm.curve) continue
    candidate = true
    if (signedBy(jwt, key.key)) return null
  }
  return candidate ? JwtStatus.VerificationFails : JwtStatus.NoKey
}

function signedBy(jwt: Jwt, key: KeyObject): boolean {
  const { algorithm, signature } = jwt
  const data = Buffer.from(jwt.signed)
  try {
    if (algorithm.kty === 'oct') {
      const mac = createHmac(algorithm.hash!, key).update(data).digest()
      return mac.length === signature.length && timingSafeEqual(mac, signature)
    }
    if (algorithm.pss) {
      return verify(
        algorithm.hash,
        data,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
        signature,
      )
    }
    return verify(algorithm.hash, data, { key, dsaEncoding: 'ieee-p1363' }, signature)
  } catch {
    // A signature of the wrong length for the key, and the like.
    return false
  }
}
