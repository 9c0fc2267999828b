// A cluster in a worker: its hosts, balancer, circuit breakers and pools. STATIC and EDS as it is; other types extend it.

import { Protocol, StreamResetReason } from '../http/codec.ts'
import type { ChainEntry } from '../http/connection-manager/shared.ts'
import type { UpstreamTransportSocket } from '../network/transport-socket.ts'
import type { UpstreamFilter } from '../network/upstream-filters.ts'
import type { Counter, Scope } from '../observe/stats.ts'
import { ResourceManager } from './circuit-breakers.ts'
import { ClusterHealth } from './cluster-health.ts'
import type { HttpConnPool, LoadBalancerContext, TcpConnPool, ThreadLocalCluster } from './cluster-manager.ts'
import { ClusterStats } from './cluster-stats.ts'
import { type ClusterStatus, statusOf } from './cluster-status.ts'
import type { ClusterData, EndpointData, EndpointsData, LocalityEndpointsData, MetadataData } from './config.ts'
import { HealthFlag, Host, HostChange, type HostDescription } from './host.ts'
import { HostSharing } from './host-sharing.ts'
import { HttpPool, type PoolProtocol } from './http-pool.ts'
import { createBalancer } from './lb/create.ts'
import type { BalancerEnvironment, LoadBalancer } from './lb/load-balancer.ts'
import { SubsetLoadBalancer } from './lb/subset.ts'
import type { ClusterNews, ClusterReport } from './peers.ts'
import type { PoolEnvironment } from './pool-environment.ts'
import { choiceOf, downstreamKey, serverName } from './pool-key.ts'
import { type HostGroup, type HostSet, PrioritySet } from './priority-set.ts'
import { TcpPool } from './tcp-pool.ts'
import { TransportSocketMatcher } from './transport-choice.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

const NO_POLICY = { overprovisioningFactor: 140, weightedPriorityHealth: false }

export class Cluster implements ThreadLocalCluster, PoolEnvironment {
  readonly data: ClusterData
  readonly stats: ClusterStats
  readonly hosts = new PrioritySet()
  readonly upstreamFilters: readonly UpstreamFilter[]
  readonly httpFilters: readonly ChainEntry[] | null
  dropMillionths = 0
  readonly maintenanceKey: string
  protected readonly context: ClusterContext
  private readonly scope: Scope
  private readonly balancer: LoadBalancer
  private readonly defaultResources: ResourceManager
  private readonly highResources: ResourceManager
  private readonly sockets: TransportSocketMatcher
  private readonly byKey = new Map<string, Host>()
  private readonly health: ClusterHealth
  protected readonly sharing: HostSharing
  private readonly updated: Counter
  private hostsKnown = false
  private warm = false
  private waitingForWarm: (() => void)[] = []
  private draining = false
  private released = false

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    this.data = data
    this.maintenanceKey = `upstream.maintenance_mode.${data.name}`
    this.context = context
    this.scope = context.stats.scope(`cluster.${data.statName}`)
    this.sharing = new HostSharing(context.peers, data.id, () => clusters.boardOf(data.id))
    const once = this.sharing.leads ? this.scope : context.uncounted
    this.updated = (this.sharing.leads ? context.stats : context.uncounted)
      .scope('cluster_manager')
      .counter('cluster_updated')
    this.stats = new ClusterStats(this.scope, data.trackedStats, context.node.zone, once, clusters.ownRqTotal)
    this.defaultResources = new ResourceManager('default', data.name, data.circuitBreakers, this.scope, context.runtime)
    this.highResources = new ResourceManager('high', data.name, data.circuitBreakers, this.scope, context.runtime)
    this.sockets = new TransportSocketMatcher(data, context.secrets, this.scope, once)
    this.upstreamFilters = data.upstreamFilters.map((filter) => context.createUpstreamFilter(filter))
    this.httpFilters =
      data.http.filters?.map(({ name, disabled, filter }) => ({
        name,
        disabled,
        factory: context.createUpstreamHttpFilter(filter, this.scope),
      })) ?? null
    const environment: BalancerEnvironment = {
      data,
      stats: this.stats,
      runtime: context.runtime,
      localHosts: () => localHosts(context.localClusterName, clusters),
      localLocality: {
        region: context.node.region ?? '',
        zone: context.node.zone,
        subZone: context.node.subZone ?? '',
      },
    }
    this.balancer = data.subset
      ? new SubsetLoadBalancer(this.hosts, data.subset, environment)
      : createBalancer(this.hosts, environment)
    this.health = new ClusterHealth(this, this.sharing, this.scope, context)
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
    this.health.start()
    if (this.knowsHosts()) this.onHostsKnown()
  }

  /** False: they have to be found out first. */
  protected knowsHosts(): boolean {
    return true
  }

  /** Its first hosts are there: where they are checked, it serves after that. */
  protected onHostsKnown(): void {
    if (this.hostsKnown) return
    this.hostsKnown = true
    this.health.afterFirstRound(() => this.becomeWarm())
  }

  private becomeWarm(): void {
    this.warm = true
    const waiting = this.waitingForWarm
    this.waitingForWarm = []
    for (const callback of waiting) callback()
  }

  /** Calls back when the cluster can serve: at once where nothing has to be found out first. Or when it is no more. */
  whenWarm(callback: () => void): void {
    if (this.warm) callback()
    else this.waitingForWarm.push(callback)
  }

  // Hosts.

  /** Replaces the endpoints; hosts whose address stays keep their connections. */
  applyEndpoints(endpoints: EndpointsData): void {
    this.dropMillionths = endpoints.dropMillionths
    const { localities } = endpoints
    if (localities.length === 0 && this.data.type === 'EDS') this.stats.updateEmpty.inc()
    this.setEndpoints(localities, endpoints)
  }

  /** What every discovery of endpoints ends in. */
  protected setEndpoints(
    groups: readonly LocalityEndpointsData[],
    policy: Pick<EndpointsData, 'overprovisioningFactor' | 'weightedPriorityHealth'> = NO_POLICY,
  ): void {
    const seen = new Set<string>()
    let changed = false
    let moved = false
    const hostGroups: HostGroup[] = groups.map((group) => ({
      locality: group.locality,
      priority: group.priority,
      weight: group.weight,
      hosts: group.endpoints.flatMap((endpoint) => {
        const key = this.hostKey(endpoint, seen)
        if (key === null) return []
        seen.add(key)
        const socket = this.socketFor(endpoint, group.metadata)
        let host = this.byKey.get(key)
        if (host) {
          host.setFlag(HealthFlag.PendingDynamicRemoval, false)
          const before = host.endpoint
          const change = host.update(endpoint, group.locality, group.priority, socket)
          this.health.onEndpointUpdate(host, before)
          changed ||= change !== HostChange.None
          moved ||= change === HostChange.Moved
        } else {
          host = this.addHost(new Host(endpoint, group.locality, group.priority, socket, key))
          this.byKey.set(key, host)
          moved = true
        }
        return [host]
      }),
    }))
    const removed = this.removeMissing(seen, hostGroups)
    moved ||= removed.length > 0
    changed ||= moved
    if (moved) this.stats.membershipChange.inc()
    if (!changed && this.data.type !== 'STATIC') this.stats.updateNoRebuild.inc()
    this.hosts.update(hostGroups, policy)
    this.updated.inc()
    this.onMembership()
    for (const host of removed) host.drainPools()
    if (this.data.closeConnectionsOnHostSetChange && changed) for (const host of this.hosts.hosts()) host.drainPools()
  }

  /**
   * What tells the host of an endpoint from those of the ones before it, `seen`; null = it is one of them. Of endpoints
   * with one address EDS makes one host, the first; elsewhere each is a host (Envoy).
   */
  protected hostKey({ address }: EndpointData, seen: ReadonlySet<string>): string | null {
    let key = address.text
    if (!seen.has(key)) return key
    if (this.data.type === 'EDS') return null
    for (let n = 2; seen.has(key); n++) key = `${address.text} ${n}`
    return key
  }

  /** Takes in a new host. */
  protected addHost(host: Host): Host {
    this.health.add(host)
    return host
  }

  /** Hosts that left; those still passing active health checks stay until they fail, unless configured otherwise. */
  private removeMissing(seen: ReadonlySet<string>, groups: HostGroup[]): Host[] {
    const removed: Host[] = []
    for (const [key, host] of this.byKey) {
      if (seen.has(key)) continue
      if (this.health.keeps(host)) {
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
    this.byKey.delete(host.key)
    this.dropHost(host)
  }

  /** Takes back addHost. */
  protected dropHost(host: Host): void {
    this.health.remove(host)
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

  // What its health finds out, and other workers tell.

  hostByKey(key: string): Host | undefined {
    return this.byKey.get(key)
  }

  onHealthChange(): void {
    this.hosts.refresh()
    this.updated.inc()
    this.onMembership()
  }

  removeHost(host: Host): void {
    this.forget(host)
    host.drainPools()
    this.hosts.remove(host)
    this.onMembership()
  }

  /** The leader knows more. */
  onNews(news: ClusterNews): void {
    this.health.onNews(news)
  }

  /** Leading: another worker's report. */
  onReport(report: ClusterReport): void {
    if (report.kind === 'offenses') this.health.onOffenses(report.host, report.offenses)
    else this.health.onReportedFailure(report.host)
  }

  /** The transport socket of an endpoint. */
  socketFor(endpoint: EndpointData, localityMetadata: MetadataData): UpstreamTransportSocket {
    return this.sockets.choose(endpoint, localityMetadata)
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

  /** Where no transport_socket_match fits. */
  protected get defaultSocket(): UpstreamTransportSocket {
    return this.sockets.plain
  }

  /** Connections are TLS unless a match says otherwise. */
  protected get secure(): boolean {
    return this.defaultSocket.protocol === 'tls'
  }

  /** The host of a request; types of their own replace it. */
  protected chooseHost(context: LoadBalancerContext): Host | null {
    const wish = context.overrideHost
    if (wish !== null) {
      const host = this.hostAt(wish.address)
      if (host && this.data.overrideHostStatuses.includes(host.healthStatus)) return host
      if (host === undefined) wish.missing = true
      if (wish.strict) return null
    }
    return this.balancer.choose(context)
  }

  /** The first host of this address. */
  protected hostAt(address: string): Host | undefined {
    return this.byKey.get(address)
  }

  httpPool(priority: 'DEFAULT' | 'HIGH', downstream: Protocol | '', context: LoadBalancerContext): HttpConnPool | null {
    const host = this.chooseHost(context)
    if (host === null) {
      this.stats.cxNoneHealthy.inc()
      return null
    }
    const protocol = this.poolProtocol(downstream)
    const resources = this.resources(priority)
    const sni = serverName(this.data, host, context)
    const key = downstreamKey(this.data, host, context)
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
    if (!this.mayAddPool(host, resources)) return null
    const pool = new HttpPool(host, protocol, choiceOf(host, context, sni, key), resources, this.environmentOf())
    host.pools.push(pool)
    return pool
  }

  /** max_connection_pools, of HTTP alone: a pool of the same host that serves nobody makes room (Envoy). */
  private mayAddPool(host: Host, resources: ResourceManager): boolean {
    if (resources.connectionPools.canCreate()) return true
    for (const pool of host.pools) {
      if (!(pool instanceof HttpPool) || pool.resources !== resources || !pool.idle) continue
      pool.giveUp()
      return true
    }
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
    const key = downstreamKey(this.data, host, context)
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
    const { judge, stats } = host as Host
    if (status >= 500) stats.rqError++
    else stats.rqSuccess++
    judge?.onResponse(host as Host, status)
  }

  onReset(host: HostDescription | null, reason: StreamResetReason): void {
    if (host === null) return
    const { judge, stats } = host as Host
    stats.rqError++
    judge?.onReset(host as Host, reason)
  }

  onConnected(host: HostDescription, final: boolean): void {
    this.health.onConnected(host as Host, final)
  }

  onConnectFailure(host: HostDescription, timedOut: boolean): void {
    const { ConnectionTimeout, RemoteConnectionFailure } = StreamResetReason
    this.health.onReset(host as Host, timedOut ? ConnectionTimeout : RemoteConnectionFailure)
  }

  onTimeout(host: HostDescription): void {
    const { judge, stats } = host as Host
    stats.rqTimeout++
    stats.rqError++
    judge?.onReset(host as Host, StreamResetReason.ConnectionTimeout)
  }

  onImmediateHealthCheckFail(host: HostDescription): void {
    ;(host as Host).judge?.onImmediateFailure(host as Host)
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
    this.health.stop()
    this.becomeWarm()
  }

  onIdle(): void {
    if (!this.draining || this.released || this.hasConnections()) return
    this.released = true
    this.sockets.close()
    this.scope.release()
  }

  /** Every host that may have connections. */
  protected allHosts(): Iterable<Host> {
    return this.byKey.values()
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
    return statusOf(this.data, this.hosts, this.health.detector)
  }
}

/** Priority 0 of this proxy's own cluster. */
function localHosts(name: string | undefined, clusters: WorkerClusters): HostSet | null {
  return name ? (clusters.find(name)?.hosts.sets[0] ?? null) : null
}
