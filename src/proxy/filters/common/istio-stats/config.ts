// istio.stats: configuration, of the HTTP and of the network filter alike (envoy-contract §11.1).

import { type PluginConfig, Reporter } from '../../../../api/gen/istio/stats_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { ParseContext } from '../../../config/extension.ts'
import { type DimensionValue, parseDimension } from './dimension.ts'

/** Changes of one metric, or of all of them (`name` ''). */
export interface MetricOverride {
  readonly name: string
  readonly drop: boolean
  readonly tagsToRemove: readonly string[]
  readonly dimensions: readonly (readonly [tag: string, value: DimensionValue])[]
}

export interface IstioStatsConfig {
  readonly disableHostHeaderFallback: boolean
  readonly tcpReportingMs: number
  readonly serverGateway: boolean
  readonly overrides: readonly MetricOverride[]
}

const DEFAULT_TCP_REPORTING_MS = 5000

export function parseIstioStats(config: PluginConfig, context: ParseContext): IstioStatsConfig {
  if (config.definitions.length > 0) {
    throw new ConfigError(
      context.at('definitions').path,
      'custom metrics are not supported by this proxy; remove the field',
    )
  }
  return {
    disableHostHeaderFallback: config.disableHostHeaderFallback,
    // Zero means: only at the end, as in Istio.
    tcpReportingMs: durationMsOr(config.tcpReportingDuration, DEFAULT_TCP_REPORTING_MS),
    serverGateway: config.reporter === Reporter.SERVER_GATEWAY,
    overrides: config.metrics.map((metric, i) => {
      const at = context.at(`metrics[${i}]`)
      if (metric.match !== '')
        throw new ConfigError(at.at('match').path, 'is not supported by this proxy; remove the field')
      return {
        name: metric.name,
        drop: metric.drop,
        tagsToRemove: metric.tagsToRemove,
        dimensions: Object.entries(metric.dimensions).map(
          ([tag, expression]) => [tag, parseDimension(expression, at.at(`dimensions["${tag}"]`).path)] as const,
        ),
      }
    }),
  }
}
