// The seam between a traced request and the tracer that reports it.

import type { HeaderMap } from '../../http/header-map.ts'

/** One timed operation. Moments are those of the monotonic clock, as StreamInfo has them. */
export interface Span {
  /** Lower-case hex. */
  readonly traceId: string
  readonly spanId: string
  /** False: the span carries the trace on and is not reported, so its tags do not matter. */
  sampled: boolean
  setOperation(name: string): void
  setTag(name: string, value: string): void
  log(moment: number, event: string): void
  /** Writes the trace context for whoever comes next. */
  inject(headers: HeaderMap): void
  spawnChild(name: string): Span
  /** Once, at the end: hands the span to its tracer. */
  finish(): void
}

/** Which side of a service the proxy stands on. */
export type OperationName = 'ingress' | 'egress'

/** When a request began. The wall clock is read once for a request: all its spans are timed from there. */
export interface SpanStart {
  /** Monotonic. */
  readonly moment: number
  /** Milliseconds since the epoch at the moment 0. */
  readonly epoch: number
}

export interface Tracer {
  /** The span of a request; null when the caller's trace context cannot be read. `traced`: this proxy's own decision. */
  startSpan(headers: HeaderMap, name: string, start: SpanStart, traced: boolean): Span | null
}
