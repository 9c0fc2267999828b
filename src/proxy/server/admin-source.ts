// The server as the admin pages see it.

import { create } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { type Certificates, CertificatesSchema } from '../../api/gen/envoy/admin/v3/certs_pb.js'
import {
  CommandLineOptions_DrainStrategy,
  CommandLineOptionsSchema,
} from '../../api/gen/envoy/admin/v3/server_info_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { errorText } from '../../base/errors.ts'
import type { AdminSource, ClusterStatusData, ConfigDumpSource, DumpedResource, RuntimeDump } from '../admin/source.ts'
import { unpackAs } from '../config/extension-registry.ts'
import { levelWord } from '../observe/loggers.ts'
import { compileBuckets } from '../observe/stats-settings.ts'
import { TagExtractor } from '../observe/tag-extraction.ts'
import { describeNode } from './ads.ts'
import { clusterStatusOf, endpointCountsOf } from './cluster-status.ts'
import { drainListeners } from './drain.ts'
import { endpointDump } from './endpoint-dump.ts'
import type { WorkerUpdate } from './messages.ts'
import { dumped, staticResource } from './resource.ts'
import { mergeRuntime, type RuntimeValue } from './runtime.ts'
import type { ServerStats } from './server-stats.ts'
import type { ServerContext } from './start-proxy.ts'
import { BUILD_VERSION } from './version.ts'

/** `quit` ends the process. */
export function createAdminSource(context: ServerContext, stats: ServerStats, quit: () => void): AdminSource {
  const { options, workers, statsSettings } = context
  const apply = (update: WorkerUpdate): void => {
    workers
      .apply(update)
      .catch((error: unknown) => options.log.error({ reason: errorText(error) }, `${update.kind} failed`))
  }
  const clusters = async (): Promise<ClusterStatusData[]> => clusterStatusOf(context)
  return {
    version: BUILD_VERSION,
    state: () => (context.healthCheckFailing && context.state === 'LIVE' ? 'DRAINING' : context.state),
    startTime: context.startTime,
    node: describeNode(options.bootstrap.node, context.registry),
    commandLineOptions: create(CommandLineOptionsSchema, {
      configPath: options.configPath,
      concurrency: options.concurrency,
      drainTime: { seconds: BigInt(options.drainTimeS), nanos: 0 },
      drainStrategy:
        options.drainStrategy === 'immediate'
          ? CommandLineOptions_DrainStrategy.Immediate
          : CommandLineOptions_DrainStrategy.Gradual,
      logLevel: levelWord(options.log),
      fileFlushInterval: durationFromMs(options.fileFlushIntervalMs),
      fileFlushMinSize: options.fileFlushMinSizeKb,
      rejectUnknownDynamicFields: options.rejectUnknownDynamicFields,
      disableHotRestart: true,
      serviceCluster: options.bootstrap.node?.cluster ?? '',
      serviceNode: options.bootstrap.node?.id ?? '',
    }),
    config: configDump(context, clusters),
    clusters,
    endpointCounts: () => endpointCountsOf(context),
    listeners: () => context.listeners.status(),
    stats: () => stats.look(),
    statsTags: new TagExtractor(statsSettings.tags),
    histogramBuckets: compileBuckets(statsSettings),
    certificates: (): Certificates => create(CertificatesSchema, { certificates: stats.certificates.page() }),
    runtime: () => runtimeDump(context),
    modifyRuntime: (values) => modifyRuntime(context, values, apply),
    unreadyTargets: () => context.warming.unready(),
    logLevels: () => context.loggers.levels(),
    setLogLevel: (logger, level) => {
      if (!context.loggers.set(logger, level)) return false
      apply({ kind: 'log-level', logger, level })
      return true
    },
    drainListeners: (drain) => drainListeners(context, drain),
    setHealthCheckFailing: (failing) => {
      context.healthCheckFailing = failing
      apply({ kind: 'health-check', failed: failing })
    },
    reopenLogs: () => apply({ kind: 'reopen-logs' }),
    quit,
  }
}

function configDump(context: ServerContext, clusters: () => Promise<readonly ClusterStatusData[]>): ConfigDumpSource {
  return {
    bootstrap: () => ({ bootstrap: context.options.bootstrap, lastUpdated: context.startTime }),
    clusters: () => context.clusters.dump(),
    endpoints: async () => endpointDump(await clusters(), context.clusters),
    listeners: () => context.listeners.dump(),
    routes: () => ({ static: staticRoutes(context), dynamic: context.routes.dump() }),
    secrets: () => context.secrets.dump(),
    ecds: () => context.extensions.dump(),
  }
}

/** Route configurations that stand inside connection managers. */
function staticRoutes(context: ServerContext): DumpedResource[] {
  const found: DumpedResource[] = []
  for (const { listener } of context.listeners.activeMessages()) {
    for (const chain of [
      ...listener.filterChains,
      ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : []),
    ]) {
      for (const filter of chain.filters) {
        if (
          filter.configType.case !== 'typedConfig' ||
          !filter.configType.value.typeUrl.endsWith('.HttpConnectionManager')
        )
          continue
        const hcm = unpackAs(filter.configType.value, HttpConnectionManagerSchema, filter.name)
        if (hcm.routeSpecifier.case !== 'routeConfig') continue
        const config = hcm.routeSpecifier.value
        found.push(dumped(RouteConfigurationSchema, staticResource(RouteConfigurationSchema, config.name, config)))
      }
    }
  }
  return found
}

function runtimeText(value: RuntimeValue): string {
  return typeof value === 'object' ? `${value.millionths}/1000000` : String(value)
}

function runtimeDump({ runtimeLayers }: ServerContext): RuntimeDump {
  const merged = mergeRuntime(runtimeLayers)
  const entries: Record<string, { layerValues: string[]; finalValue: string }> = {}
  for (const [key, value] of Object.entries(merged)) {
    entries[key] = {
      layerValues: runtimeLayers.map((layer) => (key in layer.values ? runtimeText(layer.values[key]!) : '')),
      finalValue: runtimeText(value),
    }
  }
  return { layers: runtimeLayers.map((layer) => layer.name), entries }
}

function modifyRuntime(
  { runtimeLayers }: ServerContext,
  values: ReadonlyMap<string, string>,
  apply: (update: WorkerUpdate) => void,
): boolean {
  const at = runtimeLayers.findIndex((layer) => layer.admin)
  if (at < 0) return false
  const next: Record<string, RuntimeValue> = { ...runtimeLayers[at]!.values }
  for (const [key, value] of values) {
    if (value === '') delete next[key]
    else next[key] = parseValue(value)
  }
  runtimeLayers[at] = { ...runtimeLayers[at]!, values: next }
  apply({ kind: 'runtime', values: mergeRuntime(runtimeLayers) })
  return true
}

function parseValue(text: string): RuntimeValue {
  if (text === 'true' || text === 'false') return text === 'true'
  const number = Number(text)
  return text.trim() === '' || Number.isNaN(number) ? text : number
}
