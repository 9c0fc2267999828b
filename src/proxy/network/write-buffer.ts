// Write buffers and the list of connections that have something in one.
//
// A connection borrows a buffer at its first write and gives it back when it is flushed: so a thread needs as many
// buffers as it has connections with unflushed bytes at one moment (usually one or two), not one for each connection.

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

interface Flushable {
  flush(): void
}

let dirty: Flushable[] = []
let flushing: Flushable[] = []
let readDepth = 0
let scheduled = false

/** `connection` has bytes to flush: at the end of the read callback that is running, or in a microtask. */
export function markDirty(connection: Flushable): void {
  dirty.push(connection)
  if (readDepth === 0 && !scheduled) {
    scheduled = true
    queueMicrotask(flushPendingWrites)
  }
}

/** Flushes every connection written to since the last call. */
function flushPendingWrites(): void {
  scheduled = false
  // A flush may write to other connections (watermark callbacks): they land in the other list and get their turn.
  while (dirty.length > 0) {
    const list = dirty
    dirty = flushing
    flushing = list
    for (let i = 0; i < list.length; i++) list[i]!.flush()
    list.length = 0
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
  for (let i = 0; i < list.length; i++) list[i]!.flush()
}

/** Brackets a read callback: writes made inside leave at the outermost `leaveRead`. */
export function enterRead(): void {
  readDepth++
}

export function leaveRead(): void {
  if (--readDepth === 0 && dirty.length > 0) flushPendingWrites()
}
