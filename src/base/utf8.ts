// Text among byte strings (one character for each byte), which is how header values are held.

import { isUtf8 } from 'node:buffer'

const EXCLAMATION_MARK = 0x21

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

/** The byte string with `!` for each byte that is no part of UTF-8. */
export function validUtf8(bytes: string): string {
  if (isAscii(bytes)) return bytes
  const buffer = Buffer.from(bytes, 'latin1')
  if (isUtf8(buffer)) return bytes
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer, at)
    if (length === 0) buffer[at++] = EXCLAMATION_MARK
    else at += length
  }
  return buffer.toString('latin1')
}

/** The characters of a byte string that is UTF-8; other text as it is. */
export function characters(bytes: string): string {
  if (isAscii(bytes)) return bytes
  const buffer = Buffer.from(bytes, 'latin1')
  // A character beyond a byte: it is text already.
  if (!isUtf8(buffer) || buffer.toString('latin1') !== bytes) return bytes
  return buffer.toString('utf8')
}

/** Bytes of the character that begins at `at`; 0 = none does (RFC 3629 §4). */
function sequenceLength(buffer: Buffer, at: number): number {
  const first = buffer[at]!
  if (first < 0x80) return 1
  if (first < 0xc2 || first > 0xf4) return 0
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  if (at + length > buffer.length) return 0
  const second = buffer[at + 1]!
  if (second < (SECOND_FROM[first] ?? 0x80) || second > (SECOND_TO[first] ?? 0xbf)) return 0
  for (let i = 2; i < length; i++) if ((buffer[at + i]! & 0xc0) !== 0x80) return 0
  return length
}

/** Neither longer than needed, nor surrogates, nor beyond U+10FFFF. */
const SECOND_FROM: Readonly<Record<number, number>> = { 224: 0xa0, 240: 0x90 }
const SECOND_TO: Readonly<Record<number, number>> = { 237: 0x9f, 244: 0x8f }
