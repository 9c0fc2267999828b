// Byte strings (one char per byte) to and from buffers, without the encoding dispatch of toString and write.

interface Latin1Buffer extends Buffer {
  latin1Slice(start: number, end: number): string
  latin1Write(text: string, offset: number, length: number): number
}

/** Bytes `start` to `end` as a byte string. */
export function latin1(buffer: Buffer, start: number, end: number): string {
  return (buffer as Latin1Buffer).latin1Slice(start, end)
}

/** Writes byte string `text` at `offset`. */
export function writeLatin1(buffer: Buffer, text: string, offset: number): void {
  ;(buffer as Latin1Buffer).latin1Write(text, offset, text.length)
}
