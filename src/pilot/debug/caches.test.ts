import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EncodedCache } from '../push/encoded-cache.ts'
import { byteCount, cacheNames, cacheSizes, type ResourceCaches } from './caches.ts'

test('bytes are counted in powers of 1000, as istiod prints them', () => {
  const counts: [number, string][] = [
    [0, '0B'],
    [999, '999B'],
    [1000, '1.0kB'],
    [1550, '1.6kB'],
    [999_999, '1000.0kB'],
    [1_000_000, '1.0MB'],
    [2_500_000_000, '2.5GB'],
  ]
  for (const [count, text] of counts) assert.equal(byteCount(count), text)
})

test('cached resources are named and weighed by their type', () => {
  const caches: ResourceCaches = {
    cds: new EncodedCache(8),
    eds: new EncodedCache(8),
    lds: new EncodedCache(8),
    rds: new EncodedCache(8),
  }
  const resource = (name: string, bytes: number) => ({ name, version: '1', body: new Uint8Array(bytes) })
  assert.deepEqual(cacheSizes(caches), { total: '0B' })
  caches.cds.get('a', () => resource('outbound|80||a', 1200))
  caches.cds.get('b', () => null)
  caches.lds.get('a', () => [resource('0.0.0.0_80', 10), resource('virtualOutbound', 20)])
  const type = 'type.googleapis.com/envoy.config'
  assert.deepEqual(cacheNames(caches), {
    [`${type}.cluster.v3.Cluster`]: ['outbound|80||a'],
    [`${type}.listener.v3.Listener`]: ['0.0.0.0_80', 'virtualOutbound'],
  })
  assert.deepEqual(cacheSizes(caches), {
    [`${type}.cluster.v3.Cluster`]: '1.2kB',
    [`${type}.listener.v3.Listener`]: '30B',
    total: '1.2kB',
  })
})
