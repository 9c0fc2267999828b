import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resourceType } from './resource-names.ts'
import { formatTable, humanAge, tableRows } from './tables.ts'
import { podForTest, serviceForTest } from './testing.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

test('ages are written as kubectl writes them', () => {
  const cases: [number, string][] = [
    [8_000, '8s'],
    [119_000, '119s'],
    [3 * MINUTE + 12_000, '3m12s'],
    [45 * MINUTE, '45m'],
    [5 * HOUR + 3 * MINUTE, '5h3m'],
    [30 * HOUR, '30h'],
    [52 * HOUR, '2d4h'],
    [24 * 30 * HOUR, '30d'],
  ]
  for (const [ms, text] of cases) assert.equal(humanAge(ms), text)
})

test('columns are padded to the widest cell and three spaces', () => {
  assert.equal(
    formatTable([
      ['NAME', 'AGE'],
      ['reviews', '1s'],
      ['a', '10s'],
    ]),
    'NAME      AGE\nreviews   1s\na         10s',
  )
})

test('pods and services have kubectl’s columns', () => {
  const now = Date.parse('2026-01-01T00:00:05Z')
  assert.deepEqual(tableRows('Pod', [podForTest('p', {})], { now, withNamespace: true }), [
    ['NAMESPACE', 'NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE'],
    ['default', 'p', '0/1', 'Running', '0', '5s'],
  ])
  const service = serviceForTest('s')
  service.metadata.creationTimestamp = '2026-01-01T00:00:00Z'
  assert.deepEqual(tableRows('Service', [service], { now })[1], [
    's',
    'ClusterIP',
    '10.96.0.30',
    '<none>',
    '9080/TCP',
    '5s',
  ])
})

test('a Gateway of the Gateway API shows its class, address and whether it is programmed', () => {
  const gateway = {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name: 'web', namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { gatewayClassName: 'istio', listeners: [] },
    status: {
      addresses: [{ type: 'IPAddress', value: '10.96.0.7' }],
      conditions: [{ type: 'Programmed', status: 'True' }],
    },
  }
  const now = Date.parse('2026-01-01T00:00:42Z')
  assert.deepEqual(tableRows('Gateway.gateway.networking.k8s.io', [gateway], { now }), [
    ['NAME', 'CLASS', 'ADDRESS', 'PROGRAMMED', 'AGE'],
    ['web', 'istio', '10.96.0.7', 'True', '42s'],
  ])
})

test('types go by singular, plural, short and full names', () => {
  for (const word of ['pod', 'pods', 'po', 'Pods']) assert.equal(resourceType(word).kind, 'Pod')
  for (const word of ['vs', 'virtualservices', 'virtualservice.networking.istio.io']) {
    assert.equal(resourceType(word).kind, 'VirtualService.networking.istio.io')
  }
  assert.equal(resourceType('serviceentries').kind, 'ServiceEntry.networking.istio.io')
  assert.equal(resourceType('gateways').kind, 'Gateway.networking.istio.io')
  assert.equal(resourceType('gtw').kind, 'Gateway.gateway.networking.k8s.io')
  assert.equal(
    resourceType('gateway', (kind) => kind === 'Gateway.gateway.networking.k8s.io').kind,
    'Gateway.gateway.networking.k8s.io',
  )
  assert.throws(() => resourceType('gadgets'), /doesn't have a resource type "gadgets"/)
})
