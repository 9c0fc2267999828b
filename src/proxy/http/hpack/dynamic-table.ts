// The dynamic table (RFC 7541 §2.3.2) as a ring: the newest entry has index 0, the oldest is evicted first.

import { ENTRY_OVERHEAD } from './static-table.ts'

export class DynamicTable {
  /** Octets, with the overhead of each entry. */
  size = 0
  /** Number of entries. */
  length = 0
  /** Entries ever added: an entry's serial number never changes, its index does. */
  added = 0
  private maxSize: number
  private names: string[] = []
  private values: string[] = []
  private mask = 0

  constructor(maxSize: number) {
    this.maxSize = maxSize
    this.grow(16)
  }

  get limit(): number {
    return this.maxSize
  }

  setLimit(maxSize: number): void {
    this.maxSize = maxSize
    this.evict(0)
  }

  /** `index` counts from the newest, which is 0; the caller has checked it against `length`. */
  name(index: number): string {
    return this.names[(this.added - 1 - index) & this.mask]!
  }

  value(index: number): string {
    return this.values[(this.added - 1 - index) & this.mask]!
  }

  /** An entry larger than the table empties it and is not kept (§4.4): false. */
  add(name: string, value: string): boolean {
    const size = name.length + value.length + ENTRY_OVERHEAD
    this.evict(size)
    if (size > this.maxSize) return false
    if (this.length > this.mask) this.grow((this.mask + 1) * 2)
    const at = this.added & this.mask
    this.names[at] = name
    this.values[at] = value
    this.added++
    this.length++
    this.size += size
    return true
  }

  private evict(room: number): void {
    while (this.length > 0 && this.size + room > this.maxSize) {
      const at = (this.added - this.length) & this.mask
      this.size -= this.names[at]!.length + this.values[at]!.length + ENTRY_OVERHEAD
      this.names[at] = ''
      this.values[at] = ''
      this.length--
    }
  }

  /** `capacity` is a power of two. */
  private grow(capacity: number): void {
    const names = new Array<string>(capacity).fill('')
    const values = new Array<string>(capacity).fill('')
    const mask = capacity - 1
    for (let serial = this.added - this.length; serial < this.added; serial++) {
      names[serial & mask] = this.names[serial & this.mask]!
      values[serial & mask] = this.values[serial & this.mask]!
    }
    this.names = names
    this.values = values
    this.mask = mask
  }
}
