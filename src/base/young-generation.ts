// The young generation of a busy data plane.
//
// The launcher keeps it at V8's first size, 1 MB: an idle proxy needs no more, and left alone V8 would let any load grow
// it to 16 MB. But what is allocated for the requests under way must fit several times: else every collection finds most
// of it alive and moves it to the old generation, which then fills with garbage that only full collections see. A busy
// thread therefore gets 4 MB. When it is idle, V8 itself shrinks the young generation again.

import { performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { collectGarbage } from './collect-garbage.ts'

const INTERVAL_MS = 1_000
/** Share of the time that the event loop works. */
const BUSY = 0.3
const GROWTH_FACTOR = 4
const BUSY_BYTES = 4 << 20
/** Growing takes half a dozen collections of well under a millisecond. */
const MAX_COLLECTIONS = 32

/**
 * From now on this thread's young generation grows when the thread is busy. The result ends it. So small a generation is
 * collected by the thread itself: helpers, where they have to share its core, double the pause.
 */
export function growYoungGenerationWhenBusy(): () => void {
  setFlagsFromString('--no-parallel-scavenge')
  let last = performance.eventLoopUtilization()
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    if (utilization > BUSY && youngBytes() < BUSY_BYTES) growYoungGeneration()
  }, INTERVAL_MS)
  timer.unref()
  return () => clearInterval(timer)
}

function youngBytes(): number {
  return getHeapSpaceStatistics().find((space) => space.space_name === 'new_space')?.space_size ?? BUSY_BYTES
}

/** V8 grows it, by a factor that can be set, once enough has survived: so let something survive. */
export function growYoungGeneration(): void {
  setFlagsFromString(`--semi-space-growth-factor=${GROWTH_FACTOR}`)
  const survivors: number[][] = []
  for (let i = 0; i < MAX_COLLECTIONS && youngBytes() < BUSY_BYTES; i++) {
    for (let k = 0; k < 2000; k++) survivors.push([i, k])
    collectGarbage({ type: 'minor', execution: 'sync' })
  }
  setFlagsFromString('--semi-space-growth-factor=1')
}
