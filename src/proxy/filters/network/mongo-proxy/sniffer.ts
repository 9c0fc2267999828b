// Headers of the Mongo wire protocol: four little-endian words, of which the first is the length and the last the
// operation (mongodb.com/docs/manual/reference/mongodb-wire-protocol).

const HEADER_BYTES = 16

/** Follows the messages of one direction, however they are cut into chunks. */
export class MessageSniffer {
  private readonly onMessage: (operation: number) => boolean
  private readonly header = Buffer.alloc(HEADER_BYTES)
  private headerBytes = 0
  /** Bytes of the current message that are still to come. */
  private left = 0

  /** `onMessage` returns false for an operation that it does not know. */
  constructor(onMessage: (operation: number) => boolean) {
    this.onMessage = onMessage
  }

  /** False: these are no messages. */
  take(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; ) {
      if (this.left > 0) {
        const skipped = Math.min(this.left, chunk.length - at)
        this.left -= skipped
        at += skipped
        if (this.left === 0 && !this.onMessage(this.header.readInt32LE(12))) return false
        continue
      }
      const copied = chunk.copy(this.header, this.headerBytes, at, at + HEADER_BYTES - this.headerBytes)
      this.headerBytes += copied
      at += copied
      if (this.headerBytes < HEADER_BYTES) break
      this.headerBytes = 0
      this.left = this.header.readInt32LE(0) - HEADER_BYTES
      if (this.left < 0) return false
      if (this.left === 0 && !this.onMessage(this.header.readInt32LE(12))) return false
    }
    return true
  }
}
