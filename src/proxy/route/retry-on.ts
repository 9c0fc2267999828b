// The words of retry_on, x-envoy-retry-on and x-envoy-retry-grpc-on as bits (envoy-contract §7.7).

export const RetryOn = {
  FiveXx: 1 << 0,
  GatewayError: 1 << 1,
  Reset: 1 << 2,
  ResetBeforeRequest: 1 << 3,
  ConnectFailure: 1 << 4,
  RefusedStream: 1 << 5,
  Retriable4xx: 1 << 6,
  RetriableStatusCodes: 1 << 7,
  RetriableHeaders: 1 << 8,
  EnvoyRateLimited: 1 << 9,
  Http3PostConnectFailure: 1 << 10,
  GrpcCancelled: 1 << 11,
  GrpcDeadlineExceeded: 1 << 12,
  GrpcInternal: 1 << 13,
  GrpcResourceExhausted: 1 << 14,
  GrpcUnavailable: 1 << 15,
} as const

const WORDS: Readonly<Record<string, number>> = {
  '5xx': RetryOn.FiveXx,
  'gateway-error': RetryOn.GatewayError,
  reset: RetryOn.Reset,
  'reset-before-request': RetryOn.ResetBeforeRequest,
  'connect-failure': RetryOn.ConnectFailure,
  'refused-stream': RetryOn.RefusedStream,
  'retriable-4xx': RetryOn.Retriable4xx,
  'retriable-status-codes': RetryOn.RetriableStatusCodes,
  'retriable-headers': RetryOn.RetriableHeaders,
  'envoy-ratelimited': RetryOn.EnvoyRateLimited,
  'http3-post-connect-failure': RetryOn.Http3PostConnectFailure,
}
const GRPC_WORDS: Readonly<Record<string, number>> = {
  cancelled: RetryOn.GrpcCancelled,
  'deadline-exceeded': RetryOn.GrpcDeadlineExceeded,
  internal: RetryOn.GrpcInternal,
  'resource-exhausted': RetryOn.GrpcResourceExhausted,
  unavailable: RetryOn.GrpcUnavailable,
}

/** Bits of a comma-separated list. Unknown words mean nothing, as in Envoy, so that newer ones do no harm. */
export function parseRetryOn(text: string): number {
  return bitsOf(text, WORDS)
}

export function parseRetryGrpcOn(text: string): number {
  return bitsOf(text, GRPC_WORDS)
}

function bitsOf(text: string, words: Readonly<Record<string, number>>): number {
  let bits = 0
  for (const word of text.split(',')) bits |= words[word.trim()] ?? 0
  return bits
}
