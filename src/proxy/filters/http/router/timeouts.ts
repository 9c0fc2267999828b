// How long a request may take: the route's timeouts, as request headers may change them (envoy-contract §7.6). Pure.

import type { HeaderMap } from '../../../http/header-map.ts'
import type { ForwardAction } from '../../../route/route.ts'

/** Milliseconds; 0 = none. */
export interface Timeouts {
  global: number
  perTry: number
  perTryIdle: number
  /** Of the upstream stream as a whole (max_stream_duration or grpc-timeout). */
  maxStreamDuration: number
  /** x-envoy-upstream-rq-timeout-alt-response: a timeout answers 204. */
  altResponse: boolean
  hedgeOnPerTry: boolean
}

const UNITS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1 / 1000, n: 1 / 1_000_000 }

/** `grpc-timeout` in milliseconds, or null when absent or malformed: 1–8 digits and a unit. */
function grpcTimeoutMs(value: string | undefined): number | null {
  if (value === undefined || value.length < 2 || value.length > 9) return null
  const unit = UNITS[value[value.length - 1]!]
  const digits = decimal(value.slice(0, -1))
  return unit === undefined || digits === null ? null : Math.ceil(digits * unit)
}

/** A whole decimal number, or null. */
export function decimal(text: string | undefined): number | null {
  if (text === undefined || text === '') return null
  let value = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return null
    value = value * 10 + digit
  }
  return value
}

/**
 * Works the timeouts out, removes the headers that set them, and tells the upstream how long it has
 * (x-envoy-expected-rq-timeout-ms, and grpc-timeout for gRPC).
 */
export function settleTimeouts(
  headers: HeaderMap,
  forward: ForwardAction,
  options: { suppressEnvoyHeaders: boolean; respectExpectedTimeout: boolean; grpc: boolean; tunnel: boolean },
): Timeouts {
  const timeouts: Timeouts = {
    global: options.tunnel ? 0 : baseTimeout(headers, forward, options.grpc),
    perTry: forward.retryPolicy?.perTryTimeoutMs ?? 0,
    perTryIdle: forward.retryPolicy?.perTryIdleTimeoutMs ?? 0,
    maxStreamDuration: maxStreamDuration(headers, forward, options.grpc),
    altResponse: false,
    hedgeOnPerTry: forward.hedgePolicy?.onPerTryTimeout ?? false,
  }
  if (hasEnvoyHeader(headers)) applyHeaders(headers, timeouts, options.respectExpectedTimeout)
  if (timeouts.global !== 0 && timeouts.perTry >= timeouts.global) timeouts.perTry = 0
  const expected = timeouts.perTry > 0 ? timeouts.perTry : timeouts.global
  if (expected > 0) {
    if (!options.suppressEnvoyHeaders) headers.set('x-envoy-expected-rq-timeout-ms', String(Math.ceil(expected)))
    if (options.grpc && headers.has('grpc-timeout')) headers.set('grpc-timeout', formatGrpcTimeout(expected))
  }
  return timeouts
}

function hasEnvoyHeader(headers: HeaderMap): boolean {
  const { list } = headers
  for (let i = 0; i < list.length; i += 2) if (list[i]!.startsWith('x-envoy-')) return true
  return false
}

function applyHeaders(headers: HeaderMap, timeouts: Timeouts, respectExpected: boolean): void {
  const global = decimal(headers.get('x-envoy-upstream-rq-timeout-ms'))
  const expected = respectExpected ? decimal(headers.get('x-envoy-expected-rq-timeout-ms')) : null
  if (expected !== null) timeouts.global = expected
  else if (global !== null) timeouts.global = global
  const perTry = decimal(headers.get('x-envoy-upstream-rq-per-try-timeout-ms'))
  if (perTry !== null) timeouts.perTry = perTry
  const duration = decimal(headers.get('x-envoy-upstream-stream-duration-ms'))
  if (duration !== null) timeouts.maxStreamDuration = duration
  timeouts.altResponse = headers.has('x-envoy-upstream-rq-timeout-alt-response')
  const hedge = headers.get('x-envoy-hedge-on-per-try-timeout')
  if (hedge === 'true' || hedge === 'false') timeouts.hedgeOnPerTry = hedge === 'true'
  headers.remove('x-envoy-upstream-rq-timeout-ms')
  headers.remove('x-envoy-upstream-rq-per-try-timeout-ms')
  headers.remove('x-envoy-upstream-rq-timeout-alt-response')
  headers.remove('x-envoy-upstream-stream-duration-ms')
  headers.remove('x-envoy-hedge-on-per-try-timeout')
}

function baseTimeout(headers: HeaderMap, forward: ForwardAction, grpc: boolean): number {
  if (!grpc || forward.maxGrpcTimeoutMs === null) return forward.timeoutMs
  let timeout = grpcTimeoutMs(headers.get('grpc-timeout')) ?? 0
  const offset = forward.grpcTimeoutOffsetMs
  if (offset !== null && timeout > offset) timeout -= offset
  // A maximum of zero trusts the caller fully; without a caller's limit the maximum applies.
  if (forward.maxGrpcTimeoutMs !== 0 && (timeout === 0 || timeout > forward.maxGrpcTimeoutMs))
    timeout = forward.maxGrpcTimeoutMs
  return timeout
}

function maxStreamDuration(headers: HeaderMap, forward: ForwardAction, grpc: boolean): number {
  const configured = forward.maxStreamDurationMs ?? 0
  if (!grpc || forward.grpcTimeoutHeaderMaxMs === null) return configured
  const asked = grpcTimeoutMs(headers.get('grpc-timeout'))
  if (asked === null) return configured
  let timeout = asked
  if (forward.grpcTimeoutHeaderMaxMs !== 0) timeout = Math.min(timeout, forward.grpcTimeoutHeaderMaxMs)
  const offset = forward.grpcTimeoutHeaderOffsetMs
  if (offset !== null && timeout > offset) timeout -= offset
  return timeout
}

/** At most 8 digits: the unit grows until it fits. */
function formatGrpcTimeout(ms: number): string {
  const whole = Math.ceil(ms)
  if (whole < 100_000_000) return `${whole}m`
  const seconds = Math.ceil(whole / 1000)
  return seconds < 100_000_000 ? `${seconds}S` : `${Math.ceil(seconds / 60)}M`
}
