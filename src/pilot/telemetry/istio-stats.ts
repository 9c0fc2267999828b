// Configuration of istio.stats: Istio's standard metrics, with the overrides that Telemetry asks for.
import { create } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { type PluginConfig, PluginConfigSchema, Reporter } from '../../api/gen/istio/stats_pb.js'
import { durationOf } from '../xds/messages.ts'
import { METRIC_NAMES } from './metric-names.ts'
import type { EffectiveMetrics } from './telemetry.ts'

const memo = new WeakMap<EffectiveMetrics, Map<boolean, Any>>()

/** `fallback`: the host header may stand in for an unknown destination service (clients only). */
export function istioStatsConfig(metrics: EffectiveMetrics, fallback: boolean): Any {
  let byFallback = memo.get(metrics)
  if (!byFallback) memo.set(metrics, (byFallback = new Map()))
  let packed = byFallback.get(fallback)
  if (!packed) byFallback.set(fallback, (packed = anyPack(PluginConfigSchema, build(metrics, fallback))))
  return packed
}

function build(metrics: EffectiveMetrics, fallback: boolean): PluginConfig {
  const config = create(PluginConfigSchema, { disableHostHeaderFallback: !fallback, reporter: Reporter.UNSPECIFIED })
  if (metrics.reportingInterval !== undefined) config.tcpReportingDuration = durationOf(metrics.reportingInterval)
  for (const override of metrics.overrides) {
    const dimensions: Record<string, string> = {}
    const tagsToRemove: string[] = []
    for (const [tag, change] of Object.entries(override.tagOverrides).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (change.operation === 'REMOVE') tagsToRemove.push(tag)
      else dimensions[tag] = change.value ?? ''
    }
    const name = (METRIC_NAMES as Readonly<Record<string, string>>)[override.metric] ?? override.metric
    const entry = { name, dimensions, tagsToRemove, drop: override.disabled }
    config.metrics.push({ $typeName: 'stats.MetricConfig', match: '', ...entry })
  }
  return config
}
