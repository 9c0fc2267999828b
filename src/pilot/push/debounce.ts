// Gathers store events into pushes: at once while changes are few, together in a storm.

export interface DebounceSettings {
  /** In a storm, events wait for this much silence … */
  readonly quietMs: number
  /** … but never longer than this, counted from the first one. */
  readonly maxMs: number
  /** So many changes in a row are flushed at once; one more for every `maxMs` that passes. */
  readonly burst: number
}

/** Flushes within a tenth of a second under any load, and immediately as long as a person makes the changes. */
const DEFAULT_DEBOUNCE: DebounceSettings = { quietMs: 20, maxMs: 100, burst: 3 }

/** Calls `flush` once for a burst of `trigger`s. */
export class Debouncer {
  private readonly flush: () => void
  private readonly settings: DebounceSettings
  private readonly now: () => number
  private firstMs = 0
  private lastMs = 0
  /** Changes that may still be flushed at once, as of `countedMs`. */
  private left: number
  private countedMs: number
  private pending = false
  private timer: NodeJS.Timeout | null = null
  private immediate: NodeJS.Immediate | null = null

  constructor(
    flush: () => void,
    settings: DebounceSettings = DEFAULT_DEBOUNCE,
    now: () => number = () => performance.now(),
  ) {
    this.flush = flush
    this.settings = settings
    this.now = now
    this.left = settings.burst
    this.countedMs = now()
  }

  /** Something happened. */
  trigger(): void {
    const now = this.now()
    this.lastMs = now
    if (this.pending) return
    this.pending = true
    this.firstMs = now
    const { burst, maxMs } = this.settings
    this.left = Math.min(burst, this.left + (now - this.countedMs) / maxMs)
    this.countedMs = now
    // Few changes so far: only what arrives in this very turn of the event loop is taken along.
    if (this.left >= 1) this.immediate = setImmediate(() => this.run())
    else this.timer = setTimeout(() => this.check(), this.settings.quietMs)
  }

  stop(): void {
    if (this.timer) clearTimeout(this.timer)
    if (this.immediate) clearImmediate(this.immediate)
    this.timer = null
    this.immediate = null
    this.pending = false
  }

  private check(): void {
    const now = this.now()
    const silent = now - this.lastMs
    const { quietMs, maxMs } = this.settings
    const left = Math.min(quietMs - silent, maxMs - (now - this.firstMs))
    if (left > 0) this.timer = setTimeout(() => this.check(), left)
    else this.run()
  }

  private run(): void {
    this.timer = null
    this.immediate = null
    this.pending = false
    this.left = Math.max(0, this.left - 1)
    this.flush()
  }
}
