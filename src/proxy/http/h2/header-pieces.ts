// A header block that comes in HEADERS and CONTINUATION frames (RFC 9113 §4.3). Fields are decoded as they come, so that
// only one that is cut between two frames is kept.

/** Encoded bytes of one block, beyond which the peer is cut off: far more than any limit on what is decoded. */
const MAX_ENCODED_BLOCK = 1024 * 1024
/** A field that was cut and is longer than this is looked at again when there is twice as much of it, not for each piece. */
const LONG_FIELD = 1024

const NOTHING = Buffer.alloc(0)

export class HeaderPieces {
  /** The stream whose block is unfinished, or 0. */
  streamId = 0
  endStream = false
  /** Encoded bytes of the block so far. */
  bytes = 0
  /** What is to become of the block was decided before its end. */
  refused = false
  /** What was kept is the first `restBytes` of it. */
  private rest: Buffer = NOTHING
  private restBytes = 0
  private lookAt = 0
  isFirst = true

  begin(streamId: number, endStream: boolean): void {
    this.streamId = streamId
    this.endStream = endStream
    this.bytes = 0
    this.refused = false
    this.drop()
    this.isFirst = true
  }

  /** Counts; false when the block has become too large. */
  count(bytes: number): boolean {
    this.bytes += bytes
    return this.bytes <= MAX_ENCODED_BLOCK
  }

  /** What was kept, and this piece; `payload` itself where nothing was. null: not worth another look before more comes. */
  join(payload: Buffer, start: number, end: number, last: boolean): Buffer | null {
    if (this.restBytes === 0) return payload.subarray(start, end)
    this.append(payload, start, end)
    return last || this.restBytes >= this.lookAt ? this.rest.subarray(0, this.restBytes) : null
  }

  /** Keeps what stands from `at` on in what join() returned. */
  keep(joined: Buffer, at: number): void {
    this.isFirst = false
    const bytes = joined.length - at
    if (this.restBytes > 0) {
      this.rest.copyWithin(0, at, joined.length)
      this.restBytes = bytes
    } else this.append(joined, at, joined.length)
    this.lookAt = bytes > LONG_FIELD ? 2 * bytes : 0
  }

  private append(from: Buffer, start: number, end: number): void {
    const bytes = this.restBytes + end - start
    if (this.rest.length < bytes) {
      const larger = Buffer.allocUnsafeSlow(2 * bytes)
      this.rest.copy(larger, 0, 0, this.restBytes)
      this.rest = larger
    }
    from.copy(this.rest, this.restBytes, start, end)
    this.restBytes = bytes
  }

  private drop(): void {
    this.rest = NOTHING
    this.restBytes = 0
    this.lookAt = 0
  }

  finish(): void {
    this.streamId = 0
    this.drop()
  }
}
