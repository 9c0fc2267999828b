// A cluster in a worker: its hosts, balancer, circuit breakers and pools. STATIC and EDS as it is; other types extend it.

import { isIP } from 'node:net'
import { Protocol, StreamResetReason } from '../http/codec.ts'
import type { ConnectionInfo } from '../network/connection.ts'
import { type DownstreamProxyHeader, PROXY_PROTOCOL_STATE } from '../network/proxy-protocol.ts'
import { createUpstreamTransportSocket, type UpstreamTransportSocket } from '../network/transport-socket.ts'
import type { UpstreamFilter } from '../network/upstream-filters.ts'
import type { Counter, Scope } from '../observe/stats.ts'
import { portStart } from '../route/request-path.ts'
import { ResourceManager } from './circuit-breakers.ts'
import type { HttpConnPool, LoadBalancerContext, TcpConnPool, ThreadLocalCluster } from './cluster-manager.ts'
import { ClusterOutliers } from './cluster-outliers.ts'
import { ClusterStats } from './cluster-stats.ts'
import type { ClusterStatus } from './cluster-status.ts'
import type { ClusterData, EndpointData, EndpointsData, MetadataData } from './config.ts'
import { HealthChecker } from './health-checker.ts'
import { Health, HealthFlag, Host, type HostDescription, type Locality, SHARED_HEALTH } from './host.ts'
import { HostSharing } from './host-sharing.ts'
import { HttpPool, type PoolProtocol } from './http-pool.ts'
import { type BalancerEnvironment, type LoadBalancer, PriorityLoadBalancer } from './lb/load-balancer.ts'
import { SubsetLoadBalancer } from './lb/subset.ts'
import type { OutlierConfig } from './outlier/config.ts'
import type { ClusterNews, HostNews } from './peers.ts'
import { DEFAULT_TRANSPORT, type PoolEnvironment, type TransportChoice } from './pool-environment.ts'
import { type HostGroup, PrioritySet } from './priority-set.ts'
import { TcpPool } from './tcp-pool.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

interface SocketMatch {
  readonly match: Readonly<Record<string, unknown>>
  readonly socket: UpstreamTransportSocket
  readonly count: Counter
}

const NO_POLICY = { overprovisioningFactor: 140, weightedPriorityHealth: false }

export class Cluster implements ThreadLocalCluster, PoolEnvironment {
  readonly data: ClusterData
  readonly stats: ClusterStats
  readonly hosts = new PrioritySet()
  readonly upstreamFilters: readonly UpstreamFilter[]
  dropMillionths = 0
  readonly maintenanceKey: string
  protected readonly context: ClusterContext
  private readonly scope: Scope
  private readonly balancer: LoadBalancer
  private readonly defaultResources: ResourceManager
  private readonly highResources: ResourceManager
  /** Where no transport_socket_match fits. */
  protected readonly plainSocket: UpstreamTransportSocket
  private readonly socketCount: Counter
  private readonly matches: readonly SocketMatch[]
  private readonly byAddress = new Map<string, Host>()
  private readonly outliers: ClusterOutliers | null
  private readonly healthCheckers: readonly HealthChecker[]
  protected readonly sharing: HostSharing
  private draining = false
  private released = false

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    this.data = data
    this.maintenanceKey = `upstream.maintenance_mode.${data.name}`
    this.context = context
    this.scope = context.stats.scope(`cluster.${data.statName}`)
    this.sharing = new HostSharing(context.peers, data.id, () => clusters.boardOf(data.id))
    const once = this.sharing.leads ? this.scope : context.uncounted
    this.stats = new ClusterStats(this.scope, data.trackedStats, context.node.zone, once)
    this.defaultResources = new ResourceManager('default', data.name, data.circuitBreakers, this.scope, context.runtime)
    this.highResources = new ResourceManager('high', data.name, data.circuitBreakers, this.scope, context.runtime)
    this.plainSocket = createUpstreamTransportSocket(data.transportSocket, context.secrets, this.scope)
    this.socketCount = once.counter('default.total_match_count')
    this.upstreamFilters = data.upstreamFilters.map((filter) => context.createUpstreamFilter(filter))
    this.matches = data.transportSocketMatches.map(({ name, match, socket }) => ({
      match,
      socket: createUpstreamTransportSocket(socket, context.secrets, this.scope),
      count: once.counter(`${name}.total_match_count`),
    }))
    const local = context.localClusterName ? clusters.find(context.localClusterName) : undefined
    const environment: BalancerEnvironment = {
      data,
      stats: this.stats,
      runtime: context.runtime,
      localCluster: local?.hosts ?? null,
      localZone: context.node.zone,
    }
    this.balancer = data.subset
      ? new SubsetLoadBalancer(this.hosts, data.subset, environment)
      : new PriorityLoadBalancer(this.hosts, environment)
    this.outliers = data.outlierDetection && this.createOutliers(data.outlierDetection)
    this.healthCheckers = this.sharing.leads
      ? data.healthChecks.map(
          (check) =>
            new HealthChecker(
              check,
              this,
              this.scope,
              context.log,
              check.eventLogs.map((path) => context.openLog(path)),
              (host, healthy) => this.onHealthCheck(host, healthy),
            ),
        )
      : []
  }

  private createOutliers(config: OutlierConfig): ClusterOutliers {
    if (this.sharing.leads) return ClusterOutliers.judging(config, this.scope, (host) => this.onEjection(host))
    return ClusterOutliers.reporting(config, (host, offenses) =>
      this.sharing.reportOffenses(this.peerKey(host), offenses),
    )
  }

  get name(): string {
    return this.data.name
  }

  get statName(): string {
    return this.data.statName
  }

  get metadata(): MetadataData {
    return this.data.metadata
  }

  /** Begins what runs by itself: resolution, health checks, outlier intervals. */
  start(): void {
    this.outliers?.start()
    for (const checker of this.healthCheckers) checker.start()
  }

  /** Calls back when the cluster can serve: at once, where nothing has to be found out first. */
  whenWarm(callback: () => void): void {
    callback()
  }

  // Hosts.

  /** Replaces the endpoints; hosts whose address stays keep their connections. */
  applyEndpoints(endpoints: EndpointsData): void {
    if (this.data.type === 'EDS') {
      this.stats.updateAttempt.inc()
      this.stats.updateSuccess.inc()
    }
    this.dropMillionths = endpoints.dropMillionths
    const groups: {
      locality: Locality
      priority: number
      weight: number
      metadata: MetadataData
      endpoints: readonly EndpointData[]
    }[] = endpoints.localities.map((group) => ({ ...group }))
    if (groups.length === 0 && this.data.type === 'EDS') this.stats.updateEmpty.inc()
    this.setEndpoints(groups, endpoints)
  }

  /** What every discovery of endpoints ends in. */
  protected setEndpoints(
    groups: readonly {
      readonly locality: Locality
      readonly priority: number
      readonly weight: number
      readonly metadata: MetadataData
      readonly endpoints: readonly EndpointData[]
    }[],
    policy: Pick<EndpointsData, 'overprovisioningFactor' | 'weightedPriorityHealth'> = NO_POLICY,
  ): void {
    const seen = new Set<string>()
    let changed = false
    const hostGroups: HostGroup[] = groups.map((group) => ({
      locality: group.locality,
      priority: group.priority,
      weight: group.weight,
      hosts: group.endpoints.flatMap((endpoint) => {
        const key = endpoint.address.text
        if (seen.has(key)) return []
        seen.add(key)
        const socket = this.socketFor(endpoint, group.metadata)
        let host = this.byAddress.get(key)
        if (host) {
          host.setFlag(HealthFlag.PendingDynamicRemoval, false)
          changed = host.update(endpoint, group.locality, group.priority, socket) || changed
        } else {
          host = this.addHost(new Host(endpoint, group.locality, group.priority, socket))
          this.byAddress.set(key, host)
          changed = true
        }
        return [host]
      }),
    }))
    const removed = this.removeMissing(seen, hostGroups)
    if (changed || removed.length > 0) this.stats.membershipChange.inc()
    else if (this.data.type !== 'STATIC') this.stats.updateNoRebuild.inc()
    this.hosts.update(hostGroups, policy)
    this.onMembership()
    for (const host of removed) host.drainPools()
    if (this.data.closeConnectionsOnHostSetChange && changed) for (const host of this.hosts.hosts()) host.drainPools()
  }

  /** Puts a new host under outlier detection and active health checks. */
  protected addHost(host: Host): Host {
    this.outliers?.add(host, this.sharing.tells)
    if (this.hasHealthChecks && !host.endpoint.disableActiveHealthCheck) {
      host.setFlag(HealthFlag.FailedActiveHc, true)
      if (this.data.ignoreNewHostsUntilFirstHc) host.setFlag(HealthFlag.PendingActiveHc, true)
    }
    this.tellHost(host)
    const news = this.sharing.known(this.peerKey(host))
    if (news !== null) {
      host.flags = (host.flags & ~SHARED_HEALTH) | news.flags
      this.countFor(host, news)
    }
    return host
  }

  private get hasHealthChecks(): boolean {
    return this.data.healthChecks.length > 0
  }

  /** Hosts that left; those still passing active health checks stay until they fail, unless configured otherwise. */
  private removeMissing(seen: ReadonlySet<string>, groups: HostGroup[]): Host[] {
    const removed: Host[] = []
    for (const [key, host] of this.byAddress) {
      if (seen.has(key)) continue
      const passing =
        this.hasHealthChecks && (host.flags & HealthFlag.FailedActiveHc) === 0 && !this.sharing.isGone(key)
      if (passing && !this.data.ignoreHealthOnHostRemoval && this.data.type === 'EDS') {
        host.setFlag(HealthFlag.PendingDynamicRemoval, true)
        groups.push({ locality: host.locality, priority: host.priority, weight: 0, hosts: [host] })
        continue
      }
      this.forget(host)
      removed.push(host)
    }
    return removed
  }

  private forget(host: Host): void {
    this.byAddress.delete(this.peerKey(host))
    this.dropHost(host)
  }

  /** Takes back addHost. */
  protected dropHost(host: Host): void {
    this.outliers?.remove(host)
    if (this.sharesHosts) this.sharing.forget(this.peerKey(host))
  }

  protected onMembership(): void {
    let total = 0
    let healthy = 0
    let degraded = 0
    let excluded = 0
    let heaviest = 0
    for (const set of this.hosts.sets) {
      total += set.hosts.length
      healthy += set.healthy.length
      degraded += set.degraded.length
      excluded += set.excludedCount
      for (const host of set.hosts) heaviest = Math.max(heaviest, host.weight)
    }
    this.stats.membershipTotal.set(total)
    this.stats.membershipHealthy.set(healthy)
    this.stats.membershipDegraded.set(degraded)
    this.stats.membershipExcluded.set(excluded)
    if (this.data.type === 'EDS') this.stats.maxHostWeight.set(heaviest)
  }

  private onHealthChange(): void {
    this.hosts.refresh()
    this.onMembership()
  }

  private onHealthCheck(host: Host, healthy: boolean): void {
    this.tellHost(host)
    this.afterHealthCheck(host, healthy)
    if (healthy) this.outliers?.onActiveHealthCheckSuccess(host)
    this.onHealthChange()
  }

  private afterHealthCheck(host: Host, healthy: boolean): void {
    if (healthy) {
      host.slowStartSince = performance.now()
      return
    }
    this.onHostUnhealthy(host)
    if ((host.flags & HealthFlag.PendingDynamicRemoval) !== 0) this.removeHost(host)
  }

  /** A host that only its passing health checks kept. */
  private removeHost(host: Host): void {
    this.forget(host)
    host.drainPools()
    this.hosts.remove(host)
    this.onMembership()
  }

  private onEjection(host: Host): void {
    if (host.health === Health.Unhealthy) this.onHostUnhealthy(host)
    this.tellHost(host)
    this.onHealthChange()
  }

  // What workers tell each other.

  /** What a host is called between workers. */
  protected peerKey(host: Host): string {
    return host.endpoint.address.text
  }

  protected hostByPeerKey(key: string): Host | undefined {
    return this.byAddress.get(key)
  }

  /** There is something about hosts that workers tell each other. */
  private get sharesHosts(): boolean {
    return this.outliers !== null || this.hasHealthChecks
  }

  private tellHost(host: Host): void {
    if (this.sharesHosts) this.sharing.tellHost(this.peerKey(host), host)
  }

  private countFor(host: Host, news: HostNews): void {
    if (news.tally !== null) this.outliers?.countIn(host, news.tally)
  }

  /** The leader knows more; the board has it already. */
  onNews(news: ClusterNews): void {
    if (news.kind !== 'host' && news.kind !== 'host-gone') return
    const host = this.hostByPeerKey(news.host)
    if (news.kind === 'host-gone') {
      if (host === undefined) this.sharing.forgetUnknown(news.host)
      else if ((host.flags & HealthFlag.PendingDynamicRemoval) !== 0) this.removeHost(host)
      return
    }
    if (host === undefined) return
    this.countFor(host, { ...news, gone: false })
    const before = host.flags
    const { health } = host
    host.flags = (before & ~SHARED_HEALTH) | news.flags
    if (host.flags === before) return
    const failing = (host.flags & HealthFlag.FailedActiveHc) !== 0
    if (failing !== ((before & HealthFlag.FailedActiveHc) !== 0)) this.afterHealthCheck(host, !failing)
    else if (health !== Health.Unhealthy && host.health === Health.Unhealthy) this.onHostUnhealthy(host)
    this.onHealthChange()
  }

  /** Leading: another worker's counts for a host reached thresholds, or its answers say that it fails. */
  onOffenses(key: string, offenses: number): void {
    const host = this.hostByPeerKey(key)
    if (host !== undefined) this.outliers?.onReport(host, offenses)
  }

  onReportedFailure(key: string): void {
    const host = this.hostByPeerKey(key)
    if (host !== undefined) this.onImmediateHealthCheckFail(host)
  }

  /** Connections to a bad host are not kept for later. */
  private onHostUnhealthy(host: Host): void {
    for (const pool of host.pools) {
      if (this.data.closeConnectionsOnHostHealthFailure) pool.closeAll()
      else pool.drainConnections()
    }
  }

  /** The first transport_socket_match whose fields the endpoint's (then the locality's) metadata has. */
  socketFor(endpoint: EndpointData, localityMetadata: MetadataData): UpstreamTransportSocket {
    const own = endpoint.metadata['envoy.transport_socket_match']
    const metadata = own ?? localityMetadata['envoy.transport_socket_match']
    for (const { match, socket, count } of this.matches) {
      const fits = Object.keys(match).every((key) => JSON.stringify(metadata?.[key]) === JSON.stringify(match[key]))
      if (!fits) continue
      count.inc()
      return socket
    }
    this.socketCount.inc()
    return this.plainSocket
  }

  // Requests.

  upstreamProtocol(downstream: Protocol | ''): Protocol {
    return this.poolProtocol(downstream) === 'http2' ? Protocol.Http2 : Protocol.Http11
  }

  private poolProtocol(downstream: Protocol | ''): PoolProtocol {
    const { selection } = this.data.http
    if (selection === 'use_downstream') return downstream === Protocol.Http2 ? 'http2' : 'http1'
    return selection
  }

  /** Connections are TLS unless a match says otherwise. */
  protected get secure(): boolean {
    return this.plainSocket.protocol === 'tls'
  }

  /** The host of a request; types of their own replace it. */
  protected chooseHost(context: LoadBalancerContext): Host | null {
    const wish = context.overrideHost
    if (wish !== null) {
      const host = this.byAddress.get(wish.address)
      if (host && this.data.overrideHostStatuses.includes(host.healthStatus)) return host
      if (host === undefined) wish.missing = true
      if (wish.strict) return null
    }
    return this.balancer.choose(context)
  }

  httpPool(priority: 'DEFAULT' | 'HIGH', downstream: Protocol | '', context: LoadBalancerContext): HttpConnPool | null {
    const host = this.chooseHost(context)
    if (host === null) {
      this.stats.cxNoneHealthy.inc()
      return null
    }
    const protocol = this.poolProtocol(downstream)
    const resources = this.resources(priority)
    const sni = this.serverName(host, context)
    const key = this.downstreamKey(host, context)
    for (let i = 0; i < host.pools.length; i++) {
      const pool = host.pools[i]!
      if (
        pool instanceof HttpPool &&
        pool.protocol === protocol &&
        pool.resources === resources &&
        pool.choice.alpn === context.alpnOverride &&
        pool.choice.sni === sni &&
        pool.choice.key === key
      ) {
        return pool
      }
    }
    if (!this.mayAddPool(resources)) return null
    const pool = new HttpPool(host, protocol, choiceOf(host, context, sni, key), resources, this.environmentOf())
    host.pools.push(pool)
    return pool
  }

  /** What another filter asked for, else the request's host where auto_sni says so; null = as configured. */
  private serverName(host: Host, context: LoadBalancerContext): string | null {
    if (context.sniOverride !== null) return context.sniOverride
    const { autoSni, overrideAutoSniHeader } = this.data.http
    const { headers } = context
    if (!autoSni || headers === null || host.transportSocket.protocol !== 'tls') return null
    const authority = (overrideAutoSniHeader !== '' && headers.get(overrideAutoSniHeader)) || headers.authority
    const port = portStart(authority)
    const name = port < 0 ? authority : authority.slice(0, port)
    // Server names are names: RFC 6066 §3 allows no address.
    return name === '' || isIP(name) !== 0 || name.startsWith('[') ? null : name
  }

  /** What of the downstream sets its upstream connections apart from others'; '' = nothing, the usual case. */
  private downstreamKey(host: Host, context: LoadBalancerContext): string {
    const { downstream } = context
    if (downstream === null) return ''
    let key = this.data.connectionPoolPerDownstreamConnection ? `cx${downstream.connectionId}` : ''
    const source = downstream.upstreamSource ?? null
    if (source !== null) key += `|from${source.address.text}`
    if (host.transportSocket.proxyProtocol !== null) {
      const { source: from, destination, tlvs } = downstreamHeader(context, downstream)
      key += `|proxy${from.text}>${destination.text}`
      for (const { type, value } of tlvs) key += `,${type}=${Buffer.from(value).toString('base64')}`
    }
    return key
  }

  private mayAddPool(resources: ResourceManager): boolean {
    if (resources.connectionPools.canCreate()) return true
    this.stats.cxPoolOverflow.inc()
    return false
  }

  tcpPool(priority: 'DEFAULT' | 'HIGH', context: LoadBalancerContext): TcpConnPool | null {
    const host = this.chooseHost(context)
    if (host === null) {
      this.stats.cxNoneHealthy.inc()
      return null
    }
    const resources = this.resources(priority)
    const key = this.downstreamKey(host, context)
    for (const pool of host.pools) {
      if (
        pool instanceof TcpPool &&
        pool.resources === resources &&
        pool.choice.alpn === context.alpnOverride &&
        pool.choice.sni === context.sniOverride &&
        pool.choice.key === key
      ) {
        return pool
      }
    }
    if (!this.mayAddPool(resources)) return null
    const pool = new TcpPool(host, choiceOf(host, context, context.sniOverride, key), resources, this.environmentOf())
    host.pools.push(pool)
    return pool
  }

  protected environmentOf(): PoolEnvironment {
    return this
  }

  resources(priority: 'DEFAULT' | 'HIGH'): ResourceManager {
    return priority === 'HIGH' ? this.highResources : this.defaultResources
  }

  onResponse(host: HostDescription, status: number): void {
    const { stats } = host as Host
    if (status >= 500) stats.rqError++
    else stats.rqSuccess++
    this.outliers?.onResponse(host as Host, status)
  }

  onReset(host: HostDescription | null, reason: StreamResetReason): void {
    if (host === null) return
    ;(host as Host).stats.rqError++
    this.outliers?.onReset(host as Host, reason)
  }

  onTimeout(host: HostDescription): void {
    const { stats } = host as Host
    stats.rqTimeout++
    stats.rqError++
    this.outliers?.onReset(host as Host, StreamResetReason.ConnectionTimeout)
  }

  onImmediateHealthCheckFail(host: HostDescription): void {
    if (!this.hasHealthChecks) return
    const own = host as Host
    if (!this.sharing.leads) {
      this.sharing.reportFailure(this.peerKey(own))
      return
    }
    const changed = own.setFlag(HealthFlag.FailedActiveHc | HealthFlag.ExcludedViaImmediateHcFail, true)
    if (!changed) return
    for (const checker of this.healthCheckers) checker.onPassiveFailure(own)
    this.onHealthCheck(own, false)
  }

  // The end.

  /** Replaced or removed: requests under way finish, then nothing is left of it. */
  drain(): void {
    if (this.draining) return
    this.draining = true
    this.stop()
    for (const host of this.allHosts()) for (const pool of host.pools) pool.drain()
    this.onIdle()
  }

  protected stop(): void {
    this.sharing.tellEnd()
    this.outliers?.stop()
    for (const checker of this.healthCheckers) checker.stop()
  }

  onIdle(): void {
    if (!this.draining || this.released || this.hasConnections()) return
    this.released = true
    this.plainSocket.close()
    for (const match of this.matches) match.socket.close()
    this.scope.release()
  }

  /** Every host that may have connections. */
  protected allHosts(): Iterable<Host> {
    return this.byAddress.values()
  }

  private hasConnections(): boolean {
    for (const host of this.allHosts()) if (host.stats.cxActive > 0 || host.stats.rqActive > 0) return true
    return false
  }

  close(): void {
    this.stop()
    for (const host of this.allHosts()) for (const pool of host.pools) pool.closeAll()
  }

  status(): ClusterStatus {
    return {
      name: this.name,
      observabilityName: this.statName,
      edsServiceName: this.data.type === 'EDS' ? this.data.edsServiceName : '',
      thresholds: { default: this.data.circuitBreakers.default, high: this.data.circuitBreakers.high },
      successRateAverage: this.outliers?.detector?.successRateAverage ?? -1,
      successRateEjectionThreshold: this.outliers?.detector?.successRateEjectionThreshold ?? -1,
      localOriginSuccessRateAverage: this.outliers?.detector?.localOriginSuccessRateAverage ?? -1,
      localOriginSuccessRateEjectionThreshold: this.outliers?.detector?.localOriginSuccessRateEjectionThreshold ?? -1,
      hosts: [...this.hosts.hosts()].map((host) => ({
        address: host.address,
        hostname: host.hostname,
        locality: host.locality,
        priority: host.priority,
        weight: host.weight,
        canary: host.canary,
        flags: host.flags,
        edsHealthStatus: host.endpoint.healthStatus,
        successRate: host.monitor?.successRate ?? -1,
        localOriginSuccessRate: host.monitor?.localOriginSuccessRate ?? -1,
        stats: { ...host.stats },
      })),
    }
  }
}

function choiceOf(host: Host, context: LoadBalancerContext, sni: string | null, key: string): TransportChoice {
  const alpn = context.alpnOverride
  if (key === '') return alpn === null && sni === null ? DEFAULT_TRANSPORT : { ...DEFAULT_TRANSPORT, alpn, sni }
  const { downstream } = context
  const proxied = downstream !== null && host.transportSocket.proxyProtocol !== null
  return {
    alpn,
    sni,
    key,
    downstream: proxied ? downstreamHeader(context, downstream) : null,
    source: downstream?.upstreamSource ?? null,
  }
}

/** What the client's own PROXY header said, else the addresses of its connection. */
function downstreamHeader(context: LoadBalancerContext, downstream: ConnectionInfo): DownstreamProxyHeader {
  const state = context.downstreamState?.get(PROXY_PROTOCOL_STATE) as DownstreamProxyHeader | undefined
  return state ?? { source: downstream.remoteAddress, destination: downstream.localAddress, tlvs: [] }
}
