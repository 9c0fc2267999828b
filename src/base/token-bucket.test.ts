import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TokenBucket } from './token-bucket.ts'

test('a bucket fills evenly, never beyond its size', () => {
  const bucket = new TokenBucket(3, 2, 100, 0)
  assert.deepEqual(
    [0, 1, 2, 3].map(() => bucket.take(0)),
    [true, true, true, false],
  )
  assert.equal(bucket.untilNext(25), 25)
  assert.equal(bucket.remaining(49), 0)
  assert.equal(bucket.remaining(50), 1)
  assert.equal(bucket.untilNext(50), 0)
  assert.equal(bucket.takeUpTo(9, 100), 2)
  assert.equal(bucket.remaining(10_000), 3)
})

test('a bucket may start with less than it holds', () => {
  const bucket = new TokenBucket(1000, 1000, 1000, 0, 50)
  assert.equal(bucket.takeUpTo(70, 0), 50)
  assert.equal(bucket.takeUpTo(70, 30), 30)
})
