// Seeded mutation of what filters take apart (tokens, cookies, queries, answers of services), and whole requests through
// connection managers whose configuration was mutated and accepted: nothing throws, and no altered token verifies.

import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { create, toBinary } from '@bufbuild/protobuf'
import { RateLimitResponseSchema } from '../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { parseKeySet } from '../../src/base/json-web-keys.ts'
import { loadBootstrap } from '../../src/proxy/config/load-bootstrap.ts'
import { decodeAnswer } from '../../src/proxy/filters/common/rate-limit.ts'
import { extractTokens, removeToken } from '../../src/proxy/filters/http/jwt-authn/extract.ts'
import { audiencesOf, checkSignature, checkTimes, parseJwt } from '../../src/proxy/filters/http/jwt-authn/token.ts'
import { HeaderMap } from '../../src/proxy/http/header-map.ts'
import { cookieValue, queryParameter } from '../../src/proxy/route/request-path.ts'
import { applied, edits, type Json } from '../interop/config/mutate.ts'
import { resourceFiles, richBootstrap } from '../interop/harness/rich-bootstrap.ts'
import { connectionManagers, serve } from './connections.ts'
import { mutate, type Random } from './random.ts'
import { accepted } from './resources.ts'
import { rounds } from './rounds.ts'

const fuzz = rounds(3, 1000)
/** Configurations are slow to parse. */
const fuzzTraffic = rounds(3, 60)
const tokens = (...texts: string[]): readonly Buffer[] => texts.map((text) => Buffer.from(text, 'latin1'))
const altered = (random: Random, text: string, extra: readonly Buffer[]): string =>
  mutate(random, Buffer.from(text, 'latin1'), extra).toString('latin1')

// ---- tokens

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ed = generateKeyPairSync('ed25519')
const secret = Buffer.alloc(32, 7)
const KEYS = parseKeySet(
  JSON.stringify({
    keys: [
      { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'r' },
      { ...ec.publicKey.export({ format: 'jwk' }), kid: 'e' },
      { ...ed.publicKey.export({ format: 'jwk' }), kid: 'o' },
      { kty: 'oct', k: secret.toString('base64url'), kid: 'h' },
    ],
  }),
)

function signed(alg: string, kid: string, of: (data: Buffer) => Buffer): string {
  const claims = {
    iss: 'a',
    sub: 'b',
    aud: ['c', 'https://d/'],
    exp: 4e9,
    nbf: 1,
    scope: 'x y',
    nested: { a: [1, null] },
  }
  const data = `${base64url({ alg, kid, typ: 'JWT' })}.${base64url(claims)}`
  return `${data}.${of(Buffer.from(data)).toString('base64url')}`
}
const JWTS = [
  signed('RS256', 'r', (data) => sign('sha256', data, rsa.privateKey)),
  signed('ES256', 'e', (data) => sign('sha256', data, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' })),
  signed('EdDSA', 'o', (data) => sign(null, data, ed.privateKey)),
  signed('HS256', 'h', (data) => createHmac('sha256', secret).update(data).digest()),
]
const LIMITS = { clockSkewS: 60, requireExpiration: true, maxLifetimeS: 1000 }

test('tokens: what was altered does not verify', () => {
  assert.ok(typeof KEYS !== 'string')
  for (const token of JWTS) {
    const jwt = parseJwt(token)
    assert.ok(typeof jwt !== 'string')
    assert.equal(checkSignature(jwt, KEYS), null)
  }
  const extra = tokens(
    '.',
    '=',
    base64url({ alg: 'none' }),
    base64url({ alg: 'HS256', kid: 'r' }),
    base64url(null),
    '_-',
  )
  fuzz((random) => {
    const token = random.pick(JWTS)
    const other = altered(random, token, extra)
    const jwt = parseJwt(other)
    if (typeof jwt === 'string') return
    checkTimes(jwt, 1e9, LIMITS)
    audiencesOf(jwt)
    if (checkSignature(jwt, KEYS) !== null) return
    // The last digit of base64url has bits that mean nothing.
    const original = JWTS.map((one) => parseJwt(one)).find(
      (one) => typeof one !== 'string' && one.signed === jwt.signed,
    )
    assert.ok(typeof original === 'object' && original.signature.equals(jwt.signature), other)
  })
})

// ---- cookies, queries, answers

const COOKIES = ['a=b; c="d e"; =; f', 'session=;session=2;  x = y', `token=${JWTS[3]}; other`]
const QUERIES = ['/a?b=c&d=%zz&=&e', '/?access_token=x&access_token=y#f', `/p;q=1?token=${JWTS[3]}`, '?', '*']
const ANSWER = toBinary(
  RateLimitResponseSchema,
  create(RateLimitResponseSchema, {
    overallCode: 2,
    statuses: [{ code: 2, limitRemaining: 3, currentLimit: { requestsPerUnit: 5, unit: 2, name: 'n' } }],
    responseHeadersToAdd: [{ key: 'x-a', value: 'b' }],
    dynamicMetadata: { a: { b: [1, 'c', null] } },
  }),
)

test('cookies, queries and answers of rate limit services', () => {
  const extra = tokens(';', '; ', '=', '&', '?', '#', '%', '"', '\0', '\xff', ',')
  const places = { fromHeaders: [{ name: 'x', prefix: 'P ' }], fromParams: ['token', ''], fromCookies: ['token', 'a'] }
  fuzz((random) => {
    const headers = new HeaderMap()
    headers.path = altered(random, random.pick(QUERIES), extra)
    headers.add('cookie', altered(random, random.pick(COOKIES), extra))
    headers.add('x', altered(random, `P ${random.pick(JWTS)}`, extra))
    for (const name of ['a', 'token', '', 'session']) {
      cookieValue(headers, name)
      queryParameter(headers.path, name)
    }
    for (const found of extractTokens(headers, places)) {
      removeToken(headers, found)
      if (found.param !== '') assert.equal(queryParameter(headers.path, found.param), undefined)
    }
    decodeAnswer(mutate(random, Buffer.from(ANSWER), tokens('\x0a\xff', '\x12\0', '\x08\xff\xff\x7f')))
  })
})

// ---- whole requests

const dir = mkdtempSync(join(tmpdir(), 'fuzz-traffic-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const files = { rds: join(dir, 'rds.json'), eds: join(dir, 'eds.json'), sds: join(dir, 'sds.json') }
for (const [name, text] of Object.entries(resourceFiles(9, '', '')))
  writeFileSync(files[name as keyof typeof files], text)
const surroundings = { upstream: 9, upstreamHttp2: 9, ca: '', cert: '', key: '', files }
const ports = { listener: 1000, admin: 1004, accessLog: '/log' }
const base = JSON.parse(
  JSON.stringify(richBootstrap({ ...surroundings, listeners: [1001, 1002, 1003] })(ports)),
) as Json
const allEdits = edits(base, 3)
test('requests through connection managers of any accepted configuration', () => {
  let served = 0
  fuzzTraffic((random) => {
    let config = base
    for (let count = random.below(4); count > 0; count--) {
      try {
        config = applied(config, random.pick(allEdits))
      } catch (error) {
        // The message that the edit was for is gone.
        if (!(error instanceof TypeError)) throw error
      }
    }
    accepted(() => {
      const { staticResources } = loadBootstrap({ yaml: JSON.stringify(config), allowUnknownFields: false })
      for (const { filterChains } of staticResources?.listeners ?? [])
        for (const parsed of connectionManagers(filterChains)) served += serve(parsed, random)
    })
  })
  assert.ok(served > 20, `${served} connections were answered`)
})
