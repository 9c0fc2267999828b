// Seeded mutation of what filters take apart (tokens, cookies, queries, answers of services), and whole requests through
// connection managers whose configuration was mutated and accepted: nothing throws, and no altered token verifies.

import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { HttpConnectionManagerSchema } from '../../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RateLimitResponseSchema } from '../../src/api/gen/envoy/service/ratelimit/v3/rls_pb.js'
import { ConfigError } from '../../src/base/errors.ts'
import { parseKeySet } from '../../src/base/json-web-keys.ts'
import { createLogger } from '../../src/base/logger.ts'
import type { HttpFilterExtension, NetworkFilterExtension, WorkerContext } from '../../src/proxy/config/extension.ts'
import { createParseContext } from '../../src/proxy/config/extension-registry.ts'
import { loadBootstrap } from '../../src/proxy/config/load-bootstrap.ts'
import { decodeAnswer } from '../../src/proxy/filters/common/rate-limit.ts'
import { extractTokens, removeToken } from '../../src/proxy/filters/http/jwt-authn/extract.ts'
import { audiencesOf, checkSignature, checkTimes, parseJwt } from '../../src/proxy/filters/http/jwt-authn/token.ts'
import { registerExtensions } from '../../src/proxy/filters/register.ts'
import { HeaderMap } from '../../src/proxy/http/header-map.ts'
import { MemoryConnection } from '../../src/proxy/http/testing.ts'
import { ConnectionEvent } from '../../src/proxy/network/connection.ts'
import { FilterState } from '../../src/proxy/network/filter.ts'
import { StatsStore } from '../../src/proxy/observe/stats-store.ts'
import { cookieValue, queryParameter } from '../../src/proxy/route/request-path.ts'
import { NO_RUNTIME } from '../../src/proxy/route/testing.ts'
import { DnsCaches } from '../../src/proxy/upstream/dynamic-forward-proxy/dns-cache.ts'
import { applied, edits, type Json } from '../interop/config/mutate.ts'
import { resourceFiles, richBootstrap } from '../interop/harness/rich-bootstrap.ts'
import { mutate, pieces, type Random } from './random.ts'
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

const registry = registerExtensions()
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
const hcm = registry.get('network_filter', HttpConnectionManagerSchema.typeName) as unknown as NetworkFilterExtension

/** The connection managers of a configuration, those that it would be refused for left out. */
function connectionManagers(config: Json): unknown[] {
  const parsed: unknown[] = []
  try {
    const { staticResources } = loadBootstrap({ yaml: JSON.stringify(config), allowUnknownFields: false })
    for (const listener of staticResources?.listeners ?? [])
      for (const { filters } of listener.filterChains)
        for (const { configType } of filters) {
          if (configType.case !== 'typedConfig' || !configType.value.typeUrl.endsWith(hcm.desc.typeName)) continue
          const message = fromBinary(HttpConnectionManagerSchema, configType.value.value)
          parsed.push(structuredClone(hcm.parse(message, createParseContext(registry))))
        }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
  }
  return parsed
}

function context(): WorkerContext {
  const stats = new StatsStore()
  const caches = new DnsCaches(stats)
  return {
    workerIndex: 0,
    concurrency: 1,
    clusters: { get: () => undefined, dnsCache: (data) => caches.get(data) },
    stats,
    log: createLogger('test', 'off'),
    node: { id: 'n', cluster: 'c', zone: '', metadata: {} },
    routeTable: () => null,
    discovered: () => null,
    runtime: NO_RUNTIME,
    createAccessLog: () => ({ log() {} }),
    createHttpFilter(parsed, statPrefix) {
      const extension = registry.get('http_filter', parsed.typeUrl) as unknown as HttpFilterExtension
      return extension.create(parsed.config, this, statPrefix)
    },
    drain: { drainClose: () => false, healthCheckFailed: false },
    listener: null,
  }
}

const REQUESTS = [
  `GET /jwt/a?b=c HTTP/1.1\r\nhost: a.example\r\nauthorization: Bearer ${JWTS[0]}\r\ncookie: a=b\r\n\r\n`,
  'POST /grpc HTTP/1.1\r\nhost: a.example\r\ncontent-type: application/grpc-web\r\ncontent-length: 7\r\n\r\n\0\0\0\0\x02ab',
  'OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: http://b\r\naccess-control-request-method: PUT\r\n\r\n',
  'PUT /x HTTP/1.1\r\nhost: a.example:80\r\nx-forwarded-for: 1.2.3.4, ::1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: u\r\n\r\n',
  'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-envoy-max-retries: 9\r\n\r\nbytes',
  'CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\nbytes',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a',
]
const REQUEST_TOKENS = tokens(
  '\r\n',
  ': ',
  '/',
  '%2f',
  '..',
  '%',
  '?',
  '&',
  'x-envoy-retry-on: 5xx\r\n',
  '\0',
  '\xff',
  ';',
)

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
    for (const parsed of connectionManagers(config)) {
      const create = hcm.create(parsed, context())
      for (let i = 0; i < 3; i++) {
        const connection = new MemoryConnection()
        const manager = create({
          connection,
          continueReading() {},
          injectReadData() {},
          filterState: new FilterState(),
          dynamicMetadata: {},
        })
        manager.onNewConnection()
        const request = Buffer.from(altered(random, random.pick(REQUESTS), REQUEST_TOKENS), 'latin1')
        for (const piece of random.next() < 0.5 ? [request] : pieces(random, request))
          if (connection.open) manager.onData(piece, false)
        if (connection.output.length > 0) served++
        manager.onEvent(ConnectionEvent.RemoteClose)
      }
    }
  })
  assert.ok(served > 20, `${served} connections were answered`)
})
