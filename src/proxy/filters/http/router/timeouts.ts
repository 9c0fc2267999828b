// How long a request may take: the route's timeouts, as request headers may change them (envoy-contract §7.6). Pure.

import { decimal } from '../../../../base/decimal.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { formatGrpcTimeout, grpcTimeoutMs } from '../../../route/grpc-timeout.ts'
import type { ForwardAction } from '../../../route/route.ts'

/** Milliseconds; 0 = none. */
export interface Timeouts {
  global: number
  perTry: number
  perTryIdle: number
  /** Of the upstream stream as a whole (x-envoy-upstream-stream-duration-ms, else the cluster's max_stream_duration). */
  maxStreamDuration: number
  /** x-envoy-upstream-rq-timeout-alt-response: a timeout answers 204. */
  altResponse: boolean
  hedgeOnPerTry: boolean
}

/**
 * Works the timeouts out, removes the headers that set them, and tells the upstream how long it has
 * (x-envoy-expected-rq-timeout-ms, and grpc-timeout for gRPC).
 */
export function settleTimeouts(
  headers: HeaderMap,
  forward: ForwardAction,
  options: { suppressEnvoyHeaders: boolean; respectExpectedTimeout: boolean; grpc: boolean },
): Timeouts {
  const timeouts: Timeouts = {
    global: baseTimeout(headers, forward, options.grpc),
    perTry: forward.retryPolicy?.perTryTimeoutMs ?? 0,
    perTryIdle: forward.retryPolicy?.perTryIdleTimeoutMs ?? 0,
    maxStreamDuration: 0,
    altResponse: false,
    hedgeOnPerTry: forward.hedgePolicy?.onPerTryTimeout ?? false,
  }
  if (hasEnvoyHeader(headers)) applyHeaders(headers, timeouts, options.respectExpectedTimeout)
  if (timeouts.global !== 0 && timeouts.perTry >= timeouts.global) timeouts.perTry = 0
  announceTimeouts(headers, timeouts, forward, 0, options)
  return timeouts
}

/** Tells the upstream how long it has, `elapsedMs` after the request was complete (0 for the first attempt). */
export function announceTimeouts(
  headers: HeaderMap,
  timeouts: Timeouts,
  forward: ForwardAction,
  elapsedMs: number,
  options: { suppressEnvoyHeaders: boolean; grpc: boolean },
): void {
  const { global, perTry } = timeouts
  // With hedging an attempt goes on beyond its per-try timeout.
  let expected = perTry > 0 && !timeouts.hedgeOnPerTry ? perTry : global
  if (expected <= 0) return
  // 0 would mean without end: an attempt that is out of time gets the least there is.
  if (global > 0) expected = elapsedMs >= global ? 1 : Math.min(expected, Math.ceil(global - elapsedMs))
  if (!options.suppressEnvoyHeaders) headers.set('x-envoy-expected-rq-timeout-ms', String(Math.ceil(expected)))
  if (options.grpc && forward.maxGrpcTimeoutMs !== null && !forward.hasMaxStreamDuration)
    headers.set('grpc-timeout', formatGrpcTimeout(expected))
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
  if (forward.hasMaxStreamDuration) return 0
  if (!grpc || forward.maxGrpcTimeoutMs === null) return forward.timeoutMs
  let timeout = grpcTimeoutMs(headers.get('grpc-timeout')) ?? 0
  const offset = forward.grpcTimeoutOffsetMs
  if (offset !== null && timeout > offset) timeout -= offset
  // A maximum of zero trusts the caller fully; without a caller's limit the maximum applies.
  if (forward.maxGrpcTimeoutMs !== 0 && (timeout === 0 || timeout > forward.maxGrpcTimeoutMs))
    timeout = forward.maxGrpcTimeoutMs
  return timeout
}
