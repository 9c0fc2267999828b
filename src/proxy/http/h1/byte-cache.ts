// What was made of byte sequences that come again and again: header lines and request lines of HTTP/1.
//
// Peers repeat themselves: of the lines of a head most are those of the request before. To find one here costs a glance
// at its bytes; to make strings of it costs five times as much and leaves garbage. Of fixed size, with two places for a
// line: of the fifty lines of a request and its response some share a place, and would displace each other every time. A
// line displaces another only when it has come twice, so lines that never repeat displace nothing.

/** How many sequences a cache holds. */
export const PLACES = 512
/** Longer sequences are not kept. */
const MAX_BYTES = 192

/** Values of type T by bytes. One for each kind and thread; the values outlive the connection, so no secrets. */
export class ByteCache<T> {
  /** The bytes of slot i begin at i × MAX_BYTES. */
  private readonly bytes = new Uint8Array(PLACES * MAX_BYTES)
  private readonly lengths = new Uint8Array(PLACES)
  private readonly values: (T | null)[] = new Array<T | null>(PLACES).fill(null)
  /** Hashes of what missed last, by slot, with two places as well: two that miss in turn must not hide each other. */
  private readonly missed = new Int32Array(PLACES)
  /** Of the last find. */
  private hash = 0

  /** The value kept for bytes `from` to `to`, or null. */
  find(buffer: Uint8Array, from: number, to: number): T | null {
    const place = this.findPlace(buffer, from, to)
    return place < 0 ? null : this.values[place]!
  }

  /** Where the bytes `from` to `to` are kept, or -1. The place may hold others after the next keep(). */
  findPlace(buffer: Uint8Array, from: number, to: number): number {
    const length = to - from
    if (length < 5 || length > MAX_BYTES) return -1
    // A few bytes tell lines apart; the comparison below decides. The fifth from the end tells dates apart.
    let hash = Math.imul(length ^ (buffer[from]! << 8), 0x9e3779b1)
    hash = Math.imul(hash ^ buffer[to - 1]! ^ (buffer[to - 5]! << 8) ^ (buffer[to - 2]! << 16), 0x85ebca6b)
    hash = Math.imul(hash ^ buffer[from + (length >> 1)]! ^ (buffer[from + (length >> 2)]! << 8), 0xc2b2ae35)
    hash ^= hash >>> 15
    this.hash = hash
    const slot = hash & (PLACES - 1)
    if (this.lengths[slot] === length && this.holds(slot, buffer, from)) return slot
    return this.lengths[slot ^ 1] === length && this.holds(slot ^ 1, buffer, from) ? slot ^ 1 : -1
  }

  valueAt(place: number): T {
    return this.values[place]!
  }

  /** How many bytes are kept in `place`; never none again where there were some. */
  lengthOf(place: number): number {
    return this.lengths[place]!
  }

  /** `buffer`, which is long enough, has the bytes of `place` from `from` on. */
  holds(place: number, buffer: Uint8Array, from: number): boolean {
    const { bytes } = this
    const length = this.lengths[place]!
    const start = place * MAX_BYTES
    for (let i = 0; i < length; i++) if (bytes[start + i] !== buffer[from + i]) return false
    return true
  }

  /** After a find that found nothing: whether these bytes have come before and are worth keeping. */
  wants(from: number, to: number): boolean {
    if (to - from < 5 || to - from > MAX_BYTES) return false
    const slot = this.hash & (PLACES - 1)
    if (this.missed[slot] === this.hash || this.missed[slot ^ 1] === this.hash) return true
    this.missed[slot ^ 1] = this.missed[slot]!
    this.missed[slot] = this.hash
    return false
  }

  /** After `wants` said so. What is in the first place moves to the second; nothing moves there when it is empty. */
  keep(buffer: Uint8Array, from: number, to: number, value: T): void {
    const slot = this.hash & (PLACES - 1)
    const length = this.lengths[slot]!
    if (length > 0) {
      this.bytes.copyWithin((slot ^ 1) * MAX_BYTES, slot * MAX_BYTES, slot * MAX_BYTES + length)
      this.lengths[slot ^ 1] = length
      this.values[slot ^ 1] = this.values[slot]!
    }
    for (let i = from; i < to; i++) this.bytes[slot * MAX_BYTES + i - from] = buffer[i]!
    this.lengths[slot] = to - from
    this.values[slot] = value
  }
}
