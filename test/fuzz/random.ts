// Seeded randomness and byte mutations: a finding is reproduced by its seed.

/** Mulberry32. */
export class Random {
  private state: number
  constructor(seed: number) {
    this.state = seed >>> 0
  }
  /** [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  /** 0 … limit - 1. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}

/** `bytes` with a few edits: flips, deletions, insertions of `tokens`, repeats, cuts. */
export function mutate(random: Random, bytes: Buffer, tokens: readonly Buffer[]): Buffer {
  let out = Buffer.from(bytes)
  for (let edits = random.below(5); edits > 0; edits--) {
    const at = random.below(out.length + 1)
    switch (random.below(6)) {
      case 0:
        if (at < out.length) out[at] = random.below(256)
        break
      case 1:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random.below(8))])
        break
      case 2:
        out = Buffer.concat([out.subarray(0, at), random.pick(tokens), out.subarray(at)])
        break
      case 3: {
        const end = at + random.below(40)
        out = Buffer.concat([out.subarray(0, end), out.subarray(at, end), out.subarray(end)])
        break
      }
      case 4:
        out = out.subarray(0, at)
        break
      default:
        if (at < out.length) out[at]! ^= 1 << random.below(8)
    }
  }
  return out
}

/** `bytes` in random pieces. */
export function pieces(random: Random, bytes: Buffer): Buffer[] {
  const out: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = random.next() < 0.5 ? 1 + random.below(3) : 1 + random.below(bytes.length)
    out.push(Buffer.from(bytes.subarray(at, at + size)))
    at += size
  }
  return out
}
