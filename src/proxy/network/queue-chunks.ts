// Chunks for what a full socket does not take: it is copied, since the read buffer is borrowed, and queued in the stream.
//
// A body of 10 MB to a client that is slower than its server goes this way. Fresh memory for it is expensive: V8 counts it
// and collects its whole heap for it, which took a third of the time. So chunks come back when they are written.

/** One read of a socket fits. */
export const QUEUE_CHUNK_BYTES = 64 * 1024
/** Less than this gets memory of its own: many slow clients with a little each are not to hold whole chunks. */
const SMALL_BYTES = 16 * 1024
/** Kept for reuse: 8 MB. */
const MOST = 128
const SWEEP_MS = 2_000

const free: Buffer[] = []
/** The fewest that were free since the last sweep: so many nobody needed. */
let unused = 0
let timer: NodeJS.Timeout | null = null

/** null = `bytes` are few, or too many. */
export function acquireChunk(bytes: number): Buffer | null {
  if (bytes < SMALL_BYTES || bytes > QUEUE_CHUNK_BYTES) return null
  const chunk = free.pop() ?? Buffer.allocUnsafeSlow(QUEUE_CHUNK_BYTES)
  if (free.length < unused) unused = free.length
  return chunk
}

/** Only for chunks of acquireChunk that nothing refers to any more. */
export function releaseChunk(chunk: Buffer): void {
  if (free.length >= MOST) return
  free.push(chunk)
  timer ??= setInterval(sweepChunks, SWEEP_MS).unref()
}

/** Gives up the chunks that were not needed since the last time. */
export function sweepChunks(): void {
  free.length -= unused
  unused = free.length
  if (unused > 0 || timer === null) return
  clearInterval(timer)
  timer = null
}

export function freeChunksForTest(): number {
  return free.length
}
