// One worker: the whole data plane of a thread. It knows no protobuf, only parsed configuration.

import { createLogger, isLogLevel } from '../../base/logger.ts'
import type {
  HttpFilterExtension,
  NetworkFilterExtension,
  ParsedExtension,
  WorkerContext,
} from '../config/extension.ts'
import { createAccessLog } from '../filters/access-loggers/create.ts'
import { registerExtensions } from '../filters/register.ts'
import type { Address } from '../network/connection.ts'
import { WorkerPorts } from '../network/connection-balance.ts'
import { setConnectionIdRange } from '../network/connection-info.ts'
import { ConnectionLimits } from '../network/connection-limits.ts'
import { ServerDrain } from '../network/drain.ts'
import { setFaultReporter } from '../network/fault.ts'
import { OverloadState } from '../network/overload-state.ts'
import { prepareSend } from '../network/send.ts'
import { SecretStore } from '../network/tls/secret-store.ts'
import { WorkerListeners } from '../network/worker-listeners.ts'
import { AccessLogFiles } from '../observe/access-log-file.ts'
import { Loggers } from '../observe/loggers.ts'
import { compileStatsFilter } from '../observe/stats-settings.ts'
import { StatsStore } from '../observe/stats-store.ts'
import type { RouteTable } from '../route/route.ts'
import { changeRouteTable, compileRouteTable } from '../route/route-table.ts'
import { createPeers } from '../upstream/peers.ts'
import { WorkerClusters } from '../upstream/worker-clusters.ts'
import { Faults } from './faults.ts'
import type { WorkerAnswers, WorkerQuery, WorkerSettings, WorkerUpdate } from './messages.ts'
import { Runtime } from './runtime.ts'
import { Watchdog } from './watchdog.ts'

export class DataPlaneWorker {
  readonly stats: StatsStore
  readonly faults: Faults
  private readonly loggers: Loggers
  private readonly runtime: Runtime
  private readonly secrets: SecretStore
  private readonly routes = new Map<string, RouteTable>()
  /** Of ECDS. */
  private readonly extensions = new Map<string, ParsedExtension>()
  private readonly files: AccessLogFiles
  private readonly drain: ServerDrain
  private readonly watchdog: Watchdog
  private readonly clusters: WorkerClusters
  private readonly listeners: WorkerListeners

  constructor(settings: WorkerSettings) {
    this.secrets = new SecretStore(settings.peers.leads)
    setConnectionIdRange(settings.index, settings.concurrency)
    prepareSend()
    const level = isLogLevel(settings.logLevel) ? settings.logLevel : 'info'
    this.loggers = new Loggers(createLogger(`worker_${settings.index}`, level))
    this.stats = new StatsStore(compileStatsFilter(settings.stats))
    this.faults = new Faults(this.stats.scope('server').counter('envoy_bug_failures'), this.loggers.of('envoy_bug'))
    setFaultReporter((error, where) => this.faults.report(error, where))
    this.runtime = new Runtime(settings.runtime)
    this.watchdog = new Watchdog(settings.watchdog, this.stats, `worker_${settings.index}`, 'workers')
    this.files = new AccessLogFiles(settings.fileFlushIntervalMs, settings.fileFlushMinBytes, this.stats)
    this.drain = new ServerDrain(settings.drainTimeMs, settings.drainImmediate)
    const registry = registerExtensions()
    const overload = settings.overload === null ? null : new OverloadState(settings.overload, this.stats)
    this.clusters = new WorkerClusters({
      stats: this.stats,
      log: this.loggers.of('upstream'),
      secrets: this.secrets,
      runtime: this.runtime,
      node: settings.node,
      ...(settings.localClusterName && { localClusterName: settings.localClusterName }),
      workerIndex: settings.index,
      peers: createPeers(settings.peers),
      openLog: (path) => this.files.open(path),
      uncounted: new StatsStore(() => false).scope('uncounted'),
      createUpstreamFilter: (parsed) => {
        const extension = registry.get('network_filter', parsed.typeUrl) as unknown as NetworkFilterExtension
        return { alpn: extension.upstreamAlpn?.(parsed.config) ?? null, factory: extension.create(parsed.config, base) }
      },
      createUpstreamHttpFilter: (parsed, stats) => ({ ...base, stats }).createHttpFilter(parsed, ''),
    })
    const base: WorkerContext = {
      workerIndex: settings.index,
      concurrency: settings.concurrency,
      clusters: this.clusters,
      stats: this.stats,
      log: this.loggers.of('conn_handler'),
      node: settings.node,
      routeTable: (name) => this.routes.get(name) ?? null,
      discovered: (name) => this.extensions.get(name) ?? null,
      runtime: this.runtime,
      createAccessLog: (parsed) => createAccessLog(parsed, this.files, this.runtime),
      createHttpFilter(parsed, statPrefix) {
        const extension = registry.get('http_filter', parsed.typeUrl) as unknown as HttpFilterExtension
        return extension.create(parsed.config, this, statPrefix)
      },
      drain: { drainClose: () => false, healthCheckFailed: false },
      overload,
      listener: null,
    }
    this.listeners = new WorkerListeners({
      base,
      registry,
      secrets: this.secrets,
      drain: this.drain,
      ports: settings.connectionPorts.length === 0 ? null : new WorkerPorts(settings.connectionPorts),
      limits: new ConnectionLimits(this.runtime, settings.openConnections, settings.maxDownstreamConnections, overload),
    })
  }

  /** Applies one update; the addresses that a listener bound, else null. Rejects with the reason, having changed nothing. */
  async apply(update: WorkerUpdate): Promise<readonly Address[] | null> {
    switch (update.kind) {
      case 'listener':
        return this.listeners.apply(update.config)
      case 'remove-listener':
        this.listeners.remove(update.name)
        return null
      case 'cluster':
        this.clusters.applyCluster(update.cluster, update.endpoints)
        return null
      case 'remove-cluster':
        this.clusters.removeCluster(update.name)
        return null
      case 'endpoints':
        this.clusters.applyEndpoints(update.cluster, update.service, update.endpoints)
        return null
      case 'routes':
        this.routes.set(update.config.name, compileRouteTable(update.config, this.runtime, this.stats))
        return null
      case 'change-routes': {
        const { name } = update.change.config
        this.routes.set(name, changeRouteTable(this.routes.get(name)!, update.change))
        return null
      }
      case 'remove-routes':
        this.routes.delete(update.name)
        return null
      case 'extension':
        this.extensions.set(update.name, update.parsed)
        return null
      case 'remove-extension':
        this.extensions.delete(update.name)
        return null
      case 'secret':
        this.secrets.set(update.secret)
        return null
      case 'remove-secret':
        this.secrets.delete(update.key)
        return null
      case 'runtime':
        this.runtime.replace(update.values)
        return null
      case 'health-check':
        this.drain.healthCheckFailed = update.failed
        return null
      case 'start-drain':
        this.drain.start(update.inboundOnly)
        return null
      case 'accept-connections':
        this.listeners.setAccepting(update.accepting)
        return null
      case 'stop-listeners':
        this.listeners.stopListeners(update.inboundOnly)
        return null
      case 'log-level':
        this.loggers.set(update.logger, update.level)
        return null
      case 'reopen-logs':
        this.files.reopen()
        return null
      case 'close':
        this.watchdog.close()
        this.listeners.close()
        this.clusters.close()
        await this.files.close()
        return null
    }
  }

  /** Resolves when the newest version of a cluster serves. */
  whenWarm(cluster: string): Promise<void> {
    return this.clusters.whenWarm(cluster)
  }

  answer<Q extends WorkerQuery>(query: Q): WorkerAnswers[Q] {
    const answers: { [K in WorkerQuery]: () => WorkerAnswers[K] } = {
      stats: () => this.stats.takeDelta(),
      clusters: () => this.clusters.status(),
      connections: () => this.listeners.connectionCount,
    }
    return answers[query]()
  }
}
