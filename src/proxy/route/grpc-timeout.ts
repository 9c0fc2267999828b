// grpc-timeout: how long a gRPC caller waits (gRPC over HTTP/2), and how long a route lets a stream last by it.

import { decimal } from '../../base/decimal.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { ForwardAction } from './route.ts'

const UNITS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1 / 1000, n: 1 / 1_000_000 }

/** `grpc-timeout` in milliseconds, or null when absent or malformed: 1–8 digits and a unit. */
export function grpcTimeoutMs(value: string | undefined): number | null {
  if (value === undefined || value.length < 2 || value.length > 9) return null
  const unit = UNITS[value[value.length - 1]!]
  const digits = decimal(value.slice(0, -1))
  return unit === undefined || digits === null ? null : Math.ceil(digits * unit)
}

/**
 * Milliseconds that the downstream stream may last by its route: max_stream_duration, or the caller's grpc-timeout where
 * the route trusts it. 0 = without end, null = as the connection manager says.
 */
export function streamDuration(headers: HeaderMap, forward: ForwardAction): number | null {
  if (!forward.hasMaxStreamDuration) return null
  const max = forward.grpcTimeoutHeaderMaxMs
  const asked = max === null ? null : grpcTimeoutMs(headers.get('grpc-timeout'))
  if (max === null || asked === null) return forward.maxStreamDurationMs
  let timeout = max !== 0 ? Math.min(asked, max) : asked
  const offset = forward.grpcTimeoutHeaderOffsetMs
  if (offset !== null) timeout = Math.max(0, timeout - offset)
  timeout = Math.max(1, timeout)
  return timeout
}

/** At most 8 digits: the unit grows until it fits. */
export function formatGrpcTimeout(ms: number): string {
  const whole = Math.ceil(ms)
  if (whole < 100_000_000) return `${whole}m`
  const seconds = Math.ceil(whole / 1000)
  return seconds < 100_000_000 ? `${seconds}S` : `${Math.ceil(seconds / 60)}M`
}
