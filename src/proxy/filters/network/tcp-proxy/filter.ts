// envoy.filters.network.tcp_proxy: carries bytes between a downstream connection and one host of a cluster
// (envoy-contract §9.1).

import { Backoff } from '../../../../base/backoff.ts'
import { ownedTimeout } from '../../../../base/fault-owner.ts'
import { xxh64 } from '../../../../base/hash.ts'
import type { WorkerContext } from '../../../config/extension.ts'
import { DetectedClose } from '../../../network/close.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import type { AccessLog, AccessLogType } from '../../../observe/access-log.ts'
import type { Counter, Gauge } from '../../../observe/stats.ts'
import { now, StreamInfo } from '../../../stream-info.ts'
import {
  type Cancellable,
  type HttpConnPool,
  type LoadBalancerContext,
  PoolFailureReason,
  type TcpPoolCallbacks,
  type ThreadLocalCluster,
} from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import { requestedMetadata } from '../../../upstream/lb/requested-metadata.ts'
import type { TcpClusterConfig, TcpProxyConfig } from './config.ts'
import { DISABLE_TUNNELING, type TcpUpstream, Tunnel, type TunnelCallbacks, Tunneling } from './tunnel.ts'

/** Filter state by which an earlier filter chooses the cluster (sni_cluster, set_filter_state). */
export const TCP_PROXY_CLUSTER = 'envoy.tcp_proxy.cluster'
/** Filter state through which the filters before this one see the StreamInfo of the proxied connection. */
export const TCP_STREAM_INFO = 'envoy.tcp_proxy.stream_info'

interface Stats {
  readonly cxTotal: Counter
  readonly cxNoRoute: Counter
  readonly txBytes: Counter
  readonly txBuffered: Gauge
  readonly rxBuffered: Gauge
  readonly rxBytes: Counter
  readonly pausedReading: Counter
  readonly resumedReading: Counter
  readonly idleTimeout: Counter
  readonly maxDuration: Counter
  readonly flushTotal: Counter
  readonly flushActive: Gauge
}

interface Shared {
  readonly config: TcpProxyConfig
  readonly context: WorkerContext
  readonly stats: Stats
  readonly accessLogs: readonly AccessLog[]
  readonly tunneling: Tunneling | null
}

export function createTcpProxy(
  config: TcpProxyConfig,
  context: WorkerContext,
): (callbacks: ReadFilterCallbacks) => NetworkFilter {
  const scope = context.stats.scope(`tcp.${config.statPrefix}`)
  const shared: Shared = {
    config,
    context,
    stats: {
      cxTotal: scope.counter('downstream_cx_total'),
      cxNoRoute: scope.counter('downstream_cx_no_route'),
      txBuffered: scope.gauge('downstream_cx_tx_bytes_buffered'),
      rxBuffered: scope.gauge('downstream_cx_rx_bytes_buffered'),
      txBytes: scope.counter('downstream_cx_tx_bytes_total'),
      rxBytes: scope.counter('downstream_cx_rx_bytes_total'),
      pausedReading: scope.counter('downstream_flow_control_paused_reading_total'),
      resumedReading: scope.counter('downstream_flow_control_resumed_reading_total'),
      idleTimeout: scope.counter('idle_timeout'),
      maxDuration: scope.counter('max_downstream_connection_duration'),
      flushTotal: scope.counter('upstream_flush_total'),
      flushActive: scope.gauge('upstream_flush_active'),
    },
    accessLogs: config.accessLogs.map((log) => context.createAccessLog(log)),
    tunneling: config.tunneling && new Tunneling(config.tunneling),
  }
  return (callbacks) => new TcpProxyFilter(shared, callbacks)
}

/** Envoy's UpstreamFailureReason. */
const Failure = { ConnectFailed: 0, NoHealthyHost: 1, ResourceLimit: 2, NoRoute: 3 } as const
type Failure = (typeof Failure)[keyof typeof Failure]

class TcpProxyFilter implements NetworkFilter, TcpPoolCallbacks, TunnelCallbacks {
  readonly shared: Shared
  readonly downstream: Connection
  readonly info: StreamInfo
  private readonly callbacks: ReadFilterCallbacks
  private upstream: TcpUpstream | null = null
  private upstreamCallbacks: UpstreamCallbacks | null = null
  private pending: Cancellable | null = null
  private cluster: TcpClusterConfig | null = null
  private attempts = 0
  private attemptStart = 0
  private lastActivity = 0
  private idleTimer: NodeJS.Timeout | null = null
  private durationTimer: NodeJS.Timeout | null = null
  private retryTimer: NodeJS.Timeout | null = null
  private backoff: Backoff | null = null
  private logTimer: NodeJS.Timeout | null = null
  private done = false

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
    this.downstream = callbacks.connection
    this.info = new StreamInfo(callbacks.connection.info, callbacks.filterState)
    callbacks.filterState.set(TCP_STREAM_INFO, this.info)
  }

  onNewConnection(): FilterStatus {
    const { config, stats } = this.shared
    const { info } = this
    stats.cxTotal.inc()
    this.downstream.countBuffered(stats.rxBuffered, stats.txBuffered)
    info.upstreamCloseType = DetectedClose.Normal
    info.startTimeMs = this.downstream.info.startTimeMs
    info.start = now()
    info.dynamicMetadata = this.callbacks.dynamicMetadata
    // Nothing can be done with bytes before there is somebody to give them to.
    this.downstream.readDisable(true)
    if (config.maxConnectionDurationMs !== null)
      this.durationTimer = ownedTimeout(onMaxDuration, this.maxDurationMs(config.maxConnectionDurationMs), this)
    if (config.logOnStart) this.log('TcpConnectionStart')
    if (config.logIntervalMs > 0) this.logTimer = setInterval(onLogInterval, config.logIntervalMs, this)
    this.cluster = this.chooseCluster()
    this.connect()
    // What earlier filters held back waits too.
    return this.upstream === null ? FilterStatus.StopIteration : FilterStatus.Continue
  }

  onData(chunk: Buffer, endStream: boolean): FilterStatus {
    this.lastActivity = now()
    this.info.bytesReceived += chunk.length
    this.shared.stats.rxBytes.add(chunk.length)
    this.upstream?.write(chunk, endStream)
    return FilterStatus.StopIteration
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return
    this.pending?.cancel()
    this.pending = null
    const { upstream } = this
    this.upstream = null
    if (upstream?.open) this.closeUpstream(upstream, event)
    if (event === ConnectionEvent.RemoteClose && upstream === null && this.info.responseFlags === 0)
      this.info.setFlag('DC')
    this.finish()
  }

  onAboveWriteBufferHighWatermark(): void {
    this.upstream?.readDisable(true)
  }

  onBelowWriteBufferLowWatermark(): void {
    if (this.upstream?.open) this.upstream.readDisable(false)
  }

  onPoolReady(connection: Connection, host: HostDescription): void {
    this.onReady(connection, connection, host)
  }

  onTunnelReady(tunnel: Tunnel, connection: Connection, host: HostDescription): void {
    this.onReady(tunnel, connection, host)
  }

  private onReady(upstream: TcpUpstream, connection: Connection, host: HostDescription): void {
    const { info } = this
    this.pending = null
    this.upstream = upstream
    this.upstreamCallbacks = new UpstreamCallbacks(this)
    upstream.callbacks = this.upstreamCallbacks
    info.upstreamHost = host
    this.liveCluster?.onConnected(host, true)
    info.upstreamLocalAddress = connection.info.localAddress.text
    info.upstreamRemoteAddress = connection.info.remoteAddress.text
    info.upstreamConnectionId = connection.id
    info.upstreamConnection = connection.info
    info.upstreamConnectEnd = now()
    info.upstreamPoolReadyMs = info.upstreamConnectEnd - this.attemptStart
    info.upstreamFilterState = connection.info.filterState ?? null
    this.lastActivity = now()
    const { idleTimeoutMs, logOnConnected } = this.shared.config
    if (idleTimeoutMs > 0) this.idleTimer = ownedTimeout(onIdleTimeout, idleTimeoutMs, this)
    if (logOnConnected) this.log('TcpUpstreamConnected')
    this.callbacks.continueReading()
    this.downstream.readDisable(false)
  }

  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    const { info } = this
    this.pending = null
    info.upstreamHost = host
    if (host !== null) info.upstreamRemoteAddress = host.address.text
    info.upstreamTransportFailureReason = transportFailureReason
    info.upstreamPoolReadyMs = now() - this.attemptStart
    if (reason === PoolFailureReason.Overflow || reason === PoolFailureReason.NoHost) {
      info.setFlag(reason === PoolFailureReason.Overflow ? 'UO' : 'UH')
      this.failInitialization(reason === PoolFailureReason.Overflow ? Failure.ResourceLimit : Failure.NoHealthyHost)
      return
    }
    info.setFlag('UF')
    if (host !== null && reason !== PoolFailureReason.LocalConnectionFailure)
      this.liveCluster?.onConnectFailure(host, reason === PoolFailureReason.Timeout)
    if (this.attempts < this.shared.config.maxConnectAttempts) {
      this.retry()
      return
    }
    info.setFlag('URX')
    this.liveCluster?.stats.cxConnectAttemptsExceeded.inc()
    this.failInitialization(Failure.ConnectFailed)
  }

  /** The chosen cluster, unless it has been removed since. */
  private get liveCluster(): ThreadLocalCluster | undefined {
    return this.shared.context.clusters.get(this.cluster!.name)
  }

  private retry(): void {
    const options = this.shared.config.backoff
    if (options === null) {
      this.connect()
      return
    }
    this.backoff ??= new Backoff(options)
    this.retryTimer = ownedTimeout(onRetry, this.backoff.next(), this)
  }

  /** max_downstream_connection_duration with its jitter. */
  private maxDurationMs(durationMs: number): number {
    return durationMs * (1 + (Math.random() * this.shared.config.maxDurationJitterPercent) / 100)
  }

  onUpstreamData(chunk: Buffer, endStream: boolean): void {
    this.lastActivity = now()
    this.info.bytesSent += chunk.length
    this.shared.stats.txBytes.add(chunk.length)
    this.downstream.write(chunk, endStream)
  }

  onUpstreamClosed(): void {
    const { upstream } = this
    this.upstream = null
    if (upstream !== null) this.info.upstreamCloseType = upstream.detectedClose
    const reset = upstream?.detectedClose === DetectedClose.RemoteReset
    if (reset) this.info.setFlag('UR')
    this.downstream.close(reset ? CloseType.AbortReset : CloseType.FlushWrite)
  }

  onUpstreamAboveHighWatermark(): void {
    this.shared.stats.pausedReading.inc()
    this.downstream.readDisable(true)
  }

  onUpstreamBelowLowWatermark(): void {
    if (!this.downstream.open) return
    this.shared.stats.resumedReading.inc()
    this.downstream.readDisable(false)
  }

  onFault(error: unknown): void {
    this.downstream.onFault(error)
  }

  /** The timer is set once for the whole period; activity only moves the mark. */
  checkIdle(): void {
    const { idleTimeoutMs } = this.shared.config
    const idleMs = now() - this.lastActivity
    if (idleMs < idleTimeoutMs - 1) {
      this.idleTimer = ownedTimeout(onIdleTimeout, idleTimeoutMs - idleMs, this)
      return
    }
    this.shared.stats.idleTimeout.inc()
    this.closeBoth('tcp_session_idle_timeout')
  }

  expire(): void {
    this.shared.stats.maxDuration.inc()
    this.info.setFlag('DT')
    this.closeBoth('max_connection_duration_reached')
  }

  log(type: AccessLogType): void {
    const { accessLogs } = this.shared
    const { info } = this
    info.downstreamWireBytesReceived = info.upstreamWireBytesSent = info.bytesReceived
    info.downstreamWireBytesSent = info.upstreamWireBytesReceived = info.bytesSent
    for (let i = 0; i < accessLogs.length; i++) {
      accessLogs[i]!.log({
        info: this.info,
        requestHeaders: null,
        responseHeaders: null,
        responseTrailers: null,
        localReplyBody: '',
        type,
      })
    }
  }

  private chooseCluster(): TcpClusterConfig {
    const override = this.callbacks.filterState.get(TCP_PROXY_CLUSTER)
    if (typeof override === 'string') return { name: override, weight: 1, metadataMatch: null }
    const { clusters, totalWeight } = this.shared.config
    if (clusters.length === 1) return clusters[0]!
    let draw = Math.random() * totalWeight
    for (const cluster of clusters) {
      draw -= cluster.weight
      if (draw < 0) return cluster
    }
    return clusters[clusters.length - 1]!
  }

  connect(): void {
    this.retryTimer = null
    const { info, shared } = this
    const { name, metadataMatch } = this.cluster!
    const cluster = shared.context.clusters.get(name)
    if (cluster === undefined) {
      shared.stats.cxNoRoute.inc()
      info.setFlag('NC')
      this.failInitialization(Failure.NoRoute)
      return
    }
    if (!cluster.resources('DEFAULT').connections.canCreate()) {
      cluster.stats.cxOverflow.inc()
      info.setFlag('UO')
      this.failInitialization(Failure.ResourceLimit)
      return
    }
    this.attempts++
    info.attemptCount = this.attempts
    info.upstreamCluster = name
    info.upstreamClusterStatName = cluster.statName
    info.upstreamClusterMetadata = cluster.metadata
    this.attemptStart = now()
    if (info.upstreamConnectStart === 0) info.upstreamConnectStart = this.attemptStart
    const context = this.loadBalancerContext(metadataMatch)
    const { tunneling } = shared
    if (tunneling !== null && this.callbacks.filterState.get(DISABLE_TUNNELING) !== true) {
      this.tunnel(tunneling, cluster.httpPool('DEFAULT', '', context))
      return
    }
    const pool = cluster.tcpPool('DEFAULT', context)
    if (pool === null) {
      info.setFlag('UH')
      info.upstreamPoolReadyMs = 0
      this.failInitialization(Failure.NoHealthyHost)
      return
    }
    this.pending = pool.newConnection(this)
  }

  private tunnel(tunneling: Tunneling, pool: HttpConnPool | null): void {
    if (pool === null) {
      this.info.setFlag('UH')
      this.failInitialization(Failure.NoHealthyHost)
      return
    }
    const secure = this.downstream.info.ssl() !== null
    const tunnel = new Tunnel(tunneling, this.info, this.callbacks.filterState, secure, this)
    this.pending = tunnel
    tunnel.start(pool)
  }

  private loadBalancerContext(metadataMatch: TcpClusterConfig['metadataMatch']): LoadBalancerContext {
    return {
      hash: this.hash(),
      hashSource: null,
      metadataMatch: requestedMetadata(metadataMatch, this.callbacks.dynamicMetadata),
      downstream: this.downstream.info,
      downstreamState: this.callbacks.filterState,
      dynamicMetadata: this.callbacks.dynamicMetadata,
      headers: null,
      shouldSelectAnotherHost: null,
      hostSelectionRetryCount: 0,
      attempt: this.attempts - 1,
      overrideHost: null,
      alpnOverride: null,
      sniOverride: null,
    }
  }

  private hash(): bigint | null {
    const policy = this.shared.config.hashPolicy
    if (policy === null) return null
    if (policy.kind === 'source_ip') return xxh64(this.downstream.info.remoteAddress.ip)
    const value = this.callbacks.filterState.get(policy.key)
    return typeof value === 'string' ? xxh64(value) : null
  }

  /** Nobody to connect the client with. The number is how Envoy prints the reason. */
  private failInitialization(failure: Failure): void {
    this.info.downstreamLocalCloseReason = `tcp_initializion_failure:${failure}`
    this.downstream.close(CloseType.NoFlush)
  }

  private closeBoth(reason: string): void {
    this.info.downstreamLocalCloseReason = reason
    if (this.upstream !== null) this.info.upstreamLocalCloseReason = reason
    this.downstream.close(CloseType.NoFlush)
  }

  /** After a downstream FIN what is still buffered goes out first; a reset is passed on. */
  private closeUpstream(upstream: TcpUpstream, event: ConnectionEvent): void {
    if (this.downstream.detectedClose === DetectedClose.RemoteReset) upstream.close(CloseType.AbortReset)
    else if (event === ConnectionEvent.LocalClose) upstream.close(CloseType.NoFlush)
    else {
      if (upstream.bufferedBytes > 0) {
        const { stats } = this.shared
        stats.flushTotal.inc()
        stats.flushActive.inc()
        this.upstreamCallbacks?.flush(stats.flushActive)
      }
      upstream.close(CloseType.FlushWrite)
    }
  }

  private finish(): void {
    if (this.done) return
    this.done = true
    for (const timer of [this.idleTimer, this.durationTimer, this.logTimer, this.retryTimer])
      if (timer !== null) clearTimeout(timer)
    const { info } = this
    info.end = now()
    info.downstreamCloseType = this.downstream.detectedClose
    info.connectionTerminationDetails ||= this.downstream.info.connectionTerminationDetails
    this.log('TcpConnectionEnd')
  }
}

/** The upstream connection's owner: passes on to the filter, and stays until the last bytes have left. */
class UpstreamCallbacks implements ConnectionCallbacks {
  private filter: TcpProxyFilter | null
  private flushing: Gauge | null = null

  constructor(filter: TcpProxyFilter) {
    this.filter = filter
  }

  /** The downstream side is gone; what is buffered still goes out. */
  flush(active: Gauge): void {
    this.filter = null
    this.flushing = active
  }

  onData(chunk: Buffer, endStream: boolean): void {
    this.filter?.onUpstreamData(chunk, endStream)
  }
  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return
    this.flushing?.dec()
    this.filter?.onUpstreamClosed()
  }
  onAboveWriteBufferHighWatermark(): void {
    this.filter?.onUpstreamAboveHighWatermark()
  }
  onBelowWriteBufferLowWatermark(): void {
    this.filter?.onUpstreamBelowLowWatermark()
  }
}

function onRetry(filter: TcpProxyFilter): void {
  filter.connect()
}

function onIdleTimeout(filter: TcpProxyFilter): void {
  filter.checkIdle()
}

function onMaxDuration(filter: TcpProxyFilter): void {
  filter.expire()
}

function onLogInterval(filter: TcpProxyFilter): void {
  filter.log('TcpPeriodic')
}
