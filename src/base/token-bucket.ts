// A token bucket that fills evenly: what a rate limit allows.

/** `perFill` tokens in the course of every `intervalMs`, at most `max` of them. */
export class TokenBucket {
  readonly max: number
  /** Tokens in a millisecond. */
  readonly rate: number
  private tokens: number
  private filledAt: number

  /** `initial`: tokens at the start; a full bucket unless given. */
  constructor(max: number, perFill: number, intervalMs: number, nowMs: number, initial = max) {
    this.max = max
    this.rate = perFill / intervalMs
    this.tokens = initial
    this.filledAt = nowMs
  }

  private fill(nowMs: number): void {
    if (nowMs <= this.filledAt) return
    this.tokens = Math.min(this.max, this.tokens + (nowMs - this.filledAt) * this.rate)
    this.filledAt = nowMs
  }

  /** Takes `count`, or nothing and false when there are fewer; below 0 it gives tokens back, up to the maximum. */
  take(nowMs: number, count = 1): boolean {
    this.fill(nowMs)
    if (this.tokens < count) return false
    this.tokens = Math.min(this.max, this.tokens - count)
    return true
  }

  /** Takes as many of `wanted` as there are, and says how many. */
  takeUpTo(wanted: number, nowMs: number): number {
    this.fill(nowMs)
    const taken = Math.min(wanted, Math.floor(this.tokens))
    this.tokens -= taken
    return taken
  }

  /** Whole tokens. */
  remaining(nowMs: number): number {
    this.fill(nowMs)
    return Math.floor(this.tokens)
  }

  /** Milliseconds until there is one; 0 = now. */
  untilNext(nowMs: number): number {
    this.fill(nowMs)
    return this.tokens >= 1 ? 0 : Math.ceil((1 - this.tokens) / this.rate)
  }
}
