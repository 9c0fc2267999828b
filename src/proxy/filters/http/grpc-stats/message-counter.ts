// Counts the messages of a gRPC body: each is a flag byte, a four-byte length and that many bytes. Data may be cut
// anywhere.

export class GrpcMessageCounter {
  count = 0
  /** Bytes of the frame head seen so far, 0 to 5. */
  private head = 0
  private length = 0
  /** Bytes of the message still to come. */
  private left = 0

  /** True when the chunk completed at least one frame head, i.e. began a message. */
  add(chunk: Buffer): boolean {
    const before = this.count
    let at = 0
    while (at < chunk.length) {
      if (this.left > 0) {
        const skip = Math.min(this.left, chunk.length - at)
        this.left -= skip
        at += skip
        continue
      }
      const byte = chunk[at++]!
      if (this.head === 0) this.length = 0
      else this.length = this.length * 256 + byte
      if (++this.head < 5) continue
      this.head = 0
      this.left = this.length
      this.count++
    }
    return this.count > before
  }
}
