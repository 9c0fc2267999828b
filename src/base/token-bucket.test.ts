import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TokenBucket } from './token-bucket.ts'

test('a bucket fills in whole steps, never beyond its size', () => {
  const bucket = new TokenBucket(3, 2, 100, 0)
  assert.deepEqual(
    [0, 1, 2, 3].map(() => bucket.take(50)),
    [true, true, true, false],
  )
  assert.equal(bucket.untilFill(50), 50)
  assert.equal(bucket.remaining(199), 2)
  assert.equal(bucket.remaining(200), 3)
  assert.equal(bucket.remaining(10_000), 3)
})
