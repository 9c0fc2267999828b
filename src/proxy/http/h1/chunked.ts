// Chunked transfer coding (RFC 9112 §7.1), read as Envoy reads it: anything but CR may follow the size after a space or
// semicolon, up to CR LF, and anything may stand between a chunk's data and its line end.

import { latin1 } from '../../../base/bytes.ts'
import type { CodecError } from '../codec.ts'
import { CODEC_ERROR, HEADERS_TOO_LARGE } from './head.ts'

const State = { Size: 0, Extension: 1, Data: 2, DataEnd: 3, Trailers: 4, Done: 5 } as const
type State = (typeof State)[keyof typeof State]

const LF = 10
const CR = 13

/** Where decoded parts go. `trailers` is the text of the trailer lines with the empty line, or '' for none. */
export interface ChunkedSink {
  onBodyChunk(chunk: Buffer): void
  onBodyEnd(trailers: string): CodecError | null
}

/** A size line longer than this only carries extensions nobody reads. */
const MAX_LINE = 16 * 1024

export class ChunkedDecoder {
  private state: State = State.Size
  private size = 0
  private digits = 0
  private line = 0
  /** The size line has come to its CR. */
  private cr = false
  private remaining = 0
  private trailers = ''
  /** The last byte of `trailers` ended a line, and its last line so far is a lone CR. */
  private atLineStart = true
  private loneCr = false
  /** Taken so far, and given on as data. */
  private taken = 0
  private given = 0
  private readonly maxTrailers: number

  constructor(maxTrailerBytes: number) {
    this.maxTrailers = maxTrailerBytes
  }

  reset(): void {
    this.state = State.Size
    this.size = 0
    this.digits = 0
    this.line = 0
    this.cr = false
    this.trailers = ''
    this.atLineStart = true
    this.loneCr = false
    this.taken = 0
    this.given = 0
  }

  /** Bytes of size lines, line ends and trailers; complete when the body has ended. */
  get framingBytes(): number {
    return this.taken - this.given
  }

  get done(): boolean {
    return this.state === State.Done
  }

  /** Decodes from `at`; returns the position after what it took, or the error. Ends at the last chunk's end. */
  decode(buffer: Buffer, at: number, sink: ChunkedSink): number | CodecError {
    const next = this.take(buffer, at, sink)
    if (typeof next === 'number' && !this.done) this.taken += next - at
    return next
  }

  private take(buffer: Buffer, from: number, sink: ChunkedSink): number | CodecError {
    const { length } = buffer
    let at = from
    while (at < length) {
      switch (this.state) {
        case State.Size: {
          const c = buffer[at]!
          const digit = hexDigit(c)
          if (digit >= 0) {
            if (++this.digits > 13) return CODEC_ERROR // more than 2^52 bytes
            this.size = this.size * 16 + digit
            at++
            break
          }
          if (this.digits === 0) return CODEC_ERROR
          if (c !== 32 && c !== 9 && c !== 59 && c !== CR && c !== LF) return CODEC_ERROR
          this.state = State.Extension
          this.line = 0
          break
        }
        case State.Extension: {
          const end = buffer.indexOf(LF, at)
          const stop = end < 0 ? length : end
          this.line += stop - at
          if (this.line > MAX_LINE) return CODEC_ERROR
          // Two readers that differ about a line's end differ about the next request.
          if (this.cr && stop > at) return CODEC_ERROR
          const cr = buffer.subarray(at, stop).indexOf(CR)
          if (cr >= 0 && at + cr < stop - 1) return CODEC_ERROR
          if (cr >= 0) this.cr = true
          if (end < 0) return length
          if (!this.cr) return CODEC_ERROR
          this.cr = false
          at = end + 1
          this.remaining = this.size
          this.state = this.size === 0 ? State.Trailers : State.Data
          this.size = 0
          this.digits = 0
          break
        }
        case State.Data: {
          const take = Math.min(this.remaining, length - at)
          this.remaining -= take
          if (this.remaining === 0) {
            this.state = State.DataEnd
            this.line = 0
          }
          at += take
          this.given += take
          sink.onBodyChunk(buffer.subarray(at - take, at))
          break
        }
        case State.DataEnd: {
          const end = buffer.indexOf(LF, at)
          this.line += (end < 0 ? length : end) - at
          if (this.line > MAX_LINE) return CODEC_ERROR
          if (end < 0) return length
          at = end + 1
          this.state = State.Size
          break
        }
        case State.Trailers: {
          const end = buffer.indexOf(LF, at)
          const stop = end < 0 ? length : end + 1
          const piece = latin1(buffer, at, stop)
          at = stop
          this.trailers += piece
          if (this.trailers.length > this.maxTrailers) return HEADERS_TOO_LARGE
          // Not by looking at the text so far: that would join it again for each line.
          const empty = this.atLineStart ? piece === '\n' || piece === '\r\n' : this.loneCr && piece === '\n'
          this.loneCr = this.atLineStart && piece === '\r'
          this.atLineStart = end >= 0
          if (!empty) break
          this.state = State.Done
          const trailers = this.trailers.length <= 2 ? '' : this.trailers
          this.trailers = ''
          this.taken += at - from
          return sink.onBodyEnd(trailers) ?? at
        }
        default:
          return at
      }
    }
    return at
  }
}

function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48
  const lower = c | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : -1
}

const HEX: string[] = []
for (let i = 0; i < 4096; i++) HEX.push(`${i.toString(16)}\r\n`)

/** The size line before a chunk of `length` bytes. */
export function chunkHeader(length: number): string {
  return HEX[length] ?? `${length.toString(16)}\r\n`
}
