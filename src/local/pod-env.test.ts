import assert from 'node:assert/strict'
import { test } from 'node:test'
import { containerEnv, expandReferences } from './pod-env.ts'
import type { Container } from './pod-types.ts'
import { podForTest } from './testing.ts'

const pod = podForTest('p', { app: 'x', b: 'y' }, { ip: '10.244.0.5', ready: true })
const read = (kind: string, name: string) =>
  name === 'conf' && kind === 'ConfigMap'
    ? { apiVersion: 'v1', kind, metadata: { name }, data: { KEY: 'value' } }
    : name === 'secret' && kind === 'Secret'
      ? { apiVersion: 'v1', kind, metadata: { name }, data: { KEY: Buffer.from('hidden').toString('base64') } }
      : undefined
const env = (container: Partial<Container>) => containerEnv(pod, { name: 'c', ...container }, read)

test('fields of the pod', () => {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  assert.deepEqual(
    env({
      env: [
        field('A', 'metadata.name'),
        field('B', 'status.podIP'),
        field('C', "metadata.labels['app']"),
        field('D', 'metadata.labels'),
      ],
    }),
    {
      A: 'p',
      B: '10.244.0.5',
      C: 'x',
      D: 'app="x"\nb="y"',
    },
  )
})

test('later variables refer to earlier ones', () => {
  assert.deepEqual(
    env({
      env: [
        { name: 'A', value: '1' },
        { name: 'B', value: '$(A)-$(NONE)-$$(A)' },
      ],
    }),
    { A: '1', B: '1-$(NONE)-$(A)' },
  )
  assert.equal(expandReferences('plain', {}), 'plain')
})

test('ConfigMaps and Secrets, whole or by key', () => {
  assert.deepEqual(
    env({
      envFrom: [{ prefix: 'P_', configMapRef: { name: 'conf' } }],
      env: [{ name: 'S', valueFrom: { secretKeyRef: { name: 'secret', key: 'KEY' } } }],
    }),
    {
      P_KEY: 'value',
      S: 'hidden',
    },
  )
})

test('a missing source is an error unless optional', () => {
  const ref = (optional: boolean) => [
    { name: 'A', valueFrom: { configMapKeyRef: { name: 'none', key: 'k', optional } } },
  ]
  assert.throws(() => env({ env: ref(false) }), /configmap "none" not found/)
  assert.deepEqual(env({ env: ref(true) }), {})
})

test('resource limits as whole units', () => {
  const limits = { cpu: '1500m', memory: '1Gi' }
  const ref = (name: string, resource: string) => ({ name, valueFrom: { resourceFieldRef: { resource } } })
  assert.deepEqual(env({ resources: { limits }, env: [ref('C', 'limits.cpu'), ref('M', 'limits.memory')] }), {
    C: '2',
    M: '1073741824',
  })
})
