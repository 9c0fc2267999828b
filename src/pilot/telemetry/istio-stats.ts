// Configuration of istio.stats: Istio's standard metrics, with the overrides that Telemetry asks for.
import { create } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { type PluginConfig, PluginConfigSchema, Reporter } from '../../api/gen/istio/stats_pb.js'
import type { IstioMetric } from '../../config/index.ts'
import { durationOf } from '../xds/messages.ts'
import type { EffectiveMetrics } from './telemetry.ts'

const METRIC_NAMES: Readonly<Record<Exclude<IstioMetric, 'ALL_METRICS'>, string>> = {
  REQUEST_COUNT: 'requests_total',
  REQUEST_DURATION: 'request_duration_milliseconds',
  REQUEST_SIZE: 'request_bytes',
  RESPONSE_SIZE: 'response_bytes',
  TCP_OPENED_CONNECTIONS: 'tcp_connections_opened_total',
  TCP_CLOSED_CONNECTIONS: 'tcp_connections_closed_total',
  TCP_SENT_BYTES: 'tcp_sent_bytes_total',
  TCP_RECEIVED_BYTES: 'tcp_received_bytes_total',
  GRPC_REQUEST_MESSAGES: 'request_messages_total',
  GRPC_RESPONSE_MESSAGES: 'response_messages_total',
}

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
    const metric = override.match?.metric
    const custom = override.match?.customMetric
    const dimensions: Record<string, string> = {}
    const tagsToRemove: string[] = []
    for (const [tag, change] of Object.entries(override.tagOverrides ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (change.operation === 'REMOVE') tagsToRemove.push(tag)
      else dimensions[tag] = change.value ?? ''
    }
    const all = metric === undefined || metric === 'ALL_METRICS'
    const name = custom ?? (all ? '' : METRIC_NAMES[metric])
    const entry = { name, dimensions, tagsToRemove, drop: override.disabled === true }
    config.metrics.push({ $typeName: 'stats.MetricConfig', match: '', ...entry })
  }
  return config
}
