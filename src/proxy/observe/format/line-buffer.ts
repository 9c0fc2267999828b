// Bytes that log lines are written into, piece by piece: a line as a string would be some ninety strings joined, copied
// once more into one, and garbage.

import { isUtf8 } from 'node:buffer'
import { putLatin1 } from '../../../base/bytes.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const ZERO = 0x30
/** Numbers below are written digit by digit. */
const MAX_DIGITS_VALUE = 0x7fffffff

/** Grows as needed; `bytes` up to `length` are written. */
export class LineBuffer {
  bytes: Buffer
  length = 0

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size)
  }

  /** A byte string. */
  put(text: string): void {
    const count = text.length
    const end = this.length + count
    if (end > this.bytes.length) this.grow(end)
    putLatin1(this.bytes, text, this.length)
    this.length = end
  }

  /** What was prepared as bytes: cheaper than any string that is longer than a few characters. */
  putBytes(bytes: Uint8Array): void {
    const end = this.length + bytes.length
    if (end > this.bytes.length) this.grow(end)
    this.bytes.set(bytes, this.length)
    this.length = end
  }

  /** A copy of what was written since `from`. */
  copyFrom(from: number): Uint8Array {
    return Uint8Array.prototype.slice.call(this.bytes, from, this.length)
  }

  /** A byte string as JSON text. What needs escaping is rare. */
  putQuoted(text: string): void {
    const count = text.length
    const begin = this.length
    if (begin + count + 2 > this.bytes.length) this.grow(begin + count + 2)
    const { bytes } = this
    let at = begin
    bytes[at++] = QUOTE
    for (let i = 0; i < count; i++) {
      const char = text.charCodeAt(i)
      if (char < 0x20 || char === QUOTE || char === BACKSLASH || char > 0x7e) {
        this.put(isUtf8(Buffer.from(text, 'latin1')) ? JSON.stringify(text) : escapedBytes(text))
        return
      }
      bytes[at++] = char
    }
    bytes[at++] = QUOTE
    this.length = at
  }

  /** A number as JavaScript prints it. */
  putNumber(value: number): void {
    if (!(value >= 0 && value <= MAX_DIGITS_VALUE && Number.isInteger(value))) {
      this.put(String(value))
      return
    }
    let digits = 1
    for (let limit = 10; digits < 10 && value >= limit; limit *= 10) digits++
    const end = this.length + digits
    if (end > this.bytes.length) this.grow(end)
    const { bytes } = this
    let rest = value | 0
    for (let at = end - 1; at >= this.length; at--) {
      const next = (rest / 10) | 0
      bytes[at] = ZERO + rest - next * 10
      rest = next
    }
    this.length = end
  }

  private grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }
}

/** Text that is not UTF-8: each byte but plain ASCII by its number (Envoy). */
function escapedBytes(text: string): string {
  let out = '"'
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i)
    const plain = char >= 0x20 && char < 0x7f && char !== QUOTE && char !== BACKSLASH
    out += plain ? text[i] : `\\u${char.toString(16).padStart(4, '0')}`
  }
  return `${out}"`
}
