// Write buffers and the list of connections that have something in one.
//
// A connection borrows a buffer at its first write and gives it back when it is flushed: so a thread needs as many
// buffers as it has connections with unflushed bytes at one moment (usually one or two), not one for each connection.

import { enterMoment, leaveMoment } from '../../base/clock.ts'
import type { FaultOwner } from '../../base/fault-owner.ts'

/** Large enough for a response head with a small body and for one maximal TLS record or default H2 frame. */
export const WRITE_BUFFER_BYTES = 32 * 1024
/** Buffers kept for reuse; more are left to the garbage collector. */
const MAX_FREE = 64

const free: Buffer[] = []

export function acquireWriteBuffer(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(WRITE_BUFFER_BYTES)
}

/** Only for buffers that nothing refers to any more. Odd sizes are dropped. */
export function releaseWriteBuffer(buffer: Buffer): void {
  if (buffer.length === WRITE_BUFFER_BYTES && free.length < MAX_FREE) free.push(buffer)
}

interface Flushable extends FaultOwner {
  flush(): void
}

// Lists keep their length and have a count beside it: to shorten an array is a call into the runtime.
let dirty: (Flushable | null)[] = []
let dirtyCount = 0
let other: (Flushable | null)[] = []
let flushing = false
let readDepth = 0
let scheduled = false

/** `connection` has bytes to flush: at the end of the read callback that is running, or in a microtask. */
export function markDirty(connection: Flushable): void {
  dirty[dirtyCount++] = connection
  if (readDepth === 0 && !scheduled) {
    scheduled = true
    queueMicrotask(flushPendingWrites)
  }
}

/** Flushes every connection written to since the last call. */
function flushPendingWrites(): void {
  scheduled = false
  // A flush may write to other connections (watermark callbacks) or close its own, which ends in here again: what is
  // written then lands in the other list and gets its turn.
  if (flushing) return
  flushing = true
  try {
    while (dirtyCount > 0) {
      const list = dirty
      const count = dirtyCount
      dirty = other
      dirtyCount = 0
      other = list
      for (let i = 0; i < count; i++) {
        const connection = list[i]!
        list[i] = null
        try {
          connection.flush()
        } catch (error) {
          connection.onFault(error)
        }
      }
    }
  } finally {
    flushing = false
  }
}

let batched: Flushable[] = []

/**
 * As markDirty, but the flush waits until every socket that is ready now has been read: what many connections bring for
 * one multiplexed connection leaves in one system call.
 */
export function markDirtyForBatch(connection: Flushable): void {
  if (batched.length === 0) setImmediate(flushBatch)
  batched.push(connection)
}

function flushBatch(): void {
  const list = batched
  batched = []
  for (let i = 0; i < list.length; i++) {
    try {
      list[i]!.flush()
    } catch (error) {
      list[i]!.onFault(error)
    }
  }
}

/** Brackets a read callback: writes made inside leave at the outermost `leaveRead`. */
export function enterRead(): void {
  readDepth++
  enterMoment()
}

export function leaveRead(): void {
  if (--readDepth === 0 && dirtyCount > 0) flushPendingWrites()
  leaveMoment()
}
