// Gathers store events into pushes: at once when quiet, together in a storm.

export interface DebounceSettings {
  /** After a flush, events wait for this much silence … */
  readonly quietMs: number
  /** … but never longer than this, counted from the first one. */
  readonly maxMs: number
}

/** Flushes within a tenth of a second under any load, and immediately when nothing was flushed lately. */
const DEFAULT_DEBOUNCE: DebounceSettings = { quietMs: 20, maxMs: 100 }

/** Calls `flush` once for a burst of `trigger`s. */
export class Debouncer {
  private readonly flush: () => void
  private readonly settings: DebounceSettings
  private readonly now: () => number
  private firstMs = 0
  private lastMs = 0
  private flushedMs = Number.NEGATIVE_INFINITY
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
  }

  /** Something happened. */
  trigger(): void {
    const now = this.now()
    this.lastMs = now
    if (this.pending) return
    this.pending = true
    this.firstMs = now
    // Quiet so far: only what arrives in this very turn of the event loop is taken along.
    if (now - this.flushedMs > this.settings.maxMs) this.immediate = setImmediate(() => this.run())
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
    this.flush()
    this.flushedMs = this.now()
  }
}
