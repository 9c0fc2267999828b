// The monotonic clock of a thread, read once for everything that one read callback does.
//
// A request asks for the time some fifteen times (timings, timeouts, histograms), all within two callbacks of a few
// microseconds each; a read of the clock costs as much as parsing a header line.

const { performance: clock } = globalThis

let depth = 0
/** The time of the callback that is running, or -1: nobody has asked yet. */
let moment = -1

/** Monotonic milliseconds with fraction. Between enterMoment and leaveMoment it stands still. */
export function now(): number {
  if (depth === 0) return clock.now()
  if (moment < 0) moment = clock.now()
  return moment
}

/** What happens until the matching leaveMoment happens at one time. Calls nest. */
export function enterMoment(): void {
  if (depth++ === 0) moment = -1
}

export function leaveMoment(): void {
  depth--
}
