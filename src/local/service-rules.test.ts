import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import type { EndpointSlice } from './pod-types.ts'
import { serviceRules } from './service-rules.ts'
import { serviceForTest } from './testing.ts'

function sliceOf(service: string, ips: readonly string[], ready = true): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${service}-x`, namespace: 'default', labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 9080, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready } })),
  }
}

test('endpoints share a port evenly', () => {
  const rules = serviceRules(
    [serviceForTest('reviews')],
    [sliceOf('reviews', ['10.244.0.5', '10.244.0.6', '10.244.0.7'])],
  )
  assert.deepEqual(
    [...rules.matchAll(/--probability ([\d.]+)/g)].map((m) => m[1]),
    ['0.3333333333', '0.5000000000'],
  )
  assert.equal(rules.match(/--to-destination/g)!.length, 3)
})

test('a port without ready endpoints is refused', () => {
  const rules = serviceRules([serviceForTest('reviews')], [sliceOf('reviews', ['10.244.0.5'], false)])
  assert.match(rules, /-A KUBE-SERVICES -d 10\.96\.0\.30\/32 -p tcp -m tcp --dport 9080 -j REJECT/)
})

test('headless and external Services have no rules', () => {
  const services = [
    serviceForTest('a', { clusterIP: 'None' }),
    serviceForTest('b', { type: 'ExternalName', externalName: 'x.example' }),
  ]
  assert.doesNotMatch(serviceRules(services, []), /--dport/)
})

const rootless = process.getuid?.() === 0 ? false : 'needs root for a network namespace'
test('the kernel takes the rules', { skip: rootless }, () => {
  const input = serviceRules(
    [serviceForTest('reviews'), serviceForTest('empty', { clusterIP: '10.96.0.31' })],
    [sliceOf('reviews', ['10.244.0.5', '10.244.0.6'])],
  )
  const result = spawnSync('unshare', ['--net', 'iptables-restore'], { input, encoding: 'utf8' })
  assert.equal(result.stderr, '')
  assert.equal(result.status, 0)
})
