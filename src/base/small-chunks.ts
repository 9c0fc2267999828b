// Bytes that wait in a list. A sender chooses how they are cut, and each Buffer costs a hundred bytes besides its own and
// a place in the list: many small ones are put together.

/** From so many entries on. */
const FEW = 8
/** What is larger stays by itself. */
const SMALL_BYTES = 1024
/** Unlike the size of Buffer's own pool and of any copy by itself that has room behind it: who has a block of it is here. */
const BLOCK_BYTES = 4096

/** Appends a copy of `chunk`. The entries are those of this list alone; the first one is never touched. */
export function keepChunk(list: Buffer[], chunk: Buffer): void {
  if (list.length < FEW || chunk.length >= SMALL_BYTES) {
    list.push(Buffer.from(chunk))
    return
  }
  const last = list[list.length - 1]!
  const { buffer, byteOffset, length } = last
  if (buffer.byteLength === BLOCK_BYTES && byteOffset + length + chunk.length <= BLOCK_BYTES) {
    const longer = Buffer.from(buffer, byteOffset, length + chunk.length)
    chunk.copy(longer, length)
    list[list.length - 1] = longer
    return
  }
  const block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  chunk.copy(block)
  list.push(block.subarray(0, chunk.length))
}
