// JSON Web Tokens of one shared key, good and bad, the same in each run.

import { createHmac } from 'node:crypto'

const SECRET = 'of the generated traffic, thirty-two bytes or more'
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

export const KEYS = JSON.stringify({
  keys: [{ kty: 'oct', alg: 'HS256', kid: 'one', k: Buffer.from(SECRET).toString('base64url') }],
})

function token(claims: object, secret = SECRET, header: object = { alg: 'HS256', kid: 'one' }): string {
  const signed = `${encode(header)}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

const FAR = 4_000_000_000
/** Header fields that bring a token. */
export const TOKENS: readonly (readonly [string, string])[] = [
  ['authorization', `Bearer ${token({ iss: 'i', sub: 'me', aud: 'one', exp: FAR })}`],
  ['authorization', `Bearer ${token({ iss: 'i', sub: 'me', aud: ['two', 'one'] })}`],
  ['authorization', `Bearer ${token({ iss: 'i', exp: 1000 })}`],
  ['authorization', `Bearer ${token({ iss: 'i', nbf: FAR })}`],
  ['authorization', `Bearer ${token({ iss: 'other' })}`],
  ['authorization', `Bearer ${token({ iss: 'i', aud: 'one' }, 'another secret of as many bytes, or more')}`],
  ['authorization', `Bearer ${token({ iss: 'i' }, SECRET, { alg: 'HS512', kid: 'one' })}`],
  ['authorization', `Bearer ${token({ iss: 'i' }, SECRET, { alg: 'HS256', kid: 'two' })}`],
  ['authorization', 'Bearer no.token'],
  ['authorization', 'Basic abc'],
]
