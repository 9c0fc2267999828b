// The one buffer that all sockets of a thread read into.

/** libuv reads a socket and hands the bytes on before it reads the next one: one buffer serves all of a thread. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024)

/** Views up to this length are kept. */
const MAX_KEPT = 2048

const views: (Buffer | null)[] = new Array<Buffer | null>(MAX_KEPT + 1).fill(null)

/** The first `length` bytes. Heads and small bodies have few lengths, and a view costs more than most of a filter. */
export function readBytes(length: number): Buffer {
  if (length > MAX_KEPT) return READ_BUFFER.subarray(0, length)
  const kept = views[length]
  if (kept) return kept
  const view = READ_BUFFER.subarray(0, length)
  views[length] = view
  return view
}
