import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBucketMemory, SharedTokenBucket } from './shared-token-bucket.ts'

test('threads take from one bucket, whatever their clocks say', () => {
  const memory = createBucketMemory(3, 2, 100)
  const clock = performance.now()
  const first = new SharedTokenBucket(3, 2, 100, clock, memory)
  // Another thread's clock began at another time.
  const second = new SharedTokenBucket(3, 2, 100, 0, memory)
  assert.deepEqual([first.take(clock), second.take(0), first.take(clock)], [true, true, true])
  assert.equal(second.take(0), false)
  assert.equal(first.remaining(clock + 60), 1)
  assert.equal(second.take(60), true)
  assert.equal(first.take(clock + 60), false)
  assert.equal(second.remaining(100_000), 3)
  assert.ok(first.untilNext(clock + 60) > 0)
  first.refill(clock)
  assert.equal(second.untilNext(1), 0)
})

test('a bucket too large to fill in a lifetime is full', () => {
  const memory = createBucketMemory(4_294_967_295, 1, 3_600_000)
  const bucket = new SharedTokenBucket(4_294_967_295, 1, 3_600_000, 0, memory)
  assert.equal(bucket.take(0), true)
  assert.equal(bucket.remaining(0) > 4_294_967_000, true)
})

test('threads share what they take in parts, beginning with less than a full bucket', () => {
  const memory = createBucketMemory(1000, 1000, 1000, 1, 50)
  const clock = performance.now()
  const first = new SharedTokenBucket(1000, 1000, 1000, clock, memory)
  const second = new SharedTokenBucket(1000, 1000, 1000, 0, memory)
  const start = first.takeUpTo(30, clock)
  assert.equal(start, 30)
  const rest = second.takeUpTo(1_000_000, 0)
  // The clock of the machine goes on between the lines.
  assert.ok(rest >= 20 && rest <= 1000, String(rest))
  assert.equal(first.takeUpTo(1_000_000, clock), 0)
  assert.equal(first.takeUpTo(1_000_000, clock + 10_000), 1000)
  assert.equal(second.takeUpTo(1, 10_000), 0)
})

test('takes several or nothing, and takes them back', () => {
  const bucket = new SharedTokenBucket(10, 1, 3_600_000, 0, createBucketMemory(10, 1, 3_600_000))
  assert.deepEqual(
    [bucket.take(0, 7), bucket.take(0, 4), bucket.take(0, 3), bucket.take(0)],
    [true, false, true, false],
  )
  assert.deepEqual([bucket.take(0, -4), bucket.take(0, 4), bucket.take(0)], [true, true, false])
  assert.equal(bucket.take(0, -40), true)
  assert.deepEqual([bucket.take(0, 11), bucket.take(0, 10)], [false, true])
})
