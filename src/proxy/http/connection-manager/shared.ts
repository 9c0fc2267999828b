// What all connections of one configured connection manager share in a worker.

import { type TimeoutQueue, timeoutQueue } from '../../../base/timeout-queue.ts'
import type { DrainState, RuntimeSnapshot, WorkerContext } from '../../config/extension.ts'
import type { OverloadState } from '../../network/overload-state.ts'
import type { AccessLog } from '../../observe/access-log.ts'
import { HeaderMutations } from '../../route/header-mutation.ts'
import type { Route, RouteTable } from '../../route/route.ts'
import { compileRouteTable } from '../../route/route-table.ts'
import type { ClusterManager } from '../../upstream/cluster-manager.ts'
import { Protocol } from '../codec.ts'
import type { HttpFilterFactory } from '../filter.ts'
import { Http1Stats } from '../h1/stats.ts'
import { Http2Stats } from '../h2/stats.ts'
import type { PathOptions } from '../path.ts'
import { compileLocalReplies } from './compile-local-replies.ts'
import type { HcmConfig, Http2Options, HttpFilterConfig, ProxyStatusConfig } from './config.ts'
import { discoveredFilter } from './discovered-filter.ts'
import type { LocalReplies } from './local-replies.ts'
import { localAddress } from './remote-address.ts'
import type { LocalNode } from './request-headers.ts'
import { HcmStats } from './stats.ts'
import { HcmTracing, TracingStats } from './tracing.ts'

/** One entry of http_filters, ready to make instances. */
export interface ChainEntry {
  readonly name: string
  readonly disabled: boolean
  readonly factory: HttpFilterFactory
}

/** Of a connection manager without a listener. */
const DEFAULT_BUFFER_LIMIT = 1024 * 1024

export class SharedState {
  readonly config: HcmConfig
  readonly stats: HcmStats
  readonly http2Options: Http2Options
  readonly node: LocalNode
  readonly clusters: ClusterManager
  readonly runtime: RuntimeSnapshot
  readonly drain: DrainState
  readonly tracingStats: TracingStats
  readonly proxyStatus: ProxyStatusConfig | null
  readonly tracing: HcmTracing | null
  readonly overload: OverloadState | null
  readonly accessLogs: readonly AccessLog[]
  readonly localReplies: LocalReplies
  readonly pathOptions: PathOptions
  readonly earlyHeaderMutations: readonly HeaderMutations[]
  readonly streamIdleQueue: TimeoutQueue | null
  readonly requestQueue: TimeoutQueue | null
  readonly headersQueue: TimeoutQueue | null
  readonly durationQueue: TimeoutQueue | null
  readonly connectionIdleQueue: TimeoutQueue | null
  readonly drainQueue: TimeoutQueue | null
  readonly accessLogQueue: TimeoutQueue | null
  private readonly context: WorkerContext
  private readonly inlineTable: RouteTable | null
  /** For requests that are no upgrade. */
  readonly chain: readonly ChainEntry[]
  private http1: Http1Stats | null = null
  private http2: Http2Stats | null = null
  private readonly upgradeChains = new Map<string, { enabled: boolean; chain: readonly ChainEntry[] }>()

  constructor(config: HcmConfig, context: WorkerContext) {
    this.config = config
    this.context = context
    this.http2Options = {
      ...config.http2,
      streamErrorOnInvalidMessage: config.http2.streamErrorOnInvalidMessage ?? config.streamErrorOnInvalidMessage,
    }
    const prefix = `http.${config.statPrefix}`
    this.stats = new HcmStats(context.stats.scope(prefix), context.listener?.stats.scope(prefix) ?? null)
    this.node = { cluster: context.node.cluster, id: context.node.id, address: localAddress() }
    this.clusters = context.clusters
    this.runtime = context.runtime
    this.drain = context.drain
    const { proxyStatus } = config
    this.proxyStatus = proxyStatus && { ...proxyStatus, name: proxyStatus.name || context.node.id }
    this.tracingStats = new TracingStats(context.stats.scope(prefix))
    this.tracing = config.tracing && new HcmTracing(config.tracing, config, this.tracingStats, context)
    this.overload = context.overload ?? null
    this.accessLogs = config.accessLogs.map((log) => context.createAccessLog(log))
    this.localReplies = compileLocalReplies(config.localReply, context.runtime)
    this.pathOptions = {
      ...config.path,
      rejectFragment: context.runtime.bool('envoy.reloadable_features.http_reject_path_with_fragment', true),
    }
    this.earlyHeaderMutations = config.earlyHeaderMutations.map((mutation) => new HeaderMutations(mutation))
    const queue = (ms: number): TimeoutQueue | null => (ms > 0 ? timeoutQueue(ms) : null)
    this.streamIdleQueue = queue(config.streamIdleTimeoutMs)
    this.requestQueue = queue(config.requestTimeoutMs)
    this.headersQueue = queue(config.requestHeadersTimeoutMs)
    this.durationQueue = queue(config.common.maxStreamDurationMs)
    this.connectionIdleQueue = queue(config.common.idleTimeoutMs)
    this.drainQueue = queue(config.drainTimeoutMs)
    this.accessLogQueue = queue(config.accessLogIntervalMs)
    this.inlineTable = config.routeConfig && compileRouteTable(config.routeConfig, context.runtime, context.stats)
    this.chain = this.compileChain(config.filters)
    for (const upgrade of config.upgrades) {
      const chain = upgrade.filters ? this.compileChain(upgrade.filters) : this.chain
      this.upgradeChains.set(upgrade.type, { enabled: upgrade.enabled, chain })
    }
  }

  private compileChain(filters: readonly HttpFilterConfig[]): ChainEntry[] {
    const { statPrefix } = this.config
    return filters.map(({ name, filter, discovered, disabled }) => ({
      name,
      disabled,
      factory:
        discovered || filter === null
          ? discoveredFilter(name, filter, statPrefix, this.context)
          : this.context.createHttpFilter(filter, statPrefix),
    }))
  }

  /** Codec counters, made when the first connection of their kind is, as in Envoy. */
  get http2Stats(): Http2Stats {
    this.http2 ??= new Http2Stats(this.context.stats)
    return this.http2
  }

  get http1Stats(): Http1Stats {
    this.http1 ??= new Http1Stats(this.context.stats)
    return this.http1
  }

  /** The current table; null until RDS has delivered it. */
  routeTable(): RouteTable | null {
    return this.inlineTable ?? (this.config.rdsName === null ? null : this.context.routeTable(this.config.rdsName))
  }

  /** The chain for a request, or null when its upgrade is not allowed (route first, then connection manager). */
  filtersFor(upgrade: string | null, route: Route | null): readonly ChainEntry[] | null {
    if (upgrade === null) return this.chain
    const own = this.upgradeChains.get(upgrade)
    const allowed = route?.upgradeTypes?.get(upgrade) ?? own?.enabled ?? false
    return allowed ? (own?.chain ?? this.chain) : null
  }

  /** Most bytes that a stream's filters may hold in each direction, 0 = no limit: over HTTP/2 the stream's window (Envoy). */
  bufferLimit(protocol: Protocol): number {
    if (protocol === Protocol.Http2) return this.config.http2.initialStreamWindowSize
    return this.context.listener?.bufferLimitBytes ?? DEFAULT_BUFFER_LIMIT
  }

  queue(ms: number): TimeoutQueue {
    return timeoutQueue(ms)
  }
}
