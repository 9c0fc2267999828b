// All clusters of a worker: added, replaced, removed, found by name.

import type { Logger } from '../../base/logger.ts'
import type { NodeInfo, ParsedExtension, RuntimeSnapshot } from '../config/extension.ts'
import type { HttpFilterFactory } from '../http/filter.ts'
import type { SecretStore } from '../network/tls/secret-store.ts'
import type { UpstreamFilter } from '../network/upstream-filters.ts'
import type { AccessLogFile } from '../observe/access-log-file.ts'
import type { Counter, Gauge, Scope } from '../observe/stats.ts'
import type { Cluster } from './cluster.ts'
import type { ClusterManager, ThreadLocalCluster } from './cluster-manager.ts'
import type { ClusterStatus } from './cluster-status.ts'
import type { ClusterData, EndpointsData } from './config.ts'
import { createCluster } from './create-cluster.ts'
import type { DnsCacheData } from './dynamic-forward-proxy/config.ts'
import { type DnsCache, DnsCaches } from './dynamic-forward-proxy/dns-cache.ts'
import { ownRequestCounter } from './own-requests.ts'
import { ClusterBoard, type ClusterNews, type ClusterReport, type Peers } from './peers.ts'

/** What clusters use of their worker. */
export interface ClusterContext {
  readonly stats: Scope
  readonly log: Logger
  readonly secrets: SecretStore
  readonly runtime: RuntimeSnapshot
  readonly node: NodeInfo
  readonly workerIndex: number
  readonly peers: Peers
  /** A file for lines of events. Throws when it cannot be opened. */
  openLog(path: string): AccessLogFile
  /** For what another worker counts: nobody sees it. */
  readonly uncounted: Scope
  /** Makes a network filter of cluster.filters. */
  createUpstreamFilter(parsed: ParsedExtension): UpstreamFilter
  /** Makes an upstream HTTP filter of a cluster, whose scope it counts in. */
  createUpstreamHttpFilter(parsed: ParsedExtension, scope: Scope): HttpFilterFactory
  /** cluster_manager.local_cluster_name: this proxy's own cluster, for zone-aware routing. */
  readonly localClusterName?: string
}

export class WorkerClusters implements ClusterManager {
  private readonly context: ClusterContext
  private readonly clusters = new Map<string, Cluster>()
  /** Replaced or added when their first addresses are known and have been checked. */
  private readonly warming = new Map<string, Cluster>()
  private readonly dnsCaches: DnsCaches
  /** By ClusterData.id. */
  private readonly boards = new Map<number, ClusterBoard>()
  private readonly inflated: Gauge
  /** Of requests of the proxy's own. */
  readonly ownRqTotal: Counter

  constructor(context: ClusterContext) {
    this.context = context
    context.peers.listen(
      (news) => this.onNews(news),
      (report) => this.onReport(report),
    )
    this.dnsCaches = new DnsCaches(context.stats)
    this.ownRqTotal = ownRequestCounter(context.stats)
    this.inflated = context.stats
      .scope(`thread_local_cluster_manager.worker_${context.workerIndex}`)
      .gauge('clusters_inflated')
  }

  /** What the leading worker has told about a cluster, or will. */
  boardOf(id: number): ClusterBoard {
    let board = this.boards.get(id)
    if (board === undefined) this.boards.set(id, (board = new ClusterBoard()))
    return board
  }

  private onNews(news: ClusterNews): void {
    if (news.kind === 'cluster-gone') {
      this.boards.delete(news.cluster)
      return
    }
    const board = this.boardOf(news.cluster)
    if (news.kind === 'name') board.names.set(news.target, news.addresses)
    else if (news.kind === 'checked') board.checked = true
    else if (news.kind === 'host') board.hosts.set(news.host, { flags: news.flags, tally: news.tally, gone: false })
    else board.hosts.set(news.host, { flags: 0, tally: null, gone: true })
    this.byId(news.cluster)?.onNews(news)
  }

  private onReport(report: ClusterReport): void {
    this.byId(report.cluster)?.onReport(report)
  }

  private byId(id: number): Cluster | undefined {
    for (const cluster of this.warming.values()) if (cluster.data.id === id) return cluster
    for (const cluster of this.clusters.values()) if (cluster.data.id === id) return cluster
    return undefined
  }

  get(name: string): ThreadLocalCluster | undefined {
    return this.clusters.get(name)
  }

  /** The cluster itself, for what a worker's own parts need of it. */
  find(name: string): Cluster | undefined {
    return this.clusters.get(name)
  }

  dnsCache(data: DnsCacheData): DnsCache {
    return this.dnsCaches.get(data)
  }

  /** The newest version: on its way, or there. */
  newest(name: string): Cluster | undefined {
    return this.warming.get(name) ?? this.clusters.get(name)
  }

  /**
   * Adds or replaces; `endpoints` are those of EDS. A cluster that waits for DNS or health checks takes its place when it
   * is warm.
   * Requests under way on the old one finish there.
   */
  applyCluster(data: ClusterData, endpoints: EndpointsData | null): void {
    const cluster = createCluster(data, this.context, this)
    const assignment = endpoints ?? data.endpoints
    if (assignment !== null) cluster.applyEndpoints(assignment)
    const replaced = this.warming.get(data.name)
    // In its place before the other one is drained, which ends that one's wait: it must find itself replaced.
    this.warming.set(data.name, cluster)
    this.retire(replaced)
    cluster.start()
    cluster.whenWarm(() => this.activate(cluster))
  }

  private activate(cluster: Cluster): void {
    // Another version, or a removal, was faster.
    if (this.warming.get(cluster.name) !== cluster) return
    this.warming.delete(cluster.name)
    const old = this.clusters.get(cluster.name)
    this.clusters.set(cluster.name, cluster)
    this.inflated.set(this.clusters.size)
    this.retire(old)
  }

  private retire(cluster: Cluster | undefined): void {
    if (cluster === undefined) return
    cluster.drain()
    // Where the leading worker was faster to end it, nothing more is told that would clear this.
    this.boards.delete(cluster.data.id)
  }

  /** Resolves when the newest version of the cluster serves, or is there no more. */
  whenWarm(name: string): Promise<void> {
    const cluster = this.warming.get(name)
    return cluster === undefined ? Promise.resolve() : new Promise((resolve) => cluster.whenWarm(resolve))
  }

  removeCluster(name: string): void {
    const warming = this.warming.get(name)
    this.warming.delete(name)
    this.retire(warming)
    const cluster = this.clusters.get(name)
    this.clusters.delete(name)
    this.inflated.set(this.clusters.size)
    this.retire(cluster)
  }

  /** `service`: the assignment's name, which the version that serves and the one that warms may not share. */
  applyEndpoints(name: string, service: string, endpoints: EndpointsData): void {
    for (const cluster of [this.clusters.get(name), this.warming.get(name)])
      if (cluster?.data.edsServiceName === service) cluster.applyEndpoints(endpoints)
  }

  /** Closes every connection at once. */
  close(): void {
    for (const cluster of [...this.clusters.values(), ...this.warming.values()]) cluster.close()
    this.clusters.clear()
    this.warming.clear()
    this.dnsCaches.close()
  }

  /** Plain data for the admin's /clusters. */
  status(): ClusterStatus[] {
    return [...this.clusters.values()].map((cluster) => cluster.status())
  }
}
