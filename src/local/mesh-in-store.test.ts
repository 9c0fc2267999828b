import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { defaultMeshConfig } from '../config/index.ts'
import { meshConfigIn } from './mesh-in-store.ts'

test('pods are injected with the ConfigMap as it stands; what it cannot say is as before', () => {
  const store = new MemoryStore()
  const inForce = { ...defaultMeshConfig(), connectTimeout: 7 }
  const put = (mesh: string): void => {
    const metadata = { name: 'istio', namespace: 'istio-system' }
    store.put([{ object: { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { mesh } } as never }])
  }
  assert.equal(meshConfigIn(store, inForce), inForce)
  put('defaultConfig: {concurrency: 3}')
  assert.equal(meshConfigIn(store, inForce)?.defaultConfig.concurrency, 3)
  put('connectTimeout: [')
  assert.equal(meshConfigIn(store, inForce), inForce)
})
