// Byte strings (one char per byte) to and from buffers, without the encoding dispatch of toString and write.

interface Latin1Buffer extends Buffer {
  latin1Slice(start: number, end: number): string
  latin1Write(text: string, offset: number, length: number): number
}

/** Bytes `start` to `end` as a byte string. */
export function latin1(buffer: Buffer, start: number, end: number): string {
  return (buffer as Latin1Buffer).latin1Slice(start, end)
}

/**
 * Byte string `text` as a header may have it: NUL, CR and LF, which would end the header or begin another one, are blanks
 * (RFC 9110 §5.5). For values that were made of what others say: claims, certificates, metadata.
 */
export function fieldValue(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === 0 || c === 10 || c === 13) return text.replaceAll(/[\0\r\n]/g, ' ')
  }
  return text
}

/** A copy of byte string `text`: unlike a slice it does not keep the text it was cut from. */
export function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

/** The call costs as much as this many characters one by one: some 30 ns, for any length. */
const SHORT = 16

/** Writes byte string `text` at `offset`, where there is room; the position after it. */
export function putLatin1(buffer: Buffer, text: string, offset: number): number {
  const { length } = text
  if (length > SHORT) writeLatin1(buffer, text, offset)
  else for (let i = 0; i < length; i++) buffer[offset + i] = text.charCodeAt(i)
  return offset + length
}

/** Writes byte string `text` at `offset`. */
export function writeLatin1(buffer: Buffer, text: string, offset: number): void {
  ;(buffer as Latin1Buffer).latin1Write(text, offset, text.length)
}
