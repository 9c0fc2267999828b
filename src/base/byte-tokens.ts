// A token bucket that fills without steps and gives as much as it has: what a byte rate allows.

/** `perSecond` tokens a second, at most a second's worth of them. */
export class ByteTokens {
  private readonly perSecond: number
  private tokens: number
  private filledAt: number

  /** `initial`: tokens at the start. */
  constructor(perSecond: number, initial: number, nowMs: number) {
    this.perSecond = perSecond
    this.tokens = initial
    this.filledAt = nowMs
  }

  /** Takes up to `wanted` whole tokens and says how many there were. */
  take(wanted: number, nowMs: number): number {
    this.tokens = Math.min(this.perSecond, this.tokens + (Math.max(0, nowMs - this.filledAt) * this.perSecond) / 1000)
    this.filledAt = nowMs
    const taken = Math.min(wanted, Math.floor(this.tokens))
    this.tokens -= taken
    return taken
  }
}
