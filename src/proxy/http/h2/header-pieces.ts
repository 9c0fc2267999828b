// A header block that comes in HEADERS and CONTINUATION frames (RFC 9113 §4.3). Fields are decoded as they come, so that
// only one that is cut between two frames is kept.

/** Encoded bytes of one block, beyond which the peer is cut off: far more than any limit on what is decoded. */
const MAX_ENCODED_BLOCK = 1024 * 1024

export class HeaderPieces {
  /** The stream whose block is unfinished, or 0. */
  streamId = 0
  endStream = false
  /** Encoded bytes of the block so far. */
  bytes = 0
  /** What is to become of the block was decided before its end. */
  refused = false
  private rest: Buffer | null = null

  begin(streamId: number, endStream: boolean): void {
    this.streamId = streamId
    this.endStream = endStream
    this.bytes = 0
    this.refused = false
    this.rest = null
  }

  /** Counts; false when the block has become too large. */
  count(bytes: number): boolean {
    this.bytes += bytes
    return this.bytes <= MAX_ENCODED_BLOCK
  }

  get isFirst(): boolean {
    return this.rest === null
  }

  /** What was kept, and this piece; `payload` itself where nothing was. */
  join(payload: Buffer, start: number, end: number): Buffer {
    const piece = payload.subarray(start, end)
    return this.rest === null || this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece])
  }

  /** Copies what stands from `at` on. */
  keep(joined: Buffer, at: number): void {
    this.rest = Buffer.from(joined.subarray(at))
  }

  finish(): void {
    this.streamId = 0
    this.rest = null
  }
}
