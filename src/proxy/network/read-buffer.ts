// The one buffer that all sockets of a thread read into, and views of such buffers that are kept.
//
// A view costs more than most of a filter. What is read has few lengths, and bodies in it begin and end at few places:
// heads and small bodies repeat themselves. Views of buffers that live for ever may be used again and again, since what
// they show is borrowed anyway.

/** libuv reads a socket and hands the bytes on before it reads the next one: one buffer serves all of a thread. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024)

/** Views up to this length are kept. */
const MAX_KEPT = 2048

/** The first bytes of a buffer that lives for ever. */
export class FirstBytes {
  private readonly buffer: Buffer
  private readonly views: (Buffer | null)[] = new Array<Buffer | null>(MAX_KEPT + 1).fill(null)

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  /** The first `length` of them. */
  view(length: number): Buffer {
    if (length > MAX_KEPT) return this.buffer.subarray(0, length)
    const kept = this.views[length]
    if (kept) return kept
    const view = this.buffer.subarray(0, length)
    this.views[length] = view
    keptViews.add(view)
    return view
  }
}

const keptViews = new WeakSet<Buffer>()
const readViews = new FirstBytes(READ_BUFFER)

/** The first `length` bytes of READ_BUFFER. */
export function readBytes(length: number): Buffer {
  return readViews.view(length)
}

/** A power of two. */
const SLICES = 64
const wholes: (Buffer | null)[] = new Array<Buffer | null>(SLICES).fill(null)
const froms = new Int32Array(SLICES)
const slices: (Buffer | null)[] = new Array<Buffer | null>(SLICES).fill(null)

/** `chunk.subarray(from, to)`: a kept view when there is one. */
export function sliceOf(chunk: Buffer, from: number, to: number): Buffer {
  const place = (from * 31 + to) & (SLICES - 1)
  if (wholes[place] === chunk && froms[place] === from) {
    const slice = slices[place]!
    if (slice.length === to - from) return slice
  }
  const slice = chunk.subarray(from, to)
  // Only of views that stay: others would keep their buffers.
  if (chunk.length <= MAX_KEPT && keptViews.has(chunk)) {
    wholes[place] = chunk
    froms[place] = from
    slices[place] = slice
  }
  return slice
}
