// What every fuzz test watches beside its own assertions: an input that takes too long, an input that never ends, and
// memory that inputs leave behind.

import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { Random } from './random.ts'

export const SEED = Number(process.env.FUZZ_SEED ?? 1)
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 0)
/** CPU time for one input: a hundred times what the slowest takes. */
const LIMIT_MS = 2000
/** Wall time after which an input is taken for an endless loop; a busy machine may be slow. */
const HANG_MS = 60_000
/** Growth of the heap over the second half of the inputs that no cache explains. */
const GROWTH_BYTES = 16 * 1024 * 1024

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

function heapBytes(): number {
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

/** Seed of the input being handled; read by the thread that looks for endless loops. */
const current = new Int32Array(new SharedArrayBuffer(4))
const WATCH = `
const { workerData } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const { current, hangMs } = workerData
let last = 0
setInterval(() => {
  const seed = Atomics.load(current, 0)
  if (seed !== 0 && seed === last) {
    writeSync(2, 'FUZZ_SEED=' + seed + ' does not end\\n')
    process.kill(process.pid, 'SIGKILL')
  }
  last = seed
}, hangMs)`
let watched = false

/** Says when to go on, and watches the heap over the second half. */
class Progress {
  private readonly spanMs: number
  private readonly cases: number
  private readonly start = performance.now()
  private halfway = 0

  constructor(tests: number, cases: number) {
    this.spanMs = (SECONDS * 1000) / tests
    this.cases = cases
    if (!watched) new Worker(WATCH, { eval: true, workerData: { current, hangMs: HANG_MS } }).unref()
    watched = true
  }

  /** Whether input `i` is to be handled. */
  begin(i: number): boolean {
    const share = SECONDS > 0 ? (performance.now() - this.start) / this.spanMs : i / this.cases
    // What is loaded on first use is no growth: on a slow machine half of the time may be few inputs.
    if (this.halfway === 0 && share >= 0.5 && i >= this.cases / 2) this.halfway = heapBytes()
    Atomics.store(current, 0, SEED + i)
    return share < 1
  }

  end(): void {
    Atomics.store(current, 0, 0)
    if (this.halfway === 0) return
    const grown = heapBytes() - this.halfway
    assert.ok(grown < GROWTH_BYTES, `the heap grew by ${(grown / 1024 / 1024).toFixed(1)} MB over the second half`)
  }
}

/**
 * A runner of one test of a file with `tests` of them, which share FUZZ_SECONDS. Without it: `cases` inputs, the same ones
 * every time. `one` gets seeds from FUZZ_SEED on; the seed of a failing input is in the error.
 */
export function rounds(tests: number, cases = 2000): (one: (random: Random) => void) => void {
  return (one) => {
    const progress = new Progress(tests, cases)
    for (let i = 0; progress.begin(i); i++) {
      const before = process.cpuUsage()
      try {
        one(new Random(SEED + i))
        const { user, system } = process.cpuUsage(before)
        assert.ok(user + system < LIMIT_MS * 1000, `took ${Math.round((user + system) / 1000)} ms`)
      } catch (error) {
        throw new Error(`FUZZ_SEED=${SEED + i}`, { cause: error })
      }
    }
    progress.end()
  }
}

/** As {@link rounds}, for inputs that are handled beside the event loop: one after the other. */
export function asyncRounds(tests: number, cases: number): (one: (random: Random) => Promise<void>) => Promise<void> {
  return async (one) => {
    const progress = new Progress(tests, cases)
    for (let i = 0; progress.begin(i); i++) {
      try {
        await one(new Random(SEED + i))
      } catch (error) {
        throw new Error(`FUZZ_SEED=${SEED + i}`, { cause: error })
      }
    }
    progress.end()
  }
}
