// Bytes of a body that wait for a filter to let them go on.

const EMPTY = Buffer.alloc(0)

export class HeldBody {
  chunks: Buffer[] | null = null
  bytes = 0
  /** Above the limit while pausing is the remedy. */
  paused = false

  add(chunk: Buffer): void {
    this.chunks ??= []
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    this.bytes += chunk.length
  }

  take(): Buffer | null {
    const { chunks } = this
    if (!chunks) return null
    this.chunks = null
    this.bytes = 0
    return chunks.length === 1 ? chunks[0]! : chunks.length === 0 ? EMPTY : Buffer.concat(chunks)
  }
}
