// Big-endian numbers and slices of a peer's bytes.

/** Reads that run past the end set `failed` instead of throwing: the input is a peer's. */
export class ByteReader {
  failed = false
  private readonly bytes: Buffer
  private at = 0
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
  get left(): number {
    return this.bytes.length - this.at
  }
  uint(size: number): number {
    if (!this.has(size)) return 0
    this.at += size
    return this.bytes.readUIntBE(this.at - size, size)
  }
  skip(size: number): void {
    if (this.has(size)) this.at += size
  }
  take(size: number): Buffer | null {
    if (!this.has(size)) return null
    this.at += size
    return this.bytes.subarray(this.at - size, this.at)
  }
  private has(size: number): boolean {
    if (this.failed || this.left < size) this.failed = true
    return !this.failed
  }
}
