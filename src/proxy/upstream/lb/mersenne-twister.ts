// MT19937 (Matsumoto and Nishimura, 1998): the sequence by which bounded-load hashing tries other hosts is that of this
// generator seeded with the request's hash, so that every proxy tries the same ones.

const N = 624
const M = 397

/** 32-bit numbers, the same for the same seed. */
export class MersenneTwister {
  private readonly state = new Uint32Array(N)
  private at = N

  constructor(seed: number) {
    const { state } = this
    state[0] = seed
    for (let i = 1; i < N; i++) {
      const before = state[i - 1]!
      state[i] = Math.imul(1_812_433_253, before ^ (before >>> 30)) + i
    }
  }

  next(): number {
    if (this.at === N) this.twist()
    let y = this.state[this.at++]!
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c_5680
    y ^= (y << 15) & 0xefc6_0000
    return (y ^ (y >>> 18)) >>> 0
  }

  /** Uniform in [0, limit). */
  below(limit: number): number {
    const each = Math.floor(2 ** 32 / limit)
    for (;;) {
      const number = Math.floor(this.next() / each)
      if (number < limit) return number
    }
  }

  private twist(): void {
    const { state } = this
    for (let i = 0; i < N; i++) {
      const y = (state[i]! & 0x8000_0000) | (state[(i + 1) % N]! & 0x7fff_ffff)
      state[i] = state[(i + M) % N]! ^ (y >>> 1) ^ ((y & 1) === 1 ? 0x9908_b0df : 0)
    }
    this.at = 0
  }
}
