import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestMesh } from './testing.ts'
import { untranslated } from './untranslated.ts'

test('a setting that only Envoy keeps to says so; one without effect says that', () => {
  const mesh = new TestMesh(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec:
  host: web
  trafficPolicy:
    retryBudget: {budgetInterval: 5s}
    outlierDetection: {consecutive5xxErrors: 2}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: c}
spec: {concurrency: 2, image: {imageType: distroless}}`)
  const said = [...mesh.state.accepted()].flatMap((resource) => untranslated(resource))
  assert.deepEqual(
    said.map(({ path, level }) => [path, level]),
    [
      ['spec.trafficPolicy.retryBudget.budgetInterval', 'warning'],
      ['spec.image', 'warning'],
    ],
  )
  assert.match(said[0]!.message, /Envoy keeps to it/)
  assert.match(said[1]!.message, /no effect/)
})
