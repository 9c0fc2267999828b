import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { JwtAuthenticationSchema } from '../../api/gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { TestMesh, testProxy } from '../testing.ts'
import { expandDomains, expandTrustDomains } from './trust-domain.ts'
import { httpSecurity, networkSecurity } from './workload.ts'

const policy = (name: string, spec: string, namespace = 'default'): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
---`

test('policies of the root namespace, the namespace and the selector apply, AUDIT before DENY before ALLOW', () => {
  const push = new TestMesh(
    policy('mesh', '{action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}', 'istio-system') +
      policy('mine', '{selector: {matchLabels: {app: a}}, rules: [{to: [{operation: {methods: [GET]}}]}]}') +
      policy('other', '{selector: {matchLabels: {app: b}}, action: AUDIT, rules: [{}]}') +
      policy('elsewhere', '{action: AUDIT, rules: [{}]}', 'elsewhere'),
  ).push()
  const names = (app: string): number => httpSecurity(push, testProxy({ labels: { app } })).rbac.length
  assert.equal(names('a'), 2)
  assert.equal(names('b'), 2)
  assert.equal(httpSecurity(push, testProxy({ namespace: 'quiet' })).rbac.length, 1)
})

test('on TCP an ALLOW rule about HTTP admits nobody; its filter stays', () => {
  const push = new TestMesh(policy('a', '{rules: [{to: [{operation: {methods: [GET]}}]}]}')).push()
  assert.equal(networkSecurity(push, testProxy()).rbac.length, 1)
})

test('an alias of the trust domain stands for all of them; identities of others stay as they are', () => {
  const expand = (...principals: string[]): string[] => expandTrustDomains(principals, ['td1', 'old'])
  assert.deepEqual(expand('old/ns/a/sa/b'), ['td1/ns/a/sa/b', 'old/ns/a/sa/b'])
  assert.deepEqual(expand('cluster.local/ns/a/sa/b'), ['td1/ns/a/sa/b', 'old/ns/a/sa/b'])
  assert.deepEqual(expand('foreign/ns/a/sa/b'), ['foreign/ns/a/sa/b'])
  assert.deepEqual(expand('*'), ['*'])
  assert.deepEqual(expand('*/ns/a/sa/b'), ['*/ns/a/sa/b'])
})

test('a token may be missing, but one that is there must be valid', () => {
  const push = new TestMesh(`
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec:
  jwtRules:
  - {issuer: b.example, jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}', audiences: [x], outputPayloadToHeader: x-payload}
  - {issuer: a.example, jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}', fromHeaders: [{name: x-jwt, prefix: "Bearer "}], forwardOriginalToken: true}
`).push()
  const [filter] = httpSecurity(push, testProxy()).jwt
  assert.ok(filter?.configType.case === 'typedConfig')
  const config = anyUnpack(filter.configType.value, JwtAuthenticationSchema)!
  assert.deepEqual(
    Object.values(config.providers).map((provider) => provider.issuer),
    ['a.example', 'b.example'],
  )
  assert.equal(config.providers['origins-0']?.fromHeaders[0]?.valuePrefix, 'Bearer ')
  assert.equal(config.providers['origins-0']?.forward, true)
  const [rule] = config.rules
  assert.ok(rule?.requirementType.case === 'requires')
  const requirement = rule.requirementType.value.requiresType
  assert.ok(requirement.case === 'requiresAny')
  assert.deepEqual(
    requirement.value.requirements.map((one) => one.requiresType.case),
    ['providerName', 'providerName', 'requiresAll'],
  )
})

test('a trust domain of the mesh means its aliases too, and * any', () => {
  assert.deepEqual(expandDomains(['old', 'foreign', 'o*'], ['td', 'old']), ['td', 'old', 'foreign', 'o*'])
  assert.deepEqual(expandDomains(['*'], ['td', 'old']), ['*'])
})
