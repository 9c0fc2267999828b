// Stats of the process itself (`server.*`, `listener_manager.workers_started`), and the collection of all threads' stats.

import { errorText } from '../../base/errors.ts'
import { memoryUsage } from '../../base/memory-usage.ts'
import type { ServerState } from '../admin/source.ts'
import { durationMsOr } from '../config/duration.ts'
import type { MergedStats } from '../observe/merged-stats.ts'
import type { Counter, Gauge } from '../observe/stats.ts'
import { Certificates } from './certificates.ts'
import { endpointCountsOf } from './cluster-status.ts'
import { Faults } from './faults.ts'
import { mergeRuntime } from './runtime.ts'
import type { ServerContext } from './start-proxy.ts'
import { parseStatsSinks } from './stats-sinks/config.ts'
import { StatsSinks } from './stats-sinks/sinks.ts'
import { PROXY_VERSION } from './version.ts'
import { Watchdog } from './watchdog.ts'

/** Envoy's numbers of the states. */
const STATE_NUMBER: Readonly<Record<ServerState, number>> = {
  LIVE: 0,
  DRAINING: 1,
  PRE_INITIALIZING: 2,
  INITIALIZING: 3,
}
/** bootstrap.stats_flush_interval's default. */
const DEFAULT_FLUSH_INTERVAL_MS = 5000

/** Collects on demand (admin) and at every flush interval, which also closes the histograms' interval. */
export class ServerStats {
  private readonly context: ServerContext
  private readonly state: Gauge
  private readonly live: Gauge
  private readonly uptime: Gauge
  private readonly memoryAllocated: Gauge
  private readonly memoryHeapSize: Gauge
  private readonly memoryPhysicalSize: Gauge
  private readonly totalConnections: Gauge
  private readonly daysUntilExpiry: Gauge
  private readonly secondsUntilOcspExpiry: Gauge
  private readonly runtimeKeys: Gauge
  private readonly adminOverrides: Gauge
  private readonly flushFailures: Counter
  /** null = each look at the stats is a flush (stats_flush_on_admin). */
  private readonly timer: NodeJS.Timeout | null
  private readonly sinks: StatsSinks
  private readonly watchdog: Watchdog
  /** One collection at a time: deltas must be applied in order. */
  private collecting: Promise<MergedStats> | null = null

  readonly certificates: Certificates
  /** Faults of the main thread. */
  readonly faults: Faults

  constructor(context: ServerContext) {
    this.context = context
    const { store, options } = context
    const server = store.scope('server')
    this.state = server.gauge('state')
    this.live = server.gauge('live')
    this.uptime = server.gauge('uptime')
    this.memoryAllocated = server.gauge('memory_allocated')
    this.memoryHeapSize = server.gauge('memory_heap_size')
    this.memoryPhysicalSize = server.gauge('memory_physical_size')
    this.flushFailures = server.counter('dropped_stat_flushes')
    server.gauge('concurrency').set(options.concurrency)
    server.gauge('hot_restart_epoch').set(0)
    const { bootstrap } = options
    const version = bootstrap.statsServerVersionOverride
    server
      .gauge('version')
      .set(version === undefined ? Number.parseInt(PROXY_VERSION.replaceAll('.', ''), 10) : Number(version))
    // What can never move here, but dashboards ask for: we have no hot restart and no debug build.
    server.gauge('parent_connections').set(0)
    server.gauge('compilation_settings.fips_mode').set(0)
    for (const name of ['static_unknown_fields', 'wip_protos', 'envoy_notifications']) server.counter(name)
    server.counter('debug_assertion_failures')
    this.faults = new Faults(server.counter('envoy_bug_failures'), context.loggers.of('envoy_bug'))
    this.totalConnections = server.gauge('total_connections')
    this.certificates = new Certificates(context)
    this.secondsUntilOcspExpiry = server.gauge('seconds_until_first_ocsp_response_expiring')
    this.daysUntilExpiry = server.gauge('days_until_first_cert_expiring')
    const runtime = store.scope('runtime')
    runtime.counter('load_success').inc()
    runtime.counter('load_error')
    runtime.gauge('num_layers').set(context.runtimeLayers.length)
    this.runtimeKeys = runtime.gauge('num_keys')
    this.adminOverrides = runtime.gauge('admin_overrides_active')
    // Static and admin layers have no directory, and no field that is deprecated is accepted with a warning.
    for (const name of ['override_dir_exists', 'override_dir_not_exists', 'deprecated_feature_use'])
      runtime.counter(name)
    runtime.gauge('deprecated_feature_seen_since_process_start').set(0)
    this.watchdog = new Watchdog(context.watchdogs.main, store, 'main_thread', 'main_thread')
    this.sinks = new StatsSinks(parseStatsSinks(bootstrap), context.statsSettings.tags, options.log)
    const onAdmin = bootstrap.statsFlush.case === 'statsFlushOnAdmin'
    const intervalMs = durationMsOr(bootstrap.statsFlushInterval, DEFAULT_FLUSH_INTERVAL_MS)
    this.timer = onAdmin ? null : setInterval(() => this.flush(), intervalMs)
    this.timer?.unref()
  }

  /** Every thread's stats as of now. */
  collect(): Promise<MergedStats> {
    this.collecting ??= this.gather().finally(() => {
      this.collecting = null
    })
    return this.collecting
  }

  /** The workers serve (`listener_manager.workers_started`); `startMs` is how long the start took. */
  started(startMs: number): void {
    this.context.store.scope('listener_manager').gauge('workers_started').set(1)
    this.context.store.scope('server').histogram('initialization_time_ms', 'ms').record(startMs)
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer)
    this.sinks.close()
    this.watchdog.close()
  }

  /** As collect(), for the admin pages. */
  async look(): Promise<MergedStats> {
    const merged = await this.collect()
    if (this.timer === null) await this.emit(merged)
    return merged
  }

  private async emit(merged: MergedStats): Promise<void> {
    merged.flushHistograms()
    if (this.sinks.any) this.sinks.flush(merged, await endpointCountsOf(this.context))
  }

  private flush(): void {
    this.collect()
      .then((merged) => this.emit(merged))
      .catch((error: unknown) => {
        this.flushFailures.inc()
        this.context.options.log.warn({ reason: errorText(error) }, 'stats were not collected')
      })
  }

  private async gather(): Promise<MergedStats> {
    const { context } = this
    const state: ServerState = context.healthCheckFailing && context.state === 'LIVE' ? 'DRAINING' : context.state
    const usage = memoryUsage()
    this.state.set(STATE_NUMBER[state])
    this.live.set(state === 'DRAINING' ? 0 : 1)
    this.uptime.set(Math.floor((Date.now() - context.startTime.getTime()) / 1000))
    if (usage !== null) {
      this.memoryAllocated.set(usage.heapUsed + usage.external)
      this.memoryHeapSize.set(usage.heapTotal + usage.external)
      this.memoryPhysicalSize.set(usage.rss)
    }
    const expiry = this.certificates.expiry()
    this.daysUntilExpiry.set(expiry.days)
    this.secondsUntilOcspExpiry.set(expiry.ocspSeconds)
    this.runtimeKeys.set(Object.keys(mergeRuntime(context.runtimeLayers)).length)
    this.adminOverrides.set(
      context.runtimeLayers.some((layer) => layer.admin && Object.keys(layer.values).length > 0) ? 1 : 0,
    )
    const deltas = await context.workers.query('stats')
    for (const [i, delta] of deltas.entries()) context.merged.apply(`worker_${i}`, delta)
    this.totalConnections.set(downstreamConnections(context.merged))
    context.merged.apply('main', context.store.takeDelta())
    return context.merged
  }
}

/** Open connections of all listeners. */
function downstreamConnections(merged: MergedStats): number {
  let connections = 0
  for (const { name, value } of merged.all()) {
    if (name.startsWith('listener.') && name.endsWith('.downstream_cx_active') && !name.includes('.worker_'))
      connections += value
  }
  return connections
}
