// A token bucket that fills in steps: what a rate limit allows.

/** `perFill` tokens every `intervalMs`, at most `max` of them. Starts full. */
export class TokenBucket {
  readonly max: number
  readonly intervalMs: number
  private readonly perFill: number
  private tokens: number
  private filledAt: number

  constructor(max: number, perFill: number, intervalMs: number, nowMs: number) {
    this.max = max
    this.perFill = perFill
    this.intervalMs = intervalMs
    this.tokens = max
    this.filledAt = nowMs
  }

  private fill(nowMs: number): void {
    const steps = Math.floor((nowMs - this.filledAt) / this.intervalMs)
    if (steps <= 0) return
    this.tokens = Math.min(this.max, this.tokens + steps * this.perFill)
    this.filledAt += steps * this.intervalMs
  }

  /** Takes one; false when there is none. */
  take(nowMs: number): boolean {
    this.fill(nowMs)
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }

  remaining(nowMs: number): number {
    this.fill(nowMs)
    return this.tokens
  }

  /** Milliseconds until the next fill. */
  untilFill(nowMs: number): number {
    return Math.max(0, this.filledAt + this.intervalMs - nowMs)
  }
}
