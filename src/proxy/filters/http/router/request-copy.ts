// The body of a request, kept for another attempt or an internal redirect.

import { keepChunk } from '../../../../base/small-chunks.ts'

export class RequestCopy {
  /** What came so far; empty once it was given up. */
  chunks: Buffer[] = []
  /** All bytes that came, kept or not. */
  bytes = 0
  /** It grew beyond the limit, or nobody will want it: there is no second time. */
  dropped = false

  /** Copies `chunk`; false when that is too much, and all is given up. */
  add(chunk: Buffer, limit: number): boolean {
    this.bytes += chunk.length
    if (this.bytes > limit) {
      this.drop()
      return false
    }
    // A body of no bytes is a body all the same: the next attempt frames it as the first did.
    if (chunk.length > 0 || this.chunks.length === 0) keepChunk(this.chunks, chunk)
    return true
  }

  drop(): void {
    this.dropped = true
    this.chunks = []
  }
}
