// What a connection has read although its owner wants nothing now: a pause does not stop what is read already (peeked
// bytes, what TLS has decrypted). It is kept, in order, until reading resumes.

export class HeldReads {
  /** The peer's half-close comes after the chunks. */
  ended = false
  private readonly chunks: Buffer[] = []

  /** Copies a borrowed chunk. */
  add(chunk: Buffer): void {
    this.chunks.push(Buffer.from(chunk))
  }

  /** The oldest; undefined = none is left. */
  next(): Buffer | undefined {
    return this.chunks.shift()
  }
}
