import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AnalysisItem } from './context.ts'
import { alphaUses, changedSince, missingPermission } from './precheck.ts'

const OPTIONS = {
  namespace: 'default',
  istioNamespace: 'istio-system',
  rootNamespace: 'istio-system',
  proxyMetadata: {},
}

function item(kind: string, name: string, namespace: string, annotations: Record<string, string> = {}): AnalysisItem {
  const object = { apiVersion: 'v1', kind, metadata: { name, namespace, annotations }, spec: {} }
  return { object, hasNamespace: true, reference: () => '' }
}

// As istioctl 1.32 says it of a Service zipkin in istio-system.
test('a Service that spans once went to is told of to who comes from a release that did so', () => {
  const items = [item('Service', 'zipkin', 'istio-system'), item('Service', 'zipkin', 'default')]
  assert.deepEqual(changedSince(22, items, OPTIONS), [])
  const [message, ...more] = changedSince(21, items, OPTIONS)
  assert.deepEqual(more, [])
  assert.deepEqual(message, {
    code: 'IST0169',
    level: 'Warning',
    message:
      'The configuration "meshConfig.defaultConfig.tracer" changed in release 1.21: tracing is no longer by default enabled to send to \'zipkin.istio-system.svc\'; follow https://istio.io/latest/docs/tasks/observability/distributed-tracing/telemetry-api/. Or, install with `--set compatibilityVersion=1.21` to retain the old default.',
    origin: 'Service istio-system/zipkin',
    namespace: 'istio-system',
    reference: '',
  })
})

test('alpha annotations are told of, and what the machine does not allow', () => {
  const items = [item('Pod', 'a', 'default', { 'sidecar.istio.io/extraStatTags': 'x' })]
  assert.deepEqual(
    alphaUses(items, OPTIONS).map(({ code, origin }) => [code, origin]),
    [['IST0136', 'Pod default/a']],
  )
  const { code, level, origin, message } = missingPermission('pods', 'no iptables')
  assert.deepEqual([code, level, origin], ['IST0141', 'Error', 'Cluster'])
  assert.equal(message, 'Missing required permission to create resource pods (no iptables)')
})
