// What is open at the moment, by number: streams of a connection, connections of a pool.
//
// A Map or a Set would do but for the collector: where entries come and go it writes itself anew every few of them, and V8
// links each spent table to the one after it. Once a spent table has reached the old generation it keeps all that
// followed alive, with everything that was open then, until a full collection: with hundreds of requests under way nearly
// all that a request leaves ended in the old generation, and a third of the CPU went to collecting it
// (docs/performance.md).

const INITIAL_SLOTS = 16
/** A table that grew beyond this starts small again when it is empty. */
const KEPT_SLOTS = 256

interface Numbered {
  readonly id: number
}

/** Open addressing, linear probing; at most half of the slots are taken. No two items have one number. */
export class NumberedTable<T extends Numbered> {
  size = 0
  private slots = emptySlots<T>(INITIAL_SLOTS)
  private shift = 32 - Math.log2(INITIAL_SLOTS)

  has(id: number): boolean {
    return this.slots[this.find(id)] !== null
  }

  get(id: number): T | undefined {
    return this.slots[this.find(id)] ?? undefined
  }

  /** Its number is not in the table yet. */
  add(item: T): void {
    if (++this.size * 2 > this.slots.length) this.resize(this.slots.length * 2)
    this.slots[this.find(item.id)] = item
  }

  /** Whether it was there. */
  delete(id: number): boolean {
    const { slots } = this
    const mask = slots.length - 1
    let hole = this.find(id)
    if (slots[hole] === null) return false
    if (--this.size === 0 && slots.length > KEPT_SLOTS) {
      this.resize(INITIAL_SLOTS)
      return true
    }
    // What stands behind moves up, unless that would bring it before its own place.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const item = slots[at]!
      if (item === null) break
      if (((at - this.place(item.id)) & mask) < ((at - hole) & mask)) continue
      slots[hole] = item
      hole = at
    }
    slots[hole] = null
    return true
  }

  /** As they are now, in the order of their numbers. */
  all(): T[] {
    return this.slots.filter((item) => item !== null).sort((a, b) => a.id - b.id)
  }

  /** The slot of `id`, or the empty one where it would go. */
  private find(id: number): number {
    const { slots } = this
    const mask = slots.length - 1
    let at = this.place(id)
    for (let item = slots[at]!; item !== null && item.id !== id; item = slots[at]!) at = (at + 1) & mask
    return at
  }

  /** Multiplies by 2^32 divided by the golden ratio and takes the highest bits, which spreads numbers of any stride. */
  private place(id: number): number {
    return Math.imul(id, 0x9e3779b1) >>> this.shift
  }

  private resize(slots: number): void {
    const items = this.slots
    const keep = this.size > 0
    this.slots = emptySlots<T>(slots)
    this.shift = 32 - Math.log2(slots)
    if (!keep) return
    for (const item of items) if (item !== null) this.slots[this.find(item.id)] = item
  }
}

function emptySlots<T>(count: number): (T | null)[] {
  return new Array<T | null>(count).fill(null)
}
