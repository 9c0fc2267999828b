import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { parseKeySet } from './json-web-keys.ts'

type Kind = 'rsa' | 'ec' | 'ed25519' | 'ed448'

function jwk(kind: Kind, options: object = {}): object {
  const generate = generateKeyPairSync as (kind: string, options: object) => ReturnType<typeof generateKeyPairSync>
  return (generate(kind, options).publicKey as unknown as { export(o: object): object }).export({ format: 'jwk' })
}

const rsa = jwk('rsa', { modulusLength: 2048 })
const read = (...keys: unknown[]) => {
  const result = parseKeySet(JSON.stringify({ keys }))
  return typeof result === 'string' ? result : result.map(({ kty, crv, kid, alg }) => [kty, crv, kid, alg].join(' '))
}

test('RSA, EC, Ed25519 and HMAC keys are read', () => {
  assert.deepEqual(read({ ...rsa, kid: 'a', alg: 'PS256' }), ['RSA  a PS256'])
  for (const namedCurve of ['P-256', 'P-384', 'P-521'])
    assert.deepEqual(read(jwk('ec', { namedCurve })), [`EC ${namedCurve}  `])
  assert.deepEqual(read(jwk('ed25519')), ['OKP Ed25519  '])
  assert.deepEqual(read({ kty: 'oct', k: 'c2VjcmV0' }), ['oct   '])
})

// Envoy's own examples fold a key over several lines.
test('blanks and line ends within a key, and its padding, do not count', () => {
  const { n } = rsa as { n: string }
  const folded = `${n.slice(0, 40)}\n    ${n.slice(40)}`
  const [key] = parseKeySet(`{"keys":[{"kty":"RSA","n":"${folded}","e":"AQAB"}]}`)
  const [plain] = parseKeySet(JSON.stringify({ keys: [rsa] }))
  assert.ok(typeof key === 'object' && typeof plain === 'object')
  assert.equal(key.key.equals(plain.key), true)
  assert.deepEqual(read({ ...rsa, n: `${n}==` }), ['RSA   '])
  assert.equal(read({ ...rsa, n: `${n}=` }), '[n] field is not Base64 for a RSA key')
})

// Each of these sets, alone, is refused by Envoy 1.40 with the text on the right, as far as it is Envoy's.
for (const [what, keys, fault] of [
  ['no key', [], "Jwks doesn't have any valid public key"],
  ['a number', [1], "Jwks doesn't have any valid public key"],
  ['another type', [{ kty: 'x' }], '[kty] is not supported in [keys]'],
  [
    'a curve of others',
    [jwk('ec', { namedCurve: 'secp256k1' })],
    '[crv] or [alg] field is not supported for an EC key',
  ],
  ['Ed448', [jwk('ed448')], '[crv] field is not supported for an OKP key'],
  ['an empty secret', [{ kty: 'oct', k: '' }], '[k] field is not Base64 for an HMAC key'],
  ['no secret', [{ kty: 'oct' }], '[k] field is missing for an HMAC key'],
  ['half an RSA key', [{ kty: 'RSA', n: 'AQAB' }], '[e] field is missing for a RSA key'],
  [
    'a tiny RSA key',
    [{ kty: 'RSA', n: 'AQAB', e: 'AQAB' }],
    'Jwks RSA [n] or [e] field is missing or has a parse error',
  ],
  ['another algorithm', [{ ...rsa, alg: 'ES256' }], '[alg] is not started with [RS] or [PS] for a RSA key'],
] as const) {
  test(`${what} makes no key set`, () => assert.equal(read(...keys), fault))
}

test('a key that cannot be used does not spoil the others', () => {
  assert.deepEqual(read({ kty: 'x' }, rsa, 5), ['RSA   '])
})

test('what is no JSON, or has no keys, is said', () => {
  assert.equal(parseKeySet('<html>'), 'Jwks is an invalid JSON')
  assert.equal(parseKeySet('{}'), 'Jwks does not have [keys] field')
})
