// Bytes of a body that wait for a filter to let them go on.

import { keepChunk } from '../../../base/small-chunks.ts'

const EMPTY = Buffer.alloc(0)

export class HeldBody {
  chunks: Buffer[] | null = null
  bytes = 0
  /** How the filter that stopped last wants too much of it treated: the sender pauses, or the stream is refused. */
  streaming = true
  /** Above the limit while pausing is the remedy. */
  paused = false
  private above = false
  /** What take() gave out last, until settle(): a filter that keeps it keeps the same bytes, not more. */
  private taken: Buffer | null = null

  /** Keeps a copy. True when this takes it above `limit` (0 = none); it was not before. */
  exceeds(chunk: Buffer, limit: number): boolean {
    this.chunks ??= []
    if (chunk.length > 0) keepChunk(this.chunks, chunk)
    this.bytes += chunk.length
    if (chunk === this.taken) {
      this.taken = null
      return false
    }
    return this.goesAbove(limit)
  }

  /** True when what is here is above `limit` and was not above the one before. */
  goesAbove(limit: number): boolean {
    if (this.above || limit === 0 || this.bytes + (this.taken?.length ?? 0) <= limit) return false
    this.above = true
    return true
  }

  /** Above the limit it stays until settle(): the next filter may keep it in turn. */
  take(): Buffer | null {
    const { chunks } = this
    if (!chunks) return null
    this.chunks = null
    this.bytes = 0
    this.taken = chunks.length === 1 ? chunks[0]! : chunks.length === 0 ? EMPTY : Buffer.concat(chunks)
    return this.taken
  }

  /** After what was taken has gone on: true when the sender may be told to go on, too. */
  settle(limit: number): boolean {
    this.taken = null
    if (!this.above || (this.bytes > limit && limit !== 0)) return false
    this.above = false
    const { paused } = this
    this.paused = false
    return paused
  }
}
