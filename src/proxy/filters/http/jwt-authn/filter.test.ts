import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { FilterHeadersStatus } from '../../../http/filter.ts'
import { request } from '../../../route/testing.ts'
import { httpServer, staticCluster, TestClusters } from '../../../upstream/testing.ts'
import { FilterHarness } from '../testing.ts'
import { jwtAuthnFilter } from './config.ts'

const ISSUER = 'https://issuer.example'

const keys = await generateKeyPair('RS256')
const other = await generateKeyPair('RS256')
const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k1', alg: 'RS256' }] })

async function token(
  claims: JWTPayload,
  options: { readonly kid?: string; readonly expires?: string; readonly key?: typeof keys.privateKey } = {},
) {
  return await new SignJWT({ iss: ISSUER, sub: 'me', ...claims })
    .setProtectedHeader({ alg: 'RS256', kid: options.kid ?? 'k1' })
    .setExpirationTime(options.expires ?? '1h')
    .sign(options.key ?? keys.privateKey)
}

const provider = (more: object = {}) => ({ issuer: ISSUER, local_jwks: { inline_string: jwks }, ...more })
const required = { match: { prefix: '/' }, requires: { provider_name: 'p' } }

function harness(more: object = {}, rules: readonly object[] = [required]): FilterHarness {
  return new FilterHarness(jwtAuthnFilter, { providers: { p: provider(more) }, rules })
}

describe('a required token', () => {
  test('lets the request pass and is taken out', async () => {
    const filter = harness({
      payload_in_metadata: 'payload',
      claim_to_headers: [{ header_name: 'x-group', claim_name: 'a.b' }],
    })
    const stream = filter.stream()
    const headers = request('/', { authorization: `Bearer ${await token({ a: { b: 7 } })}`, 'x-group': 'forged' })
    assert.equal(stream.request(headers), FilterHeadersStatus.Continue)
    assert.equal(headers.has('authorization'), false)
    assert.equal(headers.getAll('x-group'), '7')
    assert.equal(
      (stream.info.dynamicMetadata?.['envoy.filters.http.jwt_authn']?.payload as JWTPayload | undefined)?.sub,
      'me',
    )
    assert.equal(filter.counter('jwt_authn.allowed'), 1)
  })

  test('a claim stays within its header, whatever it says', async () => {
    const filter = harness({
      claim_to_headers: [
        { header_name: 'x-name', claim_name: 'name' },
        { header_name: 'x-city', claim_name: 'city' },
      ],
    })
    const claims = { name: 'a\r\nx-admin: true\0', city: '\u010d\u010ax-admin: true' }
    const headers = request('/', { authorization: `Bearer ${await token(claims)}` })
    assert.equal(filter.stream().request(headers), FilterHeadersStatus.Continue)
    assert.equal(headers.get('x-name'), 'a  x-admin: true ')
    // The bytes of its characters, whose codes end in those of CR and LF.
    assert.equal(headers.get('x-city'), '\xc4\x8d\xc4\x8ax-admin: true')
  })

  test('forward keeps it; forward_payload_header carries the payload', async () => {
    const headers = request('/', { authorization: `Bearer ${await token({})}` })
    harness({ forward: true, forward_payload_header: 'x-payload' }).stream().request(headers)
    assert.equal(headers.has('authorization'), true)
    assert.equal(JSON.parse(Buffer.from(headers.get('x-payload')!, 'base64url').toString()).iss, ISSUER)
  })

  test('is found in a query parameter, a cookie or a header with its own prefix', async () => {
    const jwt = await token({})
    const query = request(`/?a=1&access_token=${jwt}`)
    assert.equal(harness().stream().request(query), FilterHeadersStatus.Continue)
    assert.equal(query.path, '/?a=1')
    const cookie = request('/', { cookie: `t=${jwt}` })
    assert.equal(
      harness({ from_cookies: ['t'] })
        .stream()
        .request(cookie),
      FilterHeadersStatus.Continue,
    )
    const header = request('/', { 'x-jwt': `JWT ${jwt}` })
    assert.equal(
      harness({ from_headers: [{ name: 'x-jwt', value_prefix: 'JWT ' }] })
        .stream()
        .request(header),
      FilterHeadersStatus.Continue,
    )
  })

  const refusals: readonly (readonly [
    text: string,
    headers: () => Promise<Record<string, string>>,
    status?: number,
    more?: object,
  ])[] = [
    ['Jwt is missing', async () => ({})],
    [
      'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
      async () => ({ authorization: 'Bearer a.b' }),
    ],
    ['Jwt header is an invalid JSON', async () => ({ authorization: 'Bearer YQ.e30.' })],
    ['Jwt is expired', async () => ({ authorization: `Bearer ${await token({}, { expires: '-2m' })}` })],
    ['Jwt not yet valid', async () => ({ authorization: `Bearer ${await token({ nbf: Date.now() / 1000 + 120 })}` })],
    ['Jwt issuer is not configured', async () => ({ authorization: `Bearer ${await token({ iss: 'other' })}` })],
    ['Jwt verification fails', async () => ({ authorization: `Bearer ${await token({}, { key: other.privateKey })}` })],
    [
      "Jwks doesn't have key to match kid or alg from Jwt",
      async () => ({ authorization: `Bearer ${await token({}, { kid: 'k2' })}` }),
    ],
    [
      'Audiences in Jwt are not allowed',
      async () => ({ authorization: `Bearer ${await token({ aud: 'a' })}` }),
      403,
      { audiences: ['b'] },
    ],
  ]
  for (const [text, headers, status = 401, more = {}] of refusals) {
    test(`${status} ${text}`, async () => {
      const filter = harness(more)
      const stream = filter.stream()
      assert.equal(stream.request(request('/x?q', await headers())), FilterHeadersStatus.StopIteration)
      assert.equal(stream.reply!.status, status)
      assert.equal(stream.reply!.body, text)
      assert.equal(stream.reply!.details, `jwt_authn_access_denied{${text.replace(/ /g, '_')}}`)
      const challenge = `Bearer realm="http://a.example/x?q"${text === 'Jwt is missing' ? '' : ', error="invalid_token"'}`
      assert.equal(stream.reply!.headers.get('www-authenticate'), status === 401 ? challenge : undefined)
      assert.equal(filter.counter('jwt_authn.denied'), 1)
    })
  }

  test('audiences compare without scheme and slash', async () => {
    const headers = request('/', { authorization: `Bearer ${await token({ aud: ['https://b.example/'] })}` })
    assert.equal(
      harness({ audiences: ['b.example'] })
        .stream()
        .request(headers),
      FilterHeadersStatus.Continue,
    )
  })
})

describe('requirements', () => {
  const optional = {
    match: { prefix: '/' },
    requires: { requires_any: { requirements: [{ provider_name: 'p' }, { allow_missing: {} }] } },
  }

  test('allow_missing lets requests without a token pass, not those with a bad one', async () => {
    assert.equal(harness({}, [optional]).stream().request(request('/')), FilterHeadersStatus.Continue)
    const stream = harness({}, [optional]).stream()
    stream.request(request('/', { authorization: `Bearer ${await token({}, { expires: '-2m' })}` }))
    assert.equal(stream.reply!.body, 'Jwt is expired')
  })

  test('the first matching rule decides, no rule lets pass', async () => {
    const rules = [{ match: { prefix: '/open' } }, { match: { path: '/secret' }, requires: { provider_name: 'p' } }]
    const status = (path: string) => harness({}, rules).stream().request(request(path))
    assert.equal(status('/open/x'), FilterHeadersStatus.Continue)
    assert.equal(status('/secret'), FilterHeadersStatus.StopIteration)
    assert.equal(status('/secret/x'), FilterHeadersStatus.Continue)
  })

  test('an unknown provider is refused', () => {
    const rules = [{ match: { prefix: '/' }, requires: { provider_name: 'nobody' } }]
    assert.throws(() => harness({}, rules), /Required provider \['nobody'\] is not configured/)
  })
})

describe('remote key sets', () => {
  test('the request waits for them; they are fetched once', async () => {
    let fetches = 0
    const { port, server } = await httpServer((_, response) => {
      fetches++
      response.end(jwks)
    })
    const remote = { remote_jwks: { http_uri: { uri: 'http://keys.example/jwks', cluster: 'c', timeout: '5s' } } }
    const filter = new FilterHarness(jwtAuthnFilter, {
      providers: { p: { issuer: ISSUER, ...remote } },
      rules: [required],
    })
    const test = new TestClusters()
    filter.clusters.set('c', test.add(staticCluster([port])))
    const headers = { authorization: `Bearer ${await token({})}` }
    const first = filter.stream()
    assert.equal(first.request(request('/', headers)), FilterHeadersStatus.StopIteration)
    await first.resumed()
    assert.equal(filter.stream().request(request('/', headers)), FilterHeadersStatus.Continue)
    assert.equal(fetches, 1)
    assert.equal(filter.counter('jwt_authn.jwks_fetch_success'), 1)
    test.clusters.close()
    server.close()
  })

  test('a fetch is tried again as often as the retry policy says', async () => {
    const answers = [503, 500, 200]
    const { port, server } = await httpServer((_, response) => {
      response.statusCode = answers.shift()!
      response.end(response.statusCode === 200 ? jwks : '')
    })
    const fetching = (num_retries: number) => ({
      issuer: ISSUER,
      remote_jwks: {
        http_uri: { uri: 'http://keys.example/jwks', cluster: 'c', timeout: '5s' },
        retry_policy: { num_retries, retry_back_off: { base_interval: '0.001s' } },
      },
    })
    const filter = new FilterHarness(jwtAuthnFilter, { providers: { p: fetching(2) }, rules: [required] })
    const test = new TestClusters()
    filter.clusters.set('c', test.add(staticCluster([port])))
    const stream = filter.stream()
    stream.request(request('/', { authorization: `Bearer ${await token({})}` }))
    await stream.resumed()
    assert.deepEqual(answers, [])
    assert.equal(filter.counter('jwt_authn.jwks_fetch_failed'), 0)
    assert.equal(filter.counter('jwt_authn.jwks_fetch_success'), 1)
    test.clusters.close()
    server.close()
  })

  test('a failed fetch denies', async () => {
    const remote = { remote_jwks: { http_uri: { uri: 'http://keys.example/', cluster: 'c', timeout: '5s' } } }
    const filter = new FilterHarness(jwtAuthnFilter, {
      providers: { p: { issuer: ISSUER, ...remote } },
      rules: [required],
    })
    const stream = filter.stream()
    stream.request(request('/', { authorization: `Bearer ${await token({})}` }))
    assert.equal((await stream.replied()).body, 'Jwks remote fetch is failed')
  })
})
