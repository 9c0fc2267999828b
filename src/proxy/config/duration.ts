import type { Duration } from '@bufbuild/protobuf/wkt'

/** Milliseconds, with fraction. */
export function durationMs(duration: Duration): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6
}

/** Milliseconds, or `fallback` for an absent field. */
export function durationMsOr<T>(duration: Duration | undefined, fallback: T): number | T {
  return duration ? durationMs(duration) : fallback
}
