import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { createLogger } from '../../base/logger.ts'
import type { RequestAuthentication } from '../../config/index.ts'
import { KeySetFetcher, type KeySetMap } from './key-sets.ts'

const UNCOUNTED = { inc: () => undefined }

let server: Server
let base: string
const answers = new Map<string, { status?: number; body: string }>()

before(async () => {
  server = createServer((request, response) => {
    const answer = answers.get(request.url ?? '')
    response.writeHead(answer ? (answer.status ?? 200) : 404).end(answer?.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => server.close())

const keySet = (kid: string) => JSON.stringify({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid }] })

function policy(...rules: object[]): RequestAuthentication {
  return {
    kind: 'RequestAuthentication',
    apiVersion: 'security.istio.io/v1',
    metadata: { name: 'jwt', namespace: 'default', labels: {}, annotations: {}, creationMs: 0 },
    spec: { jwtRules: rules },
    warnings: [],
  } as RequestAuthentication
}

/** The first map that a fetcher reports for `policies`. */
async function fetched(...policies: RequestAuthentication[]): Promise<KeySetMap> {
  const { promise, resolve } = Promise.withResolvers<KeySetMap>()
  const fetcher = new KeySetFetcher(createLogger('test', 'off'), { fetched: UNCOUNTED, failed: UNCOUNTED }, resolve)
  fetcher.follow(policies)
  const keySets = await promise
  fetcher.close()
  return keySets
}

test('keys come from jwksUri', async () => {
  answers.set('/keys', { body: keySet('a') })
  const keySets = await fetched(policy({ issuer: 'a', jwksUri: `${base}/keys` }))
  assert.equal(keySets.get(`${base}/keys`), keySet('a'))
})

test('without jwksUri the discovery document of the issuer says where they are', async () => {
  answers.set('/issuer/.well-known/openid-configuration', { body: JSON.stringify({ jwks_uri: `${base}/found` }) })
  answers.set('/found', { body: keySet('b') })
  const keySets = await fetched(policy({ issuer: `${base}/issuer/` }))
  assert.equal(keySets.get(`${base}/issuer/.well-known/openid-configuration`), keySet('b'))
})

test('an answer that is no key set is refused; other sources are served all the same', async () => {
  answers.set('/bad', { body: '<html>' })
  answers.set('/refused', { status: 500, body: '{"keys":[]}' })
  answers.set('/unusable', { body: '{"keys":[{"kty":"x"}]}' })
  answers.set('/good', { body: keySet('c') })
  const keySets = await fetched(
    policy({ issuer: 'a', jwksUri: `${base}/bad` }, { issuer: 'b', jwksUri: `${base}/refused` }),
    policy({ issuer: 'e', jwksUri: `${base}/unusable` }),
    policy({ issuer: 'c', jwksUri: `${base}/good` }, { issuer: 'd', jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}' }),
  )
  assert.deepEqual([...keySets.keys()], [`${base}/good`])
})
