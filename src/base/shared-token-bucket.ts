// A token bucket in memory that several threads share. Its whole state is the time at which it was empty last, one number
// that is exchanged atomically, so that no thread ever waits for another.

import type { TokenBucket } from './token-bucket.ts'

/** Bits of the double `emptyAt`, in milliseconds of the origin below; then the origin itself. */
const EMPTY_AT = 0
const ORIGIN = 1
const SLOTS = 2
/** What the machine's clock as a double loses in years of uptime; without it the last token of a full bucket may be lost. */
const ROUNDING_MS = 1e-5
/** Bytes of one bucket in memory. */
const BUCKET_BYTES = SLOTS * BigInt64Array.BYTES_PER_ELEMENT

const double = new Float64Array(1)
const bits = new BigInt64Array(double.buffer)

function toBits(value: number): bigint {
  double[0] = value
  return bits[0]!
}

function fromBits(value: bigint): number {
  bits[0] = value
  return double[0]!
}

/** Threads count performance.now() each from their own start; the machine's clock is the same for all. */
function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/**
 * Memory of `count` buckets with `initial` tokens each, full ones unless given; see TokenBucket for the numbers. Made once,
 * given to every thread.
 */
export function createBucketMemory(
  max: number,
  perFill: number,
  intervalMs: number,
  count = 1,
  initial = max,
): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(count * BUCKET_BYTES)
  const state = new BigInt64Array(memory)
  const origin = toBits(machineMs())
  for (let at = 0; at < state.length; at += SLOTS) {
    state[at + ORIGIN] = origin
    state[at + EMPTY_AT] = toBits(-initial / (perFill / intervalMs))
  }
  return memory
}

export class SharedTokenBucket
  implements Pick<TokenBucket, 'max' | 'rate' | 'take' | 'takeUpTo' | 'remaining' | 'untilNext'>
{
  readonly max: number
  readonly rate: number
  private readonly state: BigInt64Array
  /** From this thread's `now()` to the bucket's time. */
  private readonly offsetMs: number

  /** `memory`: of createBucketMemory, with the same numbers. `nowMs`: this thread's clock, for everything later. */
  constructor(max: number, perFill: number, intervalMs: number, nowMs: number, memory: SharedArrayBuffer, index = 0) {
    this.max = max
    this.rate = perFill / intervalMs
    this.state = new BigInt64Array(memory, index * BUCKET_BYTES, SLOTS)
    this.offsetMs = machineMs() - fromBits(this.state[ORIGIN]!) - nowMs
  }

  private tokens(emptyAt: number, time: number): number {
    return Math.min(this.max, Math.max(0, (time - emptyAt) * this.rate))
  }

  /** As TokenBucket.take. */
  take(nowMs: number, count = 1): boolean {
    const time = nowMs + this.offsetMs
    for (;;) {
      const before = Atomics.load(this.state, EMPTY_AT)
      const tokens = this.tokens(fromBits(before), time)
      if (tokens + this.rate * ROUNDING_MS + count * Number.EPSILON < count) return false
      const after = toBits(time - Math.max(0, tokens - count) / this.rate)
      if (Atomics.compareExchange(this.state, EMPTY_AT, before, after) === before) return true
    }
  }

  /** As TokenBucket.takeUpTo. */
  takeUpTo(wanted: number, nowMs: number): number {
    const time = nowMs + this.offsetMs
    for (;;) {
      const before = Atomics.load(this.state, EMPTY_AT)
      const tokens = this.tokens(fromBits(before), time)
      const taken = Math.min(wanted, Math.floor(tokens + this.rate * ROUNDING_MS))
      if (taken <= 0) return 0
      const after = toBits(time - Math.max(0, tokens - taken) / this.rate)
      if (Atomics.compareExchange(this.state, EMPTY_AT, before, after) === before) return taken
    }
  }

  /** Full again, for another use. */
  refill(nowMs: number): void {
    Atomics.store(this.state, EMPTY_AT, toBits(nowMs + this.offsetMs - this.max / this.rate))
  }

  private left(nowMs: number): number {
    return this.tokens(fromBits(Atomics.load(this.state, EMPTY_AT)), nowMs + this.offsetMs)
  }

  remaining(nowMs: number): number {
    return Math.floor(this.left(nowMs))
  }

  untilNext(nowMs: number): number {
    const tokens = this.left(nowMs)
    return tokens >= 1 ? 0 : Math.ceil((1 - tokens) / this.rate)
  }
}
