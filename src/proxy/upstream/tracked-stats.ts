// track_cluster_stats: histograms of messages and of used time that a cluster keeps when asked to (envoy-contract §12.4).

import type { Histogram, Scope } from '../observe/stats.ts'

/** request_response_sizes. */
export interface SizeStats {
  readonly requestHeadersSize: Histogram
  readonly requestHeadersCount: Histogram
  readonly requestBodySize: Histogram
  readonly responseHeadersSize: Histogram
  readonly responseHeadersCount: Histogram
  readonly responseBodySize: Histogram
}

/** timeout_budgets, in percent of the timeout. */
export interface BudgetStats {
  readonly used: Histogram
  readonly perTryUsed: Histogram
}

export function createSizeStats(scope: Scope): SizeStats {
  return {
    requestHeadersSize: scope.histogram('upstream_rq_headers_size', 'bytes'),
    requestHeadersCount: scope.histogram('upstream_rq_headers_count', 'unspecified'),
    requestBodySize: scope.histogram('upstream_rq_body_size', 'bytes'),
    responseHeadersSize: scope.histogram('upstream_rs_headers_size', 'bytes'),
    responseHeadersCount: scope.histogram('upstream_rs_headers_count', 'unspecified'),
    responseBodySize: scope.histogram('upstream_rs_body_size', 'bytes'),
  }
}

export function createBudgetStats(scope: Scope): BudgetStats {
  return {
    used: scope.histogram('upstream_rq_timeout_budget_percent_used', 'unspecified'),
    perTryUsed: scope.histogram('upstream_rq_timeout_budget_per_try_percent_used', 'unspecified'),
  }
}

/** Percent of a timeout that `ms` are; a timeout of 0 is none, and nothing of it is used. */
export function percentOf(ms: number, timeoutMs: number): number {
  return timeoutMs > 0 ? Math.floor((ms * 100) / timeoutMs) : 0
}
