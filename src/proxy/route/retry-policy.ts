// A retry policy as a worker uses it: header matchers compiled, lookups ready. The decision is filters/http/router's.

import type { RetryPolicyData } from './config.ts'
import { compileHeaderMatcher, type HeadersMatch } from './header-matcher.ts'

export interface RetryPolicy
  extends Omit<RetryPolicyData, 'retriableHeaders' | 'retriableRequestHeaders' | 'retriableStatusCodes'> {
  readonly retriableStatusCodes: ReadonlySet<number>
  /** Any of them makes a response retriable. */
  readonly retriableHeaders: readonly HeadersMatch[]
  /** null = every request; else any of them must match for the request to be retried at all. */
  readonly retriableRequestHeaders: readonly HeadersMatch[] | null
}

export function compileRetryPolicy(data: RetryPolicyData): RetryPolicy {
  return {
    ...data,
    retriableStatusCodes: new Set(data.retriableStatusCodes),
    retriableHeaders: data.retriableHeaders.map(compileHeaderMatcher),
    retriableRequestHeaders:
      data.retriableRequestHeaders.length > 0 ? data.retriableRequestHeaders.map(compileHeaderMatcher) : null,
  }
}
