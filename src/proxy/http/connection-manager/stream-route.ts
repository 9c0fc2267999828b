// The route of one stream: chosen when somebody first asks, and again after the route cache was cleared.

import type { Route, RouteTable } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { ClusterManager } from '../../upstream/cluster-manager.ts'
import type { HeaderMap } from '../header-map.ts'

export class StreamRoute {
  /** The table that was current when the stream began. */
  private readonly table: RouteTable | null
  private readonly info: StreamInfo
  private readonly clusters: ClusterManager
  private known = false
  private route: Route | null = null

  constructor(table: RouteTable | null, info: StreamInfo, clusters: ClusterManager) {
    this.table = table
    this.info = info
    this.clusters = clusters
  }

  get internalOnlyHeaders(): readonly string[] | undefined {
    return this.table?.internalOnlyHeaders
  }

  /** null = there is none, or not yet. */
  of(headers: HeaderMap | null): Route | null {
    if (this.known) return this.route
    // Before x-forwarded-proto is settled no route is chosen, nor where a client left it empty (Envoy).
    if (!headers?.get('x-forwarded-proto')) return null
    const { info } = this
    this.known = true
    this.route = this.table?.route(headers, info, info.random) ?? null
    info.route = this.route
    info.routeName = this.route?.name ?? ''
    this.noteCluster(headers)
    return this.route
  }

  /** Logs name the cluster of the route even when the request never gets there. */
  private noteCluster(headers: HeaderMap): void {
    const { info, route } = this
    const cluster = route?.forward ? this.clusters.get(route.clusterName(headers)) : undefined
    info.upstreamCluster = cluster?.name ?? ''
    info.upstreamClusterStatName = cluster?.statName ?? ''
    info.upstreamClusterMetadata = cluster?.metadata ?? null
  }

  clear(): void {
    this.known = false
    this.route = null
    this.info.route = null
  }
}
