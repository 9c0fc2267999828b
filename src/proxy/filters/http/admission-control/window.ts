// What has become of the requests of the last seconds, and how likely the next one is to be rejected for it.

/** One second's requests. */
interface Sample {
  readonly startedMs: number
  requests: number
  successes: number
}

const GRANULARITY_MS = 1000

/** Requests of a sliding window, by seconds. Times are of one clock, in milliseconds. */
export class RequestWindow {
  private readonly windowMs: number
  private readonly samples: Sample[] = []
  requests = 0
  successes = 0

  constructor(windowS: number) {
    this.windowMs = windowS * 1000
  }

  record(success: boolean, nowMs: number): void {
    this.update(nowMs)
    const newest = this.samples.at(-1)!
    newest.requests++
    this.requests++
    if (!success) return
    newest.successes++
    this.successes++
  }

  /** Drops what is too old, and begins a new second where it is time. */
  update(nowMs: number): void {
    const { samples } = this
    while (samples.length > 0 && nowMs - samples[0]!.startedMs >= this.windowMs) {
      const { requests, successes } = samples.shift()!
      this.requests -= requests
      this.successes -= successes
    }
    const newest = samples.at(-1)
    if (newest === undefined || nowMs - newest.startedMs >= GRANULARITY_MS)
      samples.push({ startedMs: nowMs, requests: 0, successes: 0 })
  }

  /** Whole requests per second. */
  averageRps(nowMs: number): number {
    const oldest = this.samples[0]
    if (oldest === undefined || this.requests === 0) return 0
    return Math.floor(this.requests / Math.max(1, Math.floor((nowMs - oldest.startedMs) / 1000)))
  }
}

/** 0 to `max` (a fraction); `threshold`: the fraction of requests that have to succeed; `aggression` ≥ 1. */
export function rejectionProbability(
  requests: number,
  successes: number,
  threshold: number,
  aggression: number,
  max: number,
): number {
  const excess = (requests - successes / threshold) / (requests + 1)
  if (!(excess > 0)) return 0
  return Math.min(aggression === 1 ? excess : excess ** (1 / aggression), max)
}
