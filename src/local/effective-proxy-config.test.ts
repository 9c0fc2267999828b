import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore, parseManifest } from '../cluster/index.ts'
import { effectiveProxyConfig } from './effective-proxy-config.ts'
import type { Pod } from './pod-types.ts'

function storeOf(...specs: [name: string, namespace: string, spec: string][]): MemoryStore {
  const store = new MemoryStore()
  for (const [name, namespace, spec] of specs) {
    const parsed = parseManifest(
      `apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "2026-01-01T00:00:00Z"}\nspec: ${spec}\n`,
      'test.yaml',
    )
    assert.ok(parsed.ok)
    store.put(parsed.value.map(({ object }) => ({ object })))
  }
  return store
}

const pod = (labels: Record<string, string>, annotation?: string) =>
  ({
    metadata: {
      name: 'p',
      namespace: 'default',
      labels,
      annotations: annotation === undefined ? {} : { 'proxy.istio.io/config': annotation },
    },
    spec: { containers: [] },
  }) as unknown as Pod

test('root namespace, namespace, annotation, selecting resource: the later wins, maps add up', () => {
  const store = storeOf(
    ['root', 'istio-system', '{concurrency: 1, environmentVariables: {A: root, B: root}}'],
    ['ns', 'default', '{concurrency: 2, environmentVariables: {B: ns}}'],
    ['web', 'default', '{selector: {matchLabels: {app: web}}, concurrency: 4}'],
  )
  const config = (labels: Record<string, string>, annotation?: string) =>
    JSON.parse(effectiveProxyConfig(store, pod(labels, annotation)).text)
  assert.deepEqual(config({}), { concurrency: 2, proxyMetadata: { A: 'root', B: 'ns' } })
  assert.equal(config({}, 'concurrency: 3\nstatusPort: 1').concurrency, 3)
  assert.deepEqual(config({ app: 'web' }, 'concurrency: 3\nstatusPort: 1'), {
    concurrency: 4,
    proxyMetadata: { A: 'root', B: 'ns' },
    statusPort: 1,
  })
})

test('environment variables reach the container', () => {
  const store = storeOf(['ns', 'default', '{environmentVariables: {ISTIO_META_X: y}}'])
  assert.deepEqual(effectiveProxyConfig(store, pod({})).environment, [{ name: 'ISTIO_META_X', value: 'y' }])
})

test('an annotation that is no configuration is passed on for the agent to refuse', () => {
  assert.equal(effectiveProxyConfig(storeOf(), pod({}, '[')).text, '[')
})
