// HPACK encoding (RFC 7541 §6) into one growing buffer.
//
// Strings go out without Huffman coding unless it is asked for: what repeats is in the dynamic table after its first time,
// and what does not repeat is cheaper to copy than to code. What a peer could guess and what changes with every message is not indexed.

import { writeLatin1 } from '../../../base/bytes.ts'
import { DynamicTable } from './dynamic-table.ts'
import { huffmanEncode, huffmanLength } from './huffman.ts'
import { STATIC_SIZE, STATIC_TABLE } from './static-table.ts'

/** Values that differ from message to message: indexing them would only push out what repeats. */
const NOT_INDEXED: ReadonlySet<string> = new Set([
  ':path',
  'content-length',
  'content-range',
  'etag',
  'if-modified-since',
  'if-none-match',
  'last-modified',
  'location',
  'set-cookie',
  'traceparent',
  'tracestate',
  'x-b3-parentspanid',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-cloud-trace-context',
  'x-envoy-upstream-service-time',
  'x-request-id',
])

/** Shorter cookies are too easily guessed through a shared table (RFC 7541 §7.1.3). */
const SHORT_COOKIE = 20

const Policy = { Index: 0x40, Plain: 0x00, Never: 0x10 } as const
type Policy = (typeof Policy)[keyof typeof Policy]

function policyOf(name: string, value: string): Policy {
  if (name === 'authorization' || name === 'proxy-authorization') return Policy.Never
  if (name === 'cookie' && value.length < SHORT_COOKIE) return Policy.Never
  return NOT_INDEXED.has(name) ? Policy.Plain : Policy.Index
}

/** A name of the static table: its first index, and the index of each value there. */
interface StaticName {
  readonly index: number
  readonly values: Map<string, number>
}

const STATIC_NAMES = new Map<string, StaticName>()
for (const [i, [name, value]] of STATIC_TABLE.entries()) {
  let entry = STATIC_NAMES.get(name)
  if (!entry) STATIC_NAMES.set(name, (entry = { index: i + 1, values: new Map() }))
  if (value !== '') entry.values.set(value, i + 1)
}

/** Where the dynamic table has a name. */
class DynamicName {
  /** Serial numbers of entries by value. */
  readonly values = new Map<string, number>()
  /** Serial number of the newest entry. */
  last = -1
}

/** A block is written and copied out before the next one begins, on whatever connection: one buffer serves all. */
let scratch = Buffer.allocUnsafeSlow(8 * 1024)

/** Names come from peers: beyond this many the encoder forgets them, and finds them again as they are added anew. */
const MAX_NAMES = 4096

export class HpackEncoder {
  /** Bytes of the block so far, from the start of `buffer`. */
  length = 0
  private readonly table: DynamicTable
  private readonly maxTableSize: number
  private readonly huffman: boolean
  private names = new Map<string, DynamicName>()
  /** Smallest and last size set since the last block, or -1 (§4.2: both are announced). */
  private smallestUpdate = -1
  private lastUpdate = -1

  /** `maxTableSize`: the most memory we spend, whatever the peer allows. `huffman`: strings that it makes shorter are coded. */
  constructor(maxTableSize: number, huffman = false) {
    this.maxTableSize = maxTableSize
    this.huffman = huffman
    // 4096 is what the peer starts with (RFC 9113 §6.5.2).
    this.table = new DynamicTable(Math.min(maxTableSize, 4096))
    if (maxTableSize < 4096) this.smallestUpdate = this.lastUpdate = maxTableSize
  }

  /** Holds the block until the next `begin` of any encoder. */
  get buffer(): Buffer {
    return scratch
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setPeerTableSize(size: number): void {
    const limit = Math.min(size, this.maxTableSize)
    if (limit === this.table.limit && this.lastUpdate < 0) return
    this.table.setLimit(limit)
    this.smallestUpdate = this.smallestUpdate < 0 ? limit : Math.min(this.smallestUpdate, limit)
    this.lastUpdate = limit
  }

  /** Starts a block: `buffer` and `length` hold it once the fields are in. */
  begin(): void {
    this.length = 0
    if (this.lastUpdate < 0) return
    this.room(16)
    if (this.smallestUpdate < this.lastUpdate) this.integer(0x20, 0x1f, this.smallestUpdate)
    this.integer(0x20, 0x1f, this.lastUpdate)
    this.smallestUpdate = this.lastUpdate = -1
  }

  /** `name` in lower case; both byte strings. */
  field(name: string, value: string): void {
    this.room(name.length + value.length + 16)
    const fixed = STATIC_NAMES.get(name)
    const known = fixed?.values.get(value)
    if (known !== undefined) {
      this.integer(0x80, 0x7f, known)
      return
    }
    let entry = this.names.get(name)
    const serial = entry?.values.get(value)
    if (serial !== undefined) {
      if (this.alive(serial)) {
        this.integer(0x80, 0x7f, this.indexOf(serial))
        return
      }
      entry!.values.delete(value)
    }
    const policy = policyOf(name, value)
    let nameIndex = 0
    if (fixed !== undefined) nameIndex = fixed.index
    else if (entry !== undefined && this.alive(entry.last)) nameIndex = this.indexOf(entry.last)
    this.integer(policy, policy === Policy.Index ? 0x3f : 0x0f, nameIndex)
    if (nameIndex === 0) this.string(name)
    this.string(value)
    if (policy !== Policy.Index || !this.table.add(name, value)) return
    if (entry === undefined) {
      if (this.names.size >= MAX_NAMES) this.names = new Map()
      this.names.set(name, (entry = new DynamicName()))
    }
    // Evicted values stay in the map until they are asked for; a table's worth of live ones is never dropped.
    if (entry.values.size > 2 * this.table.length + 16) this.dropEvicted(entry)
    entry.last = this.table.added - 1
    entry.values.set(value, entry.last)
  }

  private alive(serial: number): boolean {
    return serial >= 0 && serial >= this.table.added - this.table.length
  }

  private indexOf(serial: number): number {
    return STATIC_SIZE + this.table.added - serial
  }

  private dropEvicted(entry: DynamicName): void {
    for (const [value, serial] of entry.values) if (!this.alive(serial)) entry.values.delete(value)
  }

  private room(size: number): void {
    const needed = this.length + size
    if (needed <= scratch.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, scratch.length * 2))
    scratch.copy(grown, 0, 0, this.length)
    scratch = grown
  }

  /** §5.1. `flags` are the bits above the prefix. */
  private integer(flags: number, prefix: number, value: number): void {
    const buffer = scratch
    if (value < prefix) {
      buffer[this.length++] = flags | value
      return
    }
    buffer[this.length++] = flags | prefix
    let rest = value - prefix
    while (rest >= 128) {
      buffer[this.length++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    buffer[this.length++] = rest
  }

  private string(text: string): void {
    if (this.huffman) {
      const coded = huffmanLength(text)
      if (coded < text.length) {
        this.integer(0x80, 0x7f, coded)
        this.length = huffmanEncode(text, scratch, this.length)
        return
      }
    }
    this.integer(0, 0x7f, text.length)
    writeLatin1(scratch, text, this.length)
    this.length += text.length
  }
}
