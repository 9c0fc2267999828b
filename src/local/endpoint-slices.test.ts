import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { EndpointSliceController, endpointSlices } from './endpoint-slices.ts'
import type { EndpointSlice } from './pod-types.ts'
import { podForTest, serviceForTest } from './testing.ts'

const noZone = () => undefined

test('a ready pod is a ready endpoint with the target port', () => {
  const service = serviceForTest('reviews', { ports: [{ name: 'http', port: 80, targetPort: 9080, protocol: 'TCP' }] })
  const [slice] = endpointSlices(
    service,
    [podForTest('reviews-a', { app: 'reviews' }, { ip: '10.244.0.5', ready: true })],
    () => 'local-a',
  )
  assert.deepEqual(slice!.ports, [{ name: 'http', port: 9080, protocol: 'TCP' }])
  assert.deepEqual(slice!.endpoints[0]!.addresses, ['10.244.0.5'])
  assert.deepEqual(slice!.endpoints[0]!.conditions, { ready: true, serving: true, terminating: false })
  assert.equal(slice!.endpoints[0]!.zone, 'local-a')
  assert.equal(slice!.metadata.labels!['kubernetes.io/service-name'], 'reviews')
})

test('a terminating pod keeps serving but is not ready', () => {
  const pod = podForTest('a', { app: 'reviews' }, { ip: '10.244.0.5', ready: true })
  pod.metadata.deletionTimestamp = '2026-01-01T00:00:00Z'
  const [slice] = endpointSlices(serviceForTest('reviews'), [pod], noZone)
  assert.deepEqual(slice!.endpoints[0]!.conditions, { ready: false, serving: true, terminating: true })
})

test('a named target port may differ between pods and makes a slice for each number', () => {
  const service = serviceForTest('reviews', { ports: [{ name: 'http', port: 80, targetPort: 'web' }] })
  const pods = [8080, 9090].map((containerPort, i) => {
    const pod = podForTest(`p${i}`, { app: 'reviews' }, { ip: `10.244.0.${i + 5}`, ready: true })
    pod.spec.containers[0]!.ports = [{ name: 'web', containerPort }]
    return pod
  })
  const slices = endpointSlices(service, pods, noZone)
  assert.deepEqual(slices.map((s) => s.ports[0]!.port).sort(), [8080, 9090])
  assert.equal(new Set(slices.map((s) => s.metadata.name)).size, 2)
})

test('pods without address, of other namespaces or with other labels are left out', () => {
  const other = podForTest('c', { app: 'reviews' }, { ip: '10.244.0.9', ready: true })
  other.metadata.namespace = 'elsewhere'
  const pods = [
    podForTest('a', { app: 'reviews' }, { ready: false }),
    podForTest('b', { app: 'ratings' }, { ip: '10.244.0.8', ready: true }),
    other,
  ]
  const [slice] = endpointSlices(serviceForTest('reviews'), pods, noZone)
  assert.deepEqual(slice!.endpoints, [])
})

test('the controller removes the slices of a deleted Service and leaves hand-made ones', () => {
  const store = new MemoryStore()
  new EndpointSliceController(store)
  const manual = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'manual', namespace: 'default' },
    addressType: 'IPv4',
    endpoints: [],
    ports: [],
  }
  store.put([{ object: manual }, { object: serviceForTest('reviews') }])
  const names = () =>
    store.list('EndpointSlice.discovery.k8s.io').map((o) => (o as EndpointSlice).metadata.name.replace(/-.*/, ''))
  assert.deepEqual(names().sort(), ['manual', 'reviews'])
  store.remove([{ kind: 'Service', namespace: 'default', name: 'reviews' }])
  assert.deepEqual(names(), ['manual'])
})
