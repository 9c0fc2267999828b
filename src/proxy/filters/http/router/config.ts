// envoy.filters.http.router: configuration.

import { type Router, RouterSchema } from '../../../../api/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import type { HttpFilterExtension, ParsedExtension } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { parseAccessLog } from '../../../observe/access-log-config.ts'
import type { UpstreamHttpFilterData } from '../../../upstream/config.ts'
import { parseUpstreamHttpFilters } from '../../../upstream/parse-http-filters.ts'
import { createRouter } from './filter.ts'

export interface RouterConfig {
  /** Counters per response code. */
  readonly dynamicStats: boolean
  /** Each attempt has a span of its own (as with spawn_upstream_span). */
  readonly startChildSpan: boolean
  /** No x-envoy-* headers are added on either side. */
  readonly suppressEnvoyHeaders: boolean
  /** Lower case; a request with an invalid value in one of them is refused. */
  readonly strictCheckHeaders: readonly string[]
  readonly respectExpectedTimeout: boolean
  readonly suppressGrpcFailureStats: boolean
  /** Written at the end of every upstream attempt. */
  readonly upstreamLogs: readonly ParsedExtension[]
  /** For clusters that have none of their own. */
  readonly upstreamFilters: readonly UpstreamHttpFilterData[]
}

const SUPPORTED = new Set([
  'dynamic_stats',
  'start_child_span',
  'upstream_log',
  'suppress_envoy_headers',
  'strict_check_headers',
  'respect_expected_rq_timeout',
  'suppress_grpc_request_failure_code_stats',
  'upstream_http_filters',
])

export const routerFilter: HttpFilterExtension<RouterConfig> = {
  name: 'envoy.filters.http.router',
  desc: RouterSchema,
  terminal: true,
  parse: (message, context) => {
    const router = message as Router
    refuseUnsupported(RouterSchema, router, SUPPORTED, context.path)
    return {
      dynamicStats: router.dynamicStats ?? true,
      startChildSpan: router.startChildSpan,
      suppressEnvoyHeaders: router.suppressEnvoyHeaders,
      strictCheckHeaders: router.strictCheckHeaders.map((name) => name.toLowerCase()),
      respectExpectedTimeout: router.respectExpectedRqTimeout,
      suppressGrpcFailureStats: router.suppressGrpcRequestFailureCodeStats,
      upstreamLogs: router.upstreamLog.map((log, i) => parseAccessLog(log, context.at(`upstream_log[${i}]`))),
      upstreamFilters: parseUpstreamHttpFilters(router.upstreamHttpFilters, context, 'upstream_http_filters'),
    }
  },
  create: createRouter,
}
