// What a client sends behind a request that has no answer yet.

import type { Connection } from '../../network/connection.ts'

/**
 * Bytes behind an unanswered request from which on reading stops. Until then it goes on, for the end of a connection is
 * only seen by reading: Envoy gives up the request of a client that has left, whatever that client had pipelined.
 */
const MAX_PIPELINED_BYTES = 64 * 1024

export class PipelinedBytes {
  private readonly connection: Connection
  /** The first `bytes` of it, which grows; null = nothing waits. */
  private buffer: Buffer | null = null
  private bytes = 0
  /** There are so many of them that reading has stopped. */
  private full = false

  constructor(connection: Connection) {
    this.connection = connection
  }

  get waiting(): boolean {
    return this.buffer !== null
  }

  /** Keeps a copy; from a certain number of bytes on the kernel holds back the peer. */
  hold(chunk: Buffer): void {
    const length = this.bytes + chunk.length
    let { buffer } = this
    if (buffer === null || buffer.length < length) {
      const larger = Buffer.allocUnsafe(buffer === null ? length : Math.max(length, 2 * buffer.length))
      buffer?.copy(larger, 0, 0, this.bytes)
      this.buffer = buffer = larger
    }
    chunk.copy(buffer, this.bytes)
    this.bytes = length
    if (length < MAX_PIPELINED_BYTES || this.full) return
    this.full = true
    this.connection.readDisable(true)
  }

  /** All that waits; from here on nothing does, and reading goes on. */
  take(): Buffer {
    const taken = this.buffer!.subarray(0, this.bytes)
    this.buffer = null
    this.bytes = 0
    if (this.full) {
      this.full = false
      this.connection.readDisable(false)
    }
    return taken
  }
}
