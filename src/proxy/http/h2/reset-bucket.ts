// How many RST_STREAM frames a client may send, of whatever streams (stream_reset_burst, stream_reset_rate; CVE-2023-44487).

import { now } from '../../../base/clock.ts'

/** A bucket that is full at first and gains `rate` each second. */
export class ResetBucket {
  private readonly burst: number
  private readonly rate: number
  private tokens: number
  private filledAtMs = now()

  constructor(burst: number, rate: number) {
    this.burst = burst
    this.rate = rate
    this.tokens = burst
  }

  /** False: it was empty. */
  take(): boolean {
    const seconds = Math.floor((now() - this.filledAtMs) / 1000)
    if (seconds > 0) {
      this.filledAtMs += seconds * 1000
      this.tokens = Math.min(this.burst, this.tokens + seconds * this.rate)
    }
    return this.tokens-- >= 1
  }
}
