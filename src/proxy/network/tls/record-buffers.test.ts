import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BufferOwner, keepBuffers, sweepBuffers } from './record-buffers.ts'

class Owner implements BufferOwner {
  freed = false
  reads = 1
  keepsBuffers = false
  given = 0
  freeBuffers(): void {
    this.given++
  }
}

test('a connection keeps its buffers while it reads, and gives them back when it has not for a while', () => {
  const busy = new Owner()
  keepBuffers(busy)
  sweepBuffers()
  busy.reads = 3
  sweepBuffers()
  assert.deepEqual([busy.keepsBuffers, busy.given], [true, 0])
  sweepBuffers()
  assert.deepEqual([busy.keepsBuffers, busy.given], [false, 1])
  sweepBuffers()
  assert.equal(busy.given, 1)
})

test('a connection that ended is forgotten', () => {
  const ended = new Owner()
  keepBuffers(ended)
  ended.freed = true
  sweepBuffers()
  assert.equal(ended.given, 0)
})

test('only so many keep them', () => {
  const all = Array.from({ length: 130 }, () => new Owner())
  for (const one of all) keepBuffers(one)
  assert.equal(all.filter((one) => one.keepsBuffers).length, 128)
  sweepBuffers()
  sweepBuffers()
  assert.ok(all.every((one) => !one.keepsBuffers))
})
