// How many proxies may owe acknowledgements at once: what is written but not yet read stays in memory.
/**
 * The most that istiod's PILOT_PUSH_THROTTLE allows by default, whatever the number of CPUs: proxies are sent the same
 * bytes, so that many at once cost little memory, and each waits for its round trips alone.
 */
export const DEFAULT_PUSH_LIMIT = 100

/** The proxies that were sent something and have not acknowledged all of it. */
export class InFlight<T extends object> {
  private readonly since = new Map<T, number>()
  private readonly limit: number
  private readonly patienceMs: number
  private readonly now: () => number

  /** One that stays silent for `patienceMs` no longer counts: it must not hold up the others. */
  constructor(limit: number, patienceMs: number, now: () => number = () => performance.now()) {
    this.limit = limit
    this.patienceMs = patienceMs
    this.now = now
  }

  /** Whether `member` may be sent something now; it counts from here on. */
  enter(member: T): boolean {
    if (!this.since.has(member) && this.since.size >= this.limit && !this.evict()) return false
    this.since.set(member, this.now())
    return true
  }

  /** `member` owes nothing any more. True when others may have been waiting for that. */
  leave(member: T): boolean {
    const full = this.since.size >= this.limit
    return this.since.delete(member) && full
  }

  private evict(): boolean {
    const before = this.now() - this.patienceMs
    for (const [member, sinceMs] of this.since) if (sinceMs <= before) this.since.delete(member)
    return this.since.size < this.limit
  }
}
