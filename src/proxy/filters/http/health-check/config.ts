// envoy.filters.http.health_check: configuration.

import {
  type HealthCheck,
  HealthCheckSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/health_check/v3/health_check_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { type HeaderMatcherData, parseHeaderMatchers } from '../../../route/header-matcher.ts'
import { createHealthCheckFilter } from './filter.ts'

export interface HealthCheckConfig {
  /** Checks are for the upstream, unless the proxy itself is to fail or a cached answer will do. */
  readonly passThrough: boolean
  /** 0 = the upstream answers every one. */
  readonly cacheTimeMs: number
  /** Clusters that must be that healthy, in percent, in the order of their names. */
  readonly clusters: readonly { readonly name: string; readonly minHealthyPercent: number }[]
  /** What is a health check. */
  readonly headers: readonly HeaderMatcherData[]
}

export const healthCheckFilter: HttpFilterExtension<HealthCheckConfig> = {
  name: 'envoy.filters.http.health_check',
  desc: HealthCheckSchema,
  parse: (message, context) => {
    const { passThroughMode, cacheTime, clusterMinHealthyPercentages, headers } = message as HealthCheck
    if (!passThroughMode && cacheTime)
      throw new ConfigError(context.at('cache_time').path, 'must not be set without pass_through_mode')
    return {
      passThrough: passThroughMode ?? false,
      cacheTimeMs: durationMsOr(cacheTime, 0),
      clusters: Object.entries(clusterMinHealthyPercentages)
        .map(([name, { value }]) => ({ name, minHealthyPercent: value }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      headers: parseHeaderMatchers(headers, context.at('headers').path),
    }
  },
  create: createHealthCheckFilter,
}
