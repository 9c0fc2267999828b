import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh, testProxy } from '../testing.ts'
import { generateSecrets } from './generate.ts'

const b64 = (text: string) => Buffer.from(text).toString('base64')
const MESH = `
apiVersion: v1
kind: Secret
metadata: {name: web}
data: {tls.crt: ${b64('chain')}, tls.key: ${b64('key')}, ca.crt: ${b64('ca')}}
---
apiVersion: v1
kind: Secret
metadata: {name: old}
stringData: {cert: c, key: k}
---
apiVersion: v1
kind: Secret
metadata: {name: old-cacert}
stringData: {cacert: a}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: roots}
data: {ca.crt: root}
---
apiVersion: v1
kind: Secret
metadata: {name: broken}
data: {tls.crt: ${b64('chain')}}
`

function secret(name: string, namespace = 'default') {
  const [found] = generateSecrets(testProxy({ type: 'router', namespace }), new TestMesh(MESH).push(), [name])
  if (!found) return null
  const { type } = found
  const text = (source: { specifier: { case?: string; value?: unknown } } | undefined) =>
    Buffer.from(source?.specifier.value as Uint8Array).toString()
  if (type.case === 'tlsCertificate') return `${text(type.value.certificateChain)} ${text(type.value.privateKey)}`
  return type.case === 'validationContext' ? text(type.value.trustedCa) : type.case
}

test('key pairs, authorities beside them or alone, ConfigMaps', () => {
  assert.equal(secret('kubernetes://web'), 'chain key')
  assert.equal(secret('kubernetes://web-cacert'), 'ca')
  assert.equal(secret('kubernetes://old'), 'c k')
  assert.equal(secret('kubernetes://old-cacert'), 'a')
  assert.equal(secret('configmap://roots'), 'root')
})

test('what is missing, incomplete, of another namespace or not a credential is not there', () => {
  assert.equal(secret('kubernetes://none'), null)
  assert.equal(secret('kubernetes://broken'), null)
  assert.equal(secret('kubernetes://web', 'other'), null)
  assert.equal(secret('kubernetes://default/web', 'other'), null)
  assert.equal(secret('default'), null)
})

test('a proxy of another cluster, or of none that it tells, is given nothing', () => {
  const push = new TestMesh(MESH).push()
  for (const CLUSTER_ID of ['Kubernetes', 'west', '']) {
    const proxy = testProxy({ type: 'router', metadata: { CLUSTER_ID } })
    assert.equal(generateSecrets(proxy, push, ['kubernetes://web']).length, CLUSTER_ID === 'Kubernetes' ? 1 : 0)
  }
})
