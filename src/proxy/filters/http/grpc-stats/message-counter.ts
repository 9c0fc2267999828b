// Counts the messages of a gRPC body: each is a flag byte, a four-byte length and that many bytes. Data may be cut
// anywhere.

const HEADER_BYTES = 5
/** Of the last message of a Connect stream, which is JSON. */
const CONNECT_END_FLAG = 2
const MAX_END_BYTES = 64 * 1024

export class GrpcMessageCounter {
  /** Bytes of the message's head seen so far, 0 to 4. */
  private head = 0
  private length = 0
  /** Bytes of the message still to come. */
  private left = 0

  /** How many messages began in the chunk. */
  add(chunk: Buffer): number {
    let count = 0
    let at = 0
    while (at < chunk.length) {
      if (this.left > 0) {
        const size = Math.min(this.left, chunk.length - at)
        this.onBytes(chunk, at, at + size)
        this.left -= size
        at += size
        if (this.left === 0) this.onEnd()
        continue
      }
      const byte = chunk[at++]!
      if (this.head === 0) {
        this.length = 0
        if (this.onMessage(byte)) count++
      } else this.length = this.length * 256 + byte
      if (++this.head < HEADER_BYTES) continue
      this.head = 0
      this.left = this.length
      if (this.left === 0) this.onEnd()
    }
    return count
  }

  /** A message with these flags begins; false: it is none to count. */
  protected onMessage(_flags: number): boolean {
    return true
  }
  protected onBytes(_chunk: Buffer, _from: number, _to: number): void {}
  protected onEnd(): void {}
}

/** Messages of a Connect stream; the last one tells how the call ended. */
export class ConnectMessageCounter extends GrpcMessageCounter {
  success = false
  private ending = false
  private parts: Buffer[] = []
  private bytes = 0

  protected override onMessage(flags: number): boolean {
    // Nothing may follow the end.
    if (this.ending) return false
    this.ending = (flags & CONNECT_END_FLAG) !== 0
    return !this.ending
  }

  protected override onBytes(chunk: Buffer, from: number, to: number): void {
    if (!this.ending || this.success) return
    this.bytes += to - from
    if (this.bytes <= MAX_END_BYTES) this.parts.push(Buffer.from(chunk.subarray(from, to)))
  }

  protected override onEnd(): void {
    if (!this.ending || this.bytes > MAX_END_BYTES) return
    this.success = tellsSuccess(Buffer.concat(this.parts).toString())
    this.parts = []
  }
}

/** The end of a call that says nothing of an error. */
function tellsSuccess(json: string): boolean {
  try {
    const end: unknown = JSON.parse(json)
    if (typeof end !== 'object' || end === null || Array.isArray(end)) return false
    return !('error' in end)
  } catch {
    return false
  }
}
