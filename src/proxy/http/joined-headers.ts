// Headers that Envoy keeps one entry of (its "inline" headers): a second one joins the first with a comma. Which they are
// was asked of Envoy 1.40 with each of them sent twice.

import type { HeaderMap } from './header-map.ts'

const BOTH = [
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'cache-control',
  'keep-alive',
  'proxy-connection',
  'proxy-status',
  'transfer-encoding',
  'upgrade',
  'via',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-request-id',
]

/** Of requests. */
export const REQUEST_JOINED: ReadonlySet<string> = new Set([
  ...BOTH,
  'accept',
  'accept-encoding',
  'access-control-request-headers',
  'access-control-request-method',
  'access-control-request-private-network',
  'authorization',
  'expect',
  'grpc-accept-encoding',
  'grpc-timeout',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'origin',
  'pragma',
  'referer',
  'te',
  'user-agent',
  'x-client-trace-id',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-force-trace',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-internal',
  'x-envoy-ip-tags',
  'x-envoy-is-timeout-retry',
  'x-envoy-max-retries',
  'x-envoy-original-host',
  'x-envoy-original-path',
  'x-envoy-original-url',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
  'x-envoy-retry-grpc-on',
  'x-envoy-retry-on',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-stream-duration-ms',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
])

/** Of responses and their trailers. */
export const RESPONSE_JOINED: ReadonlySet<string> = new Set([
  ...BOTH,
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-max-age',
  'age',
  'date',
  'etag',
  'expires',
  'grpc-message',
  'grpc-status',
  'last-modified',
  'location',
  'server',
  'vary',
  'x-envoy-degraded',
  'x-envoy-immediate-health-check-fail',
  'x-envoy-ratelimited',
  'x-envoy-upstream-canary',
  'x-envoy-upstream-healthchecked-cluster',
  'x-envoy-upstream-service-time',
])

/** Nothing is joined to or with nothing. */
export function joinedValue(first: string, second: string): string {
  if (second === '') return first
  return first === '' ? second : `${first},${second}`
}

/**
 * Joins the entries of a received block from the one at `from` on with those before it. Names are interned, so that
 * looking for equal ones is cheap. Returns how many entries are gone.
 */
export function joinDuplicates(headers: HeaderMap, joined: ReadonlySet<string>, from = 2): number {
  const { list } = headers
  const before = list.length
  for (let i = from; i < list.length; i += 2) {
    const name = list[i]!
    for (let j = 0; j < i; j += 2) {
      if (list[j] !== name) continue
      if (joined.has(name)) {
        list[j + 1] = joinedValue(list[j + 1]!, list[i + 1]!)
        list.splice(i, 2)
        i -= 2
      }
      break
    }
  }
  return (before - list.length) >> 1
}
