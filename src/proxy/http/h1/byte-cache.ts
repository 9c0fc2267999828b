// What was made of byte sequences that come again and again: header lines and request lines of HTTP/1.
//
// Peers repeat themselves: of the lines of a head most are those of the request before. To find one here costs a glance
// at its bytes; to make strings of it costs five times as much and leaves garbage. Direct-mapped and of fixed size: a
// line displaces the one in its place, but only when it has come twice, so lines that never repeat displace nothing.

const SLOTS = 512
/** Longer sequences are not kept. */
const MAX_BYTES = 192

/** Values of type T by bytes. One for each kind and thread; the values outlive the connection, so no secrets. */
export class ByteCache<T> {
  /** The bytes of slot i begin at i × MAX_BYTES. */
  private readonly bytes = new Uint8Array(SLOTS * MAX_BYTES)
  private readonly lengths = new Uint8Array(SLOTS)
  private readonly values: (T | null)[] = new Array<T | null>(SLOTS).fill(null)
  /** Hash of what missed last, by slot. */
  private readonly missed = new Int32Array(SLOTS)
  /** Of the last find. */
  private hash = 0

  /** The value kept for bytes `from` to `to`, or null. */
  find(buffer: Uint8Array, from: number, to: number): T | null {
    const length = to - from
    if (length < 5 || length > MAX_BYTES) return null
    // A few bytes tell lines apart; the comparison below decides. The fifth from the end tells dates apart.
    let hash = Math.imul(length ^ (buffer[from]! << 8), 0x9e3779b1)
    hash = Math.imul(hash ^ buffer[to - 1]! ^ (buffer[to - 5]! << 8) ^ (buffer[to - 2]! << 16), 0x85ebca6b)
    hash = Math.imul(hash ^ buffer[from + (length >> 1)]! ^ (buffer[from + (length >> 2)]! << 8), 0xc2b2ae35)
    hash ^= hash >>> 15
    this.hash = hash
    const slot = hash & (SLOTS - 1)
    if (this.lengths[slot] !== length) return null
    const { bytes } = this
    const start = slot * MAX_BYTES
    for (let i = 0; i < length; i++) if (bytes[start + i] !== buffer[from + i]) return null
    return this.values[slot]!
  }

  /** After a find that found nothing: whether these bytes have come before and are worth keeping. */
  wants(from: number, to: number): boolean {
    if (to - from < 5 || to - from > MAX_BYTES) return false
    const slot = this.hash & (SLOTS - 1)
    if (this.missed[slot] === this.hash) return true
    this.missed[slot] = this.hash
    return false
  }

  /** After `wants` said so. */
  keep(buffer: Uint8Array, from: number, to: number, value: T): void {
    const slot = this.hash & (SLOTS - 1)
    for (let i = from; i < to; i++) this.bytes[slot * MAX_BYTES + i - from] = buffer[i]!
    this.lengths[slot] = to - from
    this.values[slot] = value
  }
}
