// A header block that comes in HEADERS and CONTINUATION frames (RFC 9113 §4.3), put together with a cap.

/** Encoded bytes of one block, beyond which the peer is cut off (Envoy: 64 KiB for one field on the wire). */
const MAX_ENCODED_BLOCK = 128 * 1024

export class HeaderPieces {
  /** The stream whose block is unfinished, or 0. */
  streamId = 0
  endStream = false
  private pieces: Buffer[] = []
  private bytes = 0

  begin(streamId: number, endStream: boolean): void {
    this.streamId = streamId
    this.endStream = endStream
  }

  /** Copies; false when the block has become too large. */
  add(payload: Buffer, start: number, end: number): boolean {
    this.pieces.push(Buffer.from(payload.subarray(start, end)))
    this.bytes += end - start
    return this.bytes <= MAX_ENCODED_BLOCK
  }

  take(): Buffer {
    const block = Buffer.concat(this.pieces)
    this.streamId = 0
    this.pieces = []
    this.bytes = 0
    return block
  }
}
