import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EncodedCache } from './encoded-cache.ts'

test('entries that are used stay, the others are counted when they go', () => {
  const cache = new EncodedCache<string>(4)
  const read = (key: string) => cache.get(key, () => key)
  for (const key of ['used', 'a', 'used', 'b', 'used', 'c', 'd']) assert.equal(read(key), key)
  assert.equal(read('used'), 'used')
  assert.deepEqual([cache.hits, cache.misses, cache.evictions], [3, 5, 2])
  assert.ok(cache.size <= 4)
})
