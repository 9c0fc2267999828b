// Cuts the byte stream into frames (RFC 9113 §4.1). DATA payloads pass through in the pieces in which they arrive; any
// other payload is handed on whole, copied together when it did not arrive in one chunk.

import { DEFAULT_MAX_FRAME_SIZE, ErrorCode, FRAME_HEADER_BYTES, FrameType, PADDED } from './constants.ts'
import { connectionError, type Http2Error, protocolError } from './error.ts'

/** Every method may refuse; buffers are borrowed. */
export interface FrameHandler {
  /** A frame header was read; its payload follows. */
  onFrameHeader(length: number, type: number, flags: number, streamId: number): Http2Error | null
  /** The payload of a frame that is not DATA. */
  onFrame(type: number, flags: number, streamId: number, payload: Buffer, start: number, end: number): Http2Error | null
  /** A piece of DATA without padding. `last` with the piece that ends the frame, which may be empty. */
  onDataPiece(
    streamId: number,
    flags: number,
    payload: Buffer,
    start: number,
    end: number,
    last: boolean,
  ): Http2Error | null
}

const State = { Header: 0, Payload: 1, PadLength: 2, Data: 3, Padding: 4 } as const
type State = (typeof State)[keyof typeof State]

const NOTHING = Buffer.alloc(0)

export class FrameReader {
  private state: State = State.Header
  /** An incomplete frame header or payload. */
  private held: Buffer = NOTHING
  private heldBytes = 0
  private type = 0
  private flags = 0
  private streamId = 0
  /** Payload bytes not read yet; in State.Data without the padding. */
  private remaining = 0
  private padding = 0

  feed(chunk: Buffer, at: number, handler: FrameHandler): Http2Error | null {
    const { length } = chunk
    while (at < length || this.ready()) {
      switch (this.state) {
        case State.Header: {
          if (this.heldBytes === 0 && length - at >= FRAME_HEADER_BYTES) {
            const error = this.begin(chunk, at, handler)
            if (error) return error
            at += FRAME_HEADER_BYTES
            break
          }
          at += this.hold(chunk, at, FRAME_HEADER_BYTES)
          if (this.heldBytes < FRAME_HEADER_BYTES) return null
          this.heldBytes = 0
          const error = this.begin(this.held, 0, handler)
          if (error) return error
          break
        }
        case State.Payload: {
          const { remaining } = this
          let buffer = chunk
          let start = at
          if (this.heldBytes === 0 && length - at >= remaining) at += remaining
          else {
            at += this.hold(chunk, at, remaining)
            if (this.heldBytes < remaining) return null
            buffer = this.held
            start = 0
            this.heldBytes = 0
          }
          this.state = State.Header
          const error = handler.onFrame(this.type, this.flags, this.streamId, buffer, start, start + remaining)
          if (error) return error
          break
        }
        case State.PadLength: {
          this.padding = chunk[at++]!
          this.remaining--
          if (this.padding > this.remaining) return protocolError('padding longer than the frame')
          this.remaining -= this.padding
          this.state = State.Data
          break
        }
        case State.Data: {
          const take = Math.min(this.remaining, length - at)
          this.remaining -= take
          const last = this.remaining === 0
          if (last) this.state = this.padding > 0 ? State.Padding : State.Header
          const error = handler.onDataPiece(this.streamId, this.flags, chunk, at, at + take, last)
          if (error) return error
          at += take
          break
        }
        case State.Padding: {
          const skip = Math.min(this.padding, length - at)
          at += skip
          this.padding -= skip
          if (this.padding === 0) this.state = State.Header
          break
        }
      }
    }
    return null
  }

  /** True when the next step needs no further byte. */
  private ready(): boolean {
    return this.remaining === 0 && (this.state === State.Payload || this.state === State.Data)
  }

  private hold(chunk: Buffer, at: number, wanted: number): number {
    const take = Math.min(wanted - this.heldBytes, chunk.length - at)
    if (this.held.length < wanted) this.makeRoom(wanted)
    chunk.copy(this.held, this.heldBytes, at, at + take)
    this.heldBytes += take
    return take
  }

  /** Most connections never need it; one that does keeps it, at most a frame large. */
  private makeRoom(wanted: number): void {
    const grown = Buffer.allocUnsafeSlow(wanted)
    this.held.copy(grown, 0, 0, this.heldBytes)
    this.held = grown
  }

  private begin(buffer: Buffer, at: number, handler: FrameHandler): Http2Error | null {
    const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!
    const type = buffer[at + 3]!
    const flags = buffer[at + 4]!
    const streamId =
      ((buffer[at + 5]! & 0x7f) << 24) | (buffer[at + 6]! << 16) | (buffer[at + 7]! << 8) | buffer[at + 8]!
    if (length > DEFAULT_MAX_FRAME_SIZE) return connectionError(ErrorCode.FrameSizeError, `frame of ${length} bytes`)
    this.type = type
    this.flags = flags
    this.streamId = streamId
    this.remaining = length
    this.padding = 0
    if (type !== FrameType.Data) this.state = State.Payload
    else if ((flags & PADDED) === 0) this.state = State.Data
    else {
      if (length === 0) return connectionError(ErrorCode.FrameSizeError, 'no room for the padding length')
      this.state = State.PadLength
    }
    return handler.onFrameHeader(length, type, flags, streamId)
  }
}
