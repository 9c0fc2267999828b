// Finished spans wait here until there are enough of them, or long enough.

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { Counter } from '../stats.ts'

const MIN_FLUSH_SPANS = 5
const FLUSH_INTERVAL_MS = 5000

/** Flushes at `tracing.<name>.min_flush_spans` spans (5) or after `tracing.<name>.flush_interval_ms` (5000). */
export class SpanBuffer<S> {
  private spans: S[] = []
  private timer: NodeJS.Timeout | null = null
  private readonly name: string
  private readonly runtime: RuntimeSnapshot
  private readonly timerFlushed: Counter
  private readonly send: (spans: S[]) => void

  constructor(name: string, runtime: RuntimeSnapshot, timerFlushed: Counter, send: (spans: S[]) => void) {
    this.name = name
    this.runtime = runtime
    this.timerFlushed = timerFlushed
    this.send = send
  }

  get size(): number {
    return this.spans.length
  }

  add(span: S): void {
    this.spans.push(span)
    if (this.spans.length >= this.runtime.number(`tracing.${this.name}.min_flush_spans`, MIN_FLUSH_SPANS)) this.flush()
    // Spans that wait do not keep the process alive.
    else this.timer ??= setTimeout(onTimer, this.intervalMs, this).unref()
  }

  onTimer(): void {
    this.timerFlushed.inc()
    this.flush()
  }

  private get intervalMs(): number {
    return this.runtime.number(`tracing.${this.name}.flush_interval_ms`, FLUSH_INTERVAL_MS)
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
    const { spans } = this
    this.spans = []
    if (spans.length > 0) this.send(spans)
  }
}

function onTimer<S>(buffer: SpanBuffer<S>): void {
  buffer.onTimer()
}
