import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openssl } from './openssl/library.ts'
import { type BufferOwner, keepBuffers, sweepBuffers } from './record-buffers.ts'

const CTRL_MODE = 33
const MODE_RELEASE_BUFFERS = 0x10

function owner(t: { after(done: () => void): void }): BufferOwner & { pointer: bigint | null } {
  const lib = openssl()
  const context = lib.SSL_CTX_new(lib.TLS_server_method())!
  lib.SSL_CTX_ctrl(context, CTRL_MODE, MODE_RELEASE_BUFFERS, null)
  const pointer = lib.SSL_new(context)!
  lib.SSL_CTX_free(context)
  t.after(() => lib.SSL_free(pointer))
  return { pointer, reads: 1, keepsBuffers: false }
}

/** OpenSSL gives the buffers back after every record. */
function releases({ pointer }: BufferOwner): boolean {
  return (openssl().SSL_ctrl(pointer!, CTRL_MODE, 0, null) & MODE_RELEASE_BUFFERS) !== 0
}

test('a connection keeps its buffers while it reads, and gives them back when it has not for a while', (t) => {
  const busy = owner(t)
  assert.ok(releases(busy))
  keepBuffers(busy)
  assert.ok(busy.keepsBuffers && !releases(busy))
  sweepBuffers()
  assert.ok(busy.keepsBuffers)
  busy.reads = 3
  sweepBuffers()
  assert.ok(busy.keepsBuffers)
  sweepBuffers()
  assert.ok(!busy.keepsBuffers && releases(busy))
})

test('a connection that ended is forgotten', (t) => {
  const ended = owner(t)
  keepBuffers(ended)
  ended.pointer = null
  sweepBuffers()
  sweepBuffers()
})

test('only so many keep them', (t) => {
  const all = Array.from({ length: 130 }, () => owner(t))
  for (const one of all) keepBuffers(one)
  assert.equal(all.filter((one) => one.keepsBuffers).length, 128)
  sweepBuffers()
  sweepBuffers()
  assert.ok(all.every((one) => !one.keepsBuffers && releases(one)))
})
