import assert from 'node:assert/strict'
import { test } from 'node:test'
import { acquireChunk, freeChunksForTest, QUEUE_CHUNK_BYTES, releaseChunk, sweepChunks } from './queue-chunks.ts'

test('a chunk that comes back is used again; few bytes and too many get none', () => {
  const chunk = acquireChunk(20_000)!
  assert.equal(chunk.length, QUEUE_CHUNK_BYTES)
  releaseChunk(chunk)
  assert.equal(acquireChunk(QUEUE_CHUNK_BYTES), chunk)
  assert.equal(acquireChunk(100), null)
  assert.equal(acquireChunk(QUEUE_CHUNK_BYTES + 1), null)
  releaseChunk(chunk)
})

test('what nobody needs between two sweeps is given up', () => {
  const chunks = Array.from({ length: 10 }, () => acquireChunk(30_000)!)
  for (const chunk of chunks) releaseChunk(chunk)
  sweepChunks()
  assert.equal(freeChunksForTest(), 10)
  // Three at a time are in use.
  const used = [1, 2, 3].map(() => acquireChunk(30_000)!)
  for (const chunk of used) releaseChunk(chunk)
  sweepChunks()
  assert.equal(freeChunksForTest(), 3)
  sweepChunks()
  assert.equal(freeChunksForTest(), 0)
})

test('only so many are kept', () => {
  const chunks = Array.from({ length: 200 }, () => acquireChunk(30_000)!)
  for (const chunk of chunks) releaseChunk(chunk)
  assert.equal(freeChunksForTest(), 128)
  sweepChunks()
  sweepChunks()
})
