// Faults of our own that no stream or connection has caught: an exception in a timer, in an event or in a promise.
//
// Envoy built for release goes on after ENVOY_BUG: it counts `server.envoy_bug_failures` and logs the 1st, 2nd, 4th, …
// failure of each place. An exception here is that: one stream or one timer has been left half done, not the memory of the
// process, so thousands of other connections need not die with it. What belongs to a stream or a connection has been caught
// there and has ended it (base/fault-owner.ts); what comes here belongs to neither.

import type { Counter } from '../observe/stats.ts'

/** Where a fault is told. */
interface FaultLog {
  error(fields: object, text: string): void
}

/** Places in the code are few; faults whose text is made of input do not fill memory. */
const MAX_PLACES = 1000

/** Counts every fault; logs each place's 1st, 2nd, 4th, 8th, … with its stack. */
export class Faults {
  private readonly failures: Counter
  private readonly log: FaultLog
  private readonly seen = new Map<string, number>()

  constructor(failures: Counter, log: FaultLog) {
    this.failures = failures
    this.log = log
  }

  /** `where`: what was going on, e.g. `connection 12`. */
  report(error: unknown, where: string): void {
    this.failures.inc()
    const place = placeOf(error)
    const times = (this.seen.get(place) ?? 0) + 1
    if (this.seen.size < MAX_PLACES || this.seen.has(place)) this.seen.set(place, times)
    if ((times & (times - 1)) === 0) this.log.error({ err: error, where, times }, 'envoy bug failure: internal error')
  }

  /** From now on the thread outlives its uncaught exceptions and rejections. Before this call they end it, as they should at start. */
  outlive(): void {
    process.on('uncaughtException', (error) => this.report(error, 'a timer or an event'))
  }
}

/** The innermost frame, or the kind of what was thrown. */
function placeOf(error: unknown): string {
  const frame = error instanceof Error ? /\n\s+at (.*)/.exec(error.stack ?? '')?.[1] : undefined
  return frame ?? typeof error
}
