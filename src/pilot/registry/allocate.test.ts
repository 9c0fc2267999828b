import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressAllocator } from './allocate.ts'

test('an owner keeps its address, nobody shares it, and it is free again when released', () => {
  const allocator = new AddressAllocator()
  const first = allocator.allocate('default/a/a.example.com')
  assert.match(first[0]!, /^240\.240\.\d+\.\d+$/)
  assert.match(first[1]!, /^2001:2::[0-9a-f]+$/)
  assert.deepEqual(allocator.allocate('default/a/a.example.com'), first)
  const seen = new Set<string>()
  for (let i = 0; i < 5000; i++) seen.add(allocator.allocate(`owner-${i}`)[0]!)
  assert.equal(seen.size, 5000)
  assert.ok(!seen.has(first[0]!))
  allocator.release('default/a/a.example.com')
  assert.deepEqual(allocator.allocate('default/a/a.example.com'), first)
})
