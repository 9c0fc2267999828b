// What all streams of one configured router share: its configuration, counters and logs.

import type { WorkerContext } from '../../../config/extension.ts'
import { localAddress } from '../../../http/connection-manager/remote-address.ts'
import type { ChainEntry } from '../../../http/connection-manager/shared.ts'
import type { AccessLog } from '../../../observe/access-log.ts'
import type { Counter } from '../../../observe/stats.ts'
import type { RouterConfig } from './config.ts'
import { type PassedRedirects, passedRedirects } from './internal-redirect.ts'
import { RouteStats } from './route-stats.ts'

export interface RouterShared {
  readonly config: RouterConfig
  readonly context: WorkerContext
  readonly upstreamLogs: readonly AccessLog[]
  /** For clusters without upstream HTTP filters of their own. */
  readonly upstreamFilters: readonly ChainEntry[]
  readonly noRoute: Counter
  readonly noCluster: Counter
  readonly rqDirectResponse: Counter
  readonly rqTotal: Counter
  readonly resetAfterStart: Counter
  readonly passedRedirects: PassedRedirects
  /** In x-forwarded-for of requests of the proxy's own. */
  readonly ownAddress: string
  readonly routeStats: RouteStats
}

/** `statPrefix`: of the connection manager. */
export function createRouterShared(config: RouterConfig, context: WorkerContext, statPrefix: string): RouterShared {
  const scope = context.stats.scope(`http.${statPrefix}`)
  // Envoy has the name and counts nothing in it: redirects are direct responses.
  scope.counter('rq_redirect')
  // Of load shed points that are refused here.
  scope.counter('rq_overload_local_reply')
  return {
    config,
    context,
    upstreamLogs: config.upstreamLogs.map((log) => context.createAccessLog(log)),
    upstreamFilters: config.upstreamFilters.map(({ name, disabled, filter }) => ({
      name,
      disabled,
      factory: context.createHttpFilter(filter, statPrefix),
    })),
    noRoute: scope.counter('no_route'),
    noCluster: scope.counter('no_cluster'),
    rqDirectResponse: scope.counter('rq_direct_response'),
    rqTotal: scope.counter('rq_total'),
    passedRedirects: passedRedirects(scope),
    ownAddress: localAddress(),
    resetAfterStart: scope.counter('rq_reset_after_downstream_response_started'),
    routeStats: new RouteStats(context.stats),
  }
}
