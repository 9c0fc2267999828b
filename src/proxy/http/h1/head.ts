// Finds the end of a message head and reads its header lines. Requests and responses share it.
//
// A head is looked at once it is complete; until then only its bytes are scanned, each once. Envoy treats a bare LF as a
// line end, leaves the blanks of folded lines, and complains about a header line only when the head is complete.

import type { CodecError } from '../codec.ts'
import { fieldBytes, type HeaderBytes } from '../header-bytes.ts'
import type { HeaderMap } from '../header-map.ts'
import { joinDuplicates } from '../joined-headers.ts'
import { HEAD_STOP, headerName, mayPassAsName } from './characters.ts'
import { followerOf, knownLines, type Line, noteFollower } from './known-lines.ts'
import type { Http1Stats } from './stats.ts'

const LF = 10
const CR = 13
const SPACE = 32
const TAB = 9

export interface HeadLimits {
  readonly maxBytes: number
  readonly maxHeaders: number
  readonly underscores: 'ALLOW' | 'REJECT_REQUEST' | 'DROP_HEADER'
  /** Keep the names as written for a stateful formatter. */
  readonly keepSpellings: boolean
  /** Counts what is dropped or refused for an underscore. */
  readonly stats?: Http1Stats
}

export const CODEC_ERROR: CodecError = { details: 'http1.codec_error', message: 'HTTP/1 syntax error' }
export const INVALID_CHARACTERS: CodecError = {
  details: 'http1.invalid_characters',
  message: 'control characters in the head',
}
export const HEADERS_TOO_LARGE: CodecError = { details: 'http1.headers_too_large', message: 'header block too large' }
export const TOO_MANY_HEADERS: CodecError = { details: 'http1.too_many_headers', message: 'too many headers' }
const UNDERSCORE: CodecError = { details: 'http1.unexpected_underscore', message: 'header name with underscore' }

/** Of the head that was found last, whoever's: it is read before the next one is looked for. */
const LINE_ENDS = new Int32Array(128)
const LINES: (Line | null)[] = new Array<Line | null>(LINE_ENDS.length).fill(null)

/** Scans for the end of a head across chunks. */
const NO_BYTES = Buffer.alloc(0)

export class HeadScanner {
  /** Bytes of an incomplete head, when it did not arrive in one chunk. */
  private held: Buffer | null = null
  /** What `held` is the beginning of; grows by doubling, so that a head in very many pieces is copied as often as in few. */
  private room: Buffer = NO_BYTES
  /** Position up to which `held` (or the current chunk) has been scanned. */
  private scanned = 0
  /** A control byte was seen in this head. */
  forbidden = false
  /** Empty lines stood before this head, in one piece with its beginning. */
  skipped = false
  /** First line end of this head in the buffer that feed() returned, or -1. */
  firstLine = -1
  /** Set by feed(): the buffer that holds the head, and the position after its last byte. */
  buffer: Buffer = NO_BYTES
  end = 0
  /** Where the head begins in `buffer`: leading empty lines are skipped. */
  start = 0
  /** Positions of the line ends after the first line, the empty line's last. */
  readonly lineEnds = LINE_ENDS
  /** How many there are; -1 when they were not noted: the head came in pieces or has very many. */
  lineCount = -1
  /** The lines between the first and the empty one that are known; null = it is not. */
  readonly lines = LINES
  /** Place of the line that this peer's heads begin with, after the first; -1 = not known. */
  private firstKnown = -1
  /** Place of the last known line of the head at hand. */
  private lastKnown = -1
  private noted = 0

  get waiting(): boolean {
    return this.held !== null
  }

  reset(): void {
    this.held = null
    this.room = NO_BYTES
    this.scanned = 0
    this.forbidden = false
    this.firstLine = -1
  }

  /**
   * Adds `chunk` from `from`. True when a whole head is in `buffer` from `start` to `end`; the rest of `buffer` is what
   * follows it. False keeps a copy and asks for more.
   */
  feed(chunk: Buffer, from: number): boolean {
    let buffer = chunk
    let at = from
    // Line ends before a message are skipped (RFC 9112 §2.2), in whatever form (as in Envoy).
    if (!this.held) {
      while (from < chunk.length && (chunk[from] === LF || chunk[from] === CR)) from++
      this.skipped = from > at
      at = from
    }
    if (this.held) {
      buffer = this.append(this.held, chunk, from)
      at = this.scanned
    } else {
      this.start = from
      this.firstLine = -1
      this.forbidden = false
    }
    const { length } = buffer
    const whole = at === from && buffer === chunk
    this.noted = 0
    this.lastKnown = -1
    let lineStart = at
    const { start } = this
    let { firstLine, forbidden } = this
    for (;;) {
      while (at < length && HEAD_STOP[buffer[at]!] === 0) at++
      if (at === length) break
      if (buffer[at] !== LF) {
        forbidden = true
        at++
        continue
      }
      if (firstLine < 0) firstLine = at
      else {
        const before = buffer[at - 1]
        const last = before === LF || (before === CR && buffer[at - 2] === LF)
        if (whole) this.noteLine(buffer, lineStart, at, last)
        if (last) {
          this.forbidden = forbidden
          this.firstLine = firstLine
          this.buffer = buffer
          this.end = at + 1
          this.lineCount = whole && this.noted <= LINE_ENDS.length ? this.noted : -1
          this.held = null
          this.room = NO_BYTES
          this.scanned = 0
          return true
        }
      }
      at++
      if (whole && firstLine >= 0) at = this.skipKnown(buffer, at)
      lineStart = at
    }
    this.forbidden = forbidden
    this.firstLine = firstLine
    this.buffer = buffer
    this.end = length
    // The chunk is borrowed; what was put together is ours already, and begins with the head.
    const keep = start === length ? null : buffer === chunk ? Buffer.from(buffer.subarray(start)) : buffer
    if (keep) {
      if (buffer === chunk) this.room = keep
      this.firstLine = firstLine < 0 ? -1 : firstLine - start
      this.scanned = keep.length
      this.buffer = keep
      this.end = keep.length
    } else this.scanned = 0
    this.start = 0
    this.held = keep
    return false
  }

  private append(held: Buffer, chunk: Buffer, from: number): Buffer {
    const size = held.length + chunk.length - from
    if (size > this.room.length) {
      this.room = Buffer.allocUnsafe(Math.max(size, 2 * held.length))
      held.copy(this.room)
    }
    chunk.copy(this.room, held.length, from)
    return this.room.subarray(0, size)
  }

  /** A line of the head that was scanned up to its end. */
  private noteLine(buffer: Buffer, lineStart: number, lineEnd: number, last: boolean): void {
    const { noted } = this
    this.noted = noted + 1
    if (noted >= LINE_ENDS.length) return
    LINE_ENDS[noted] = lineEnd
    const place = last || buffer[lineEnd - 1] !== CR ? -1 : knownLines.findPlace(buffer, lineStart, lineEnd - 1)
    LINES[noted] = place < 0 ? null : knownLines.valueAt(place)
    if (place < 0) return
    if (this.lastKnown < 0) this.firstKnown = place
    else noteFollower(this.lastKnown, place)
    this.lastKnown = place
  }

  /** Notes the lines from `from` on that are those expected; the position after them. */
  private skipKnown(buffer: Buffer, from: number): number {
    let at = from
    let { noted, lastKnown } = this
    while (noted < LINE_ENDS.length) {
      const place = lastKnown < 0 ? this.firstKnown : followerOf(lastKnown)
      if (place < 0) break
      const end = at + knownLines.lengthOf(place)
      if (end + 2 > buffer.length || buffer[end] !== CR || buffer[end + 1] !== LF) break
      if (!knownLines.holds(place, buffer, at)) break
      at = end + 2
      LINE_ENDS[noted] = at - 1
      LINES[noted] = knownLines.valueAt(place)
      noted++
      lastKnown = place
    }
    this.noted = noted
    this.lastKnown = lastKnown
    return at
  }
}

/**
 * Reads the header lines of `text` (a head without its first line) into `headers`. Null, or what is wrong: what is no
 * header line at all goes before what the limits refuse, wherever it stands (Envoy's parser sees the whole head first).
 */
export function parseHeaderLines(
  text: string,
  headers: HeaderMap,
  limits: HeadLimits,
  joined: ReadonlySet<string>,
): CodecError | null {
  const { list } = headers
  const spellings: Map<string, string> | null = limits.keepSpellings ? new Map() : null
  let at = 0
  let count = 0
  let firstLine = true
  /** Where the value of the last header begins. */
  let valueFrom = 0
  /** There are more lines than headers allowed: duplicates have been joined, the last line was one. */
  let joining = false
  let absorbed = false
  /** What the limits refuse, and where the line after it begins. */
  let refused: CodecError | null = null
  let afterRefused = -1
  for (;;) {
    const lineEnd = text.indexOf('\n', at)
    if (lineEnd < 0) break
    let end = lineEnd
    if (end > at && text.charCodeAt(end - 1) === CR) end--
    if (end === at) break // the empty line
    const first = text.charCodeAt(at)
    if (first === SPACE || first === TAB) {
      // obs-fold: continues the line before.
      if (firstLine) return CODEC_ERROR
      if (absorbed && refused === null) refused = TOO_MANY_HEADERS
      at = foldEnd(text, lineEnd + 1)
      const last = list.length - 1
      if (last >= 0) list[last] = unfold(text, valueFrom, at)
      continue
    }
    const colon = text.indexOf(':', at)
    if (colon < 0 || colon >= end) return CODEC_ERROR
    const written = text.slice(at, colon)
    const name = headerName(written)
    if (name === '') {
      // Some bytes are wrong only to who looks at one header after another, and sees a limit one name later (Envoy).
      if (refused === null || at === afterRefused || !mayPassAsName(written)) return CODEC_ERROR
      at = lineEnd + 1
      continue
    }
    at = lineEnd + 1
    firstLine = false
    if (limits.underscores !== 'ALLOW' && name.includes('_')) {
      if (limits.underscores === 'DROP_HEADER') limits.stats?.droppedHeadersWithUnderscores.inc()
      else if (refused === null) {
        limits.stats?.requestsRejectedWithUnderscoresInHeaders.inc()
        refused = UNDERSCORE
        afterRefused = at
      }
      continue // what is dropped does not count
    }
    valueFrom = colon + 1
    list.push(name, trim(text, valueFrom, end))
    if (spellings !== null && !spellings.has(name)) spellings.set(name, written)
    if (++count > limits.maxHeaders && refused === null) {
      // Joined headers count once.
      const { length } = list
      joinDuplicates(headers, joined, joining ? length - 2 : 2)
      joining = true
      absorbed = list.length < length
      if (list.length > 2 * limits.maxHeaders) {
        refused = TOO_MANY_HEADERS
        afterRefused = at
      }
    }
  }
  headers.spellings = spellings
  return refused
}

/** Where the lines end that continue the one before `at`: all at once, for a value may have very many. */
function foldEnd(text: string, at: number): number {
  let end = at
  for (let c = text.charCodeAt(end); c === SPACE || c === TAB; c = text.charCodeAt(end)) {
    const lineEnd = text.indexOf('\n', end)
    if (lineEnd < 0) break
    end = lineEnd + 1
  }
  return end
}

/** A value over several lines without their ends: the blanks around them stay (RFC 9112 §5.2, Envoy). */
function unfold(text: string, from: number, to: number): string {
  const value = text.slice(from, to).replaceAll(/\r?\n/g, '')
  return trim(value, 0, value.length)
}

/** Without white space (and stray CR) around; a bare CR inside becomes a space (RFC 9112 §2.2). */
function trim(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from++
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  const value = text.slice(from, to)
  return value.includes('\r') ? value.replaceAll('\r', ' ') : value
}

function isBlank(c: number): boolean {
  return c === SPACE || c === TAB || c === CR
}

/** Whether there are several Content-Length, or one that is none. */
export function isLengthFaulty(headers: HeaderMap): boolean {
  const { list } = headers
  let seen = false
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] !== 'content-length') continue
    // A second one may say what an intermediary overlooks, even where it agrees (Envoy).
    if (seen || parseContentLength(list[i + 1]!) < 0) return true
    seen = true
  }
  return false
}

/** A valid Content-Length: digits only, a safe integer. -1 for anything else. */
export function parseContentLength(value: string): number {
  if (value === '' || value.length > 20) return -1
  let length = 0
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    length = length * 10 + digit
  }
  return length <= Number.MAX_SAFE_INTEGER ? length : -1
}

/** Envoy's parser counts name, value and three more for each line; trailers are not decompressed headers to it. */
export function countLinesReceived(bytes: HeaderBytes | null, headers: HeaderMap, trailers = false): void {
  if (bytes === null) return
  const count = fieldBytes(headers, 3)
  bytes.addReceived(count, trailers ? 0 : count)
}
