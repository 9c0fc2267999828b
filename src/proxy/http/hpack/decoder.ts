// HPACK decoding of complete header blocks (RFC 7541 §3, §6).

import { latin1 } from '../../../base/bytes.ts'
import { DynamicTable } from './dynamic-table.ts'
import { huffmanDecode } from './huffman.ts'
import { STATIC_SIZE, STATIC_TABLE } from './static-table.ts'

/** Takes the fields of a block in order. Strings are byte strings: one char per byte. */
export interface HeaderSink {
  /** `fresh`: the value was not in a table, so it has not been seen on this connection. */
  onHeader(name: string, value: string, fresh: boolean): void
}

/** What a name or a value may take up on the wire (Envoy's default). */
const MAX_STRING_BYTES = 65_536

/** Names are lowered nowhere: HTTP/2 forbids upper case (RFC 9113 §8.2.1), which the sink checks. */
export class HpackDecoder {
  private readonly table: DynamicTable
  /** The most that a size update may ask for: our SETTINGS_HEADER_TABLE_SIZE. */
  private readonly maxTableSize: number
  private readonly maxStringBytes: number
  private buffer: Buffer = Buffer.alloc(0)
  private at = 0
  private end = 0
  private broken = false
  /** What was read last goes on behind the end. */
  private cutOff = false
  /** Of the block at hand: where the field or size update at hand begins, and whether there was a field before it. */
  private fieldAt = 0
  private fields = false
  private updateDue = false

  constructor(maxTableSize: number, maxStringBytes = MAX_STRING_BYTES) {
    this.maxTableSize = maxTableSize
    this.maxStringBytes = maxStringBytes
    this.table = new DynamicTable(maxTableSize)
  }

  /** The peer has acknowledged a smaller table than it started with: its next block says so first (RFC 9113 §4.3.1). */
  expectSizeUpdate(): void {
    this.updateDue = true
  }

  /** False: the block is not HPACK, and neither is anything after it (COMPRESSION_ERROR, RFC 9113 §4.3). */
  decode(buffer: Buffer, start: number, end: number, sink: HeaderSink): boolean {
    this.fields = false
    return this.read(buffer, start, end, sink)
  }

  /**
   * Decodes what is complete of a block that goes on behind `end`; `first`: it begins here. Returns the position of what is
   * not, from where the next call has to go on, or -1 as decode returns false.
   */
  decodePart(buffer: Buffer, start: number, end: number, sink: HeaderSink, first: boolean): number {
    if (first) this.fields = false
    this.cutOff = false
    if (this.read(buffer, start, end, sink)) return end
    if (!this.cutOff) return -1
    this.broken = false
    return this.fieldAt
  }

  private read(buffer: Buffer, start: number, end: number, sink: HeaderSink): boolean {
    this.buffer = buffer
    this.at = start
    this.end = end
    while (this.at < end) {
      this.fieldAt = this.at
      const byte = buffer[this.at]!
      if (this.updateDue && (byte & 0xe0) !== 0x20) return false
      if (byte & 0x80) {
        const index = this.integer(0x7f)
        if (index < 1 || index > STATIC_SIZE + this.table.length) return false
        if (index <= STATIC_SIZE) {
          const entry = STATIC_TABLE[index - 1]!
          sink.onHeader(entry[0], entry[1], false)
        } else sink.onHeader(this.table.name(index - STATIC_SIZE - 1), this.table.value(index - STATIC_SIZE - 1), false)
      } else if ((byte & 0xe0) === 0x20) {
        // A size update stands before the first field only (§4.2).
        const size = this.integer(0x1f)
        if (this.fields || size < 0 || size > this.maxTableSize) return false
        this.updateDue = false
        this.table.setLimit(size)
        continue
      } else {
        const indexed = (byte & 0x40) !== 0
        const index = this.integer(indexed ? 0x3f : 0x0f)
        if (index < 0 || index > STATIC_SIZE + this.table.length) return false
        const name =
          index === 0
            ? this.string()
            : index <= STATIC_SIZE
              ? STATIC_TABLE[index - 1]![0]
              : this.table.name(index - STATIC_SIZE - 1)
        const value = this.broken ? '' : this.string()
        if (this.broken) return false
        if (indexed) this.table.add(name, value)
        sink.onHeader(name, value, true)
      }
      this.fields = true
    }
    return true
  }

  /** §5.1; -1 when it is cut off or larger than anything we accept. */
  private integer(prefix: number): number {
    const { buffer, end } = this
    let value = buffer[this.at++]! & prefix
    if (value < prefix) return value
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.at >= end) return this.endOfBytes()
      const byte = buffer[this.at++]!
      value += (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    return -1
  }

  private endOfBytes(): number {
    this.cutOff = true
    return -1
  }

  private string(): string {
    const { buffer } = this
    if (this.at >= this.end) {
      this.cutOff = true
      return this.fail()
    }
    const huffman = buffer[this.at]! >= 0x80
    const length = this.integer(0x7f)
    const from = this.at
    if (length < 0 || length > this.maxStringBytes) return this.fail()
    if (length > this.end - from) {
      this.cutOff = true
      return this.fail()
    }
    this.at = from + length
    if (!huffman) return latin1(buffer, from, from + length)
    return huffmanDecode(buffer, from, from + length) ?? this.fail()
  }

  private fail(): string {
    this.broken = true
    return ''
  }
}
