// What is counted by route and by virtual cluster: `vhost.<virtual host>.route.<stat_prefix>.upstream_rq_*` and
// `vhost.<virtual host>.vcluster.<name>.upstream_rq_*`. Nothing for routes that ask for neither.

import type { Counter, Histogram, Scope } from '../../../observe/stats.ts'
import type { Route } from '../../../route/route.ts'
import { CodeCounters } from '../../../upstream/response-stats.ts'

/** Name of the virtual cluster that takes what no other does. */
const CATCH_ALL = 'other'

/** The counters of one route or virtual cluster. */
export class RequestStats {
  readonly total: Counter
  readonly timeout: Counter
  readonly retry: Counter
  readonly retrySuccess: Counter
  readonly retryOverflow: Counter
  readonly retryLimitExceeded: Counter
  private readonly codes: CodeCounters
  private readonly scope: Scope
  private time: Histogram | null = null

  constructor(scope: Scope) {
    this.scope = scope
    this.total = scope.counter('upstream_rq_total')
    this.timeout = scope.counter('upstream_rq_timeout')
    this.retry = scope.counter('upstream_rq_retry')
    this.retrySuccess = scope.counter('upstream_rq_retry_success')
    this.retryOverflow = scope.counter('upstream_rq_retry_overflow')
    this.retryLimitExceeded = scope.counter('upstream_rq_retry_limit_exceeded')
    this.codes = new CodeCounters(scope, '')
  }

  /** An answer that went downstream. */
  countResponse(status: number): void {
    this.codes.count(status)
  }

  /** Milliseconds from the complete request to the complete response. */
  recordTime(ms: number): void {
    this.time ??= this.scope.histogram('upstream_rq_time', 'ms')
    this.time.record(ms)
  }
}

/** Counters that have a name of their own in RequestStats. */
export type RequestCounter = 'total' | 'timeout' | 'retry' | 'retrySuccess' | 'retryOverflow' | 'retryLimitExceeded'

/** No route or virtual cluster wants to be counted. */
const NONE: readonly RequestStats[] = []

/** Counts one event for all of `list`. */
export function countAll(list: readonly RequestStats[], name: RequestCounter): void {
  for (let i = 0; i < list.length; i++) list[i]![name].inc()
}

export class RouteStats {
  private readonly root: Scope
  private readonly byPrefix = new Map<string, RequestStats>()

  constructor(root: Scope) {
    this.root = root
  }

  /** Who counts a request of `route`. `virtualCluster` '' = the catch-all, where the virtual host has any. */
  of(route: Route, virtualCluster: string): readonly RequestStats[] {
    const { statPrefix, virtualHost } = route
    const { name, hasVirtualClusters } = virtualHost
    if (statPrefix === '' && !hasVirtualClusters) return NONE
    const list: RequestStats[] = []
    if (hasVirtualClusters) list.push(this.at(`vhost.${name}.vcluster.${virtualCluster || CATCH_ALL}`))
    if (statPrefix !== '') list.push(this.at(`vhost.${name}.route.${statPrefix}`))
    return list
  }

  private at(prefix: string): RequestStats {
    let stats = this.byPrefix.get(prefix)
    if (!stats) {
      stats = new RequestStats(this.root.scope(prefix))
      this.byPrefix.set(prefix, stats)
    }
    return stats
  }
}
