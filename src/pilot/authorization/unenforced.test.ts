import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { parseResource } from '../../config/index.ts'
import { untranslated } from '../untranslated.ts'

function said(yaml: string) {
  const parsed = parseResource(parse(yaml))
  assert.ok(parsed.ok, JSON.stringify(parsed))
  return untranslated(parsed.value).map(({ path, level }) => [path, level])
}

const policy = (kind: string, spec: string) => `
apiVersion: security.istio.io/v1
kind: ${kind}
metadata: {name: p, namespace: default}
spec: ${spec}`

test('policies of services and gateway classes are refused: only waypoints would enforce them', () => {
  const targets = '[{kind: Service, name: web}, {group: gateway.networking.k8s.io, kind: Gateway, name: g}]'
  assert.deepEqual(said(policy('AuthorizationPolicy', `{action: DENY, rules: [{}], targetRefs: ${targets}}`)), [
    ['spec.targetRefs[0]', 'error'],
  ])
  const gatewayClass = '{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}'
  assert.deepEqual(said(policy('RequestAuthentication', `{targetRef: ${gatewayClass}}`)), [['spec.targetRef', 'error']])
})

test('conditions on metadata that none of our filters writes are refused', () => {
  const rules = (key: string) => `{action: DENY, rules: [{when: [{key: "${key}", values: [a]}]}]}`
  assert.deepEqual(said(policy('AuthorizationPolicy', rules('experimental.envoy.filters.network.mysql_proxy[db]'))), [
    ['spec.rules[0].when[0].key', 'error'],
  ])
  for (const key of ['http.jwt_authn[payload]', 'http.jwt_authn[payload][sub]', 'http.ext_authz[a][b]']) {
    assert.deepEqual(said(policy('AuthorizationPolicy', rules(`experimental.envoy.filters.${key}`))), [
      ['spec.rules[0].when[0].key', 'error'],
    ])
  }
  assert.deepEqual(said(policy('AuthorizationPolicy', rules('experimental.envoy.filters.http.ext_authz[a]'))), [])
  assert.deepEqual(said(policy('AuthorizationPolicy', rules('request.headers[x-a]'))), [])
})

test('key sets that every proxy would refuse, and with them whole listeners, are refused', () => {
  const rule = (jwks: string) => said(policy('RequestAuthentication', `{jwtRules: [{issuer: a, jwks: '${jwks}'}]}`))
  for (const jwks of ['{"keys":[]}', '{"keys":[{"kty":"EC","crv":"secp256k1"}]}', '{"keys":[{"kty":"oct","k":""}]}'])
    assert.deepEqual(rule(jwks), [['spec.jwtRules[0].jwks', 'error']])
  assert.deepEqual(rule('{"keys":[{"kty":"x"},{"kty":"oct","k":"c2VjcmV0"}]}'), [])
})
