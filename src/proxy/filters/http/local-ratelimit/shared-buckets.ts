// Buckets for values that requests bring, in memory that all workers share: a fixed number of places, each with the hash of
// its value. The place that was not used for longest makes room for a new value.

import { xxh64 } from '../../../../base/hash.ts'
import { createBucketMemory, SharedTokenBucket } from '../../../../base/shared-token-bucket.ts'
import { now } from '../../../stream-info.ts'

/** The buckets come first, then these, then the places. */
const HEADER = 2
const LOCK = 0
/** Counts uses: a place's is the count at its last one. */
const USES = 1
const PLACE = 3
const HASH_LOW = 0
const HASH_HIGH = 1
const LAST_USE = 2

/** Memory of `count` buckets, all of one size. */
export function createBucketsMemory(
  max: number,
  perFill: number,
  intervalMs: number,
  count: number,
): SharedArrayBuffer {
  const buckets = createBucketMemory(max, perFill, intervalMs, count)
  const memory = new SharedArrayBuffer(buckets.byteLength + (HEADER + count * PLACE) * Int32Array.BYTES_PER_ELEMENT)
  new Uint8Array(memory).set(new Uint8Array(buckets))
  return memory
}

export class SharedBuckets {
  private readonly buckets: readonly SharedTokenBucket[]
  private readonly words: Int32Array

  /** `memory`: of createBucketsMemory, with the same numbers. */
  constructor(max: number, perFill: number, intervalMs: number, count: number, memory: SharedArrayBuffer) {
    this.buckets = Array.from(
      { length: count },
      (_, index) => new SharedTokenBucket(max, perFill, intervalMs, now(), memory, index),
    )
    const bytes = (HEADER + count * PLACE) * Int32Array.BYTES_PER_ELEMENT
    this.words = new Int32Array(memory, memory.byteLength - bytes)
  }

  /** The bucket of a value; a new value gets a full one. */
  of(value: string): SharedTokenBucket {
    const hash = xxh64(value)
    // 0 marks a free place.
    const low = Number(BigInt.asIntN(32, hash)) || 1
    const high = Number(BigInt.asIntN(32, hash >> 32n))
    const known = this.find(low, high)
    return this.buckets[known >= 0 ? known : this.claim(low, high)]!
  }

  private find(low: number, high: number): number {
    const { words } = this
    for (let i = 0, at = HEADER; i < this.buckets.length; i++, at += PLACE) {
      if (Atomics.load(words, at + HASH_LOW) !== low || Atomics.load(words, at + HASH_HIGH) !== high) continue
      Atomics.store(words, at + LAST_USE, Atomics.add(words, USES, 1))
      return i
    }
    return -1
  }

  /** One worker at a time: two must not give a value two places. */
  private claim(low: number, high: number): number {
    const { words } = this
    while (Atomics.compareExchange(words, LOCK, 0, 1) !== 0) Atomics.wait(words, LOCK, 1)
    let place = this.find(low, high)
    if (place < 0) {
      place = this.leastUsed()
      const at = HEADER + place * PLACE
      this.buckets[place]!.refill(now())
      Atomics.store(words, at + LAST_USE, Atomics.add(words, USES, 1))
      Atomics.store(words, at + HASH_HIGH, high)
      Atomics.store(words, at + HASH_LOW, low)
    }
    Atomics.store(words, LOCK, 0)
    Atomics.notify(words, LOCK)
    return place
  }

  private leastUsed(): number {
    const { words } = this
    const uses = Atomics.load(words, USES)
    let oldest = 0
    let age = -1
    for (let i = 0, at = HEADER; i < this.buckets.length; i++, at += PLACE) {
      if (Atomics.load(words, at + HASH_LOW) === 0) return i
      // The difference holds when the count has gone round.
      const unused = (uses - Atomics.load(words, at + LAST_USE)) >>> 0
      if (unused > age) {
        oldest = i
        age = unused
      }
    }
    return oldest
  }
}
