// envoy.clusters.dynamic_forward_proxy with sub_clusters_config: each name becomes a STRICT_DNS cluster of its own,
// `DFPCluster:<host>:<port>`, which goes when nobody has asked for the name for a while.

import type { Protocol } from '../../http/codec.ts'
import { ipAddress } from '../../network/address.ts'
import { now } from '../../stream-info.ts'
import { createSharedCounts } from '../circuit-breakers.ts'
import { Cluster } from '../cluster.ts'
import type { HttpConnPool, LoadBalancerContext, TcpConnPool } from '../cluster-manager.ts'
import { type ClusterData, type EndpointsData, HealthStatus, type LbPolicyData } from '../config.ts'
import type { ClusterContext, WorkerClusters } from '../worker-clusters.ts'
import { requestedHost } from './cluster.ts'
import type { SubClustersData } from './config.ts'
import { LoadStatus } from './dns-cache.ts'
import { splitHostKey } from './host-key.ts'

interface SubCluster {
  readonly name: string
  lastUsed: number
}

export class SubClustersCluster extends Cluster {
  private readonly clusters: WorkerClusters
  private readonly settings: SubClustersData
  private readonly subs = new Map<string, SubCluster>()
  private timer: NodeJS.Timeout | null = null

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    super(data, context, clusters)
    if (data.dynamicForwardProxy?.kind !== 'sub_clusters') throw new Error(`${data.name} has no sub_clusters_config`)
    this.settings = data.dynamicForwardProxy.subClusters
    this.clusters = clusters
  }

  override start(): void {
    super.start()
    this.timer = setInterval(() => this.removeUnused(), Math.max(1, this.settings.ttlMs))
    this.timer.unref()
    for (const key of this.settings.preresolve) this.load(key, () => {})
  }

  /** Key of the sub cluster that a request asks for, or null when it names no host. */
  keyOf(context: LoadBalancerContext): string | null {
    return requestedHost(context, this.secure)
  }

  /** Makes the sub cluster where it is missing; Loading: `loaded` is called when its first addresses are known. */
  load(key: string, loaded: () => void): LoadStatus {
    let sub = this.subs.get(key)
    if (sub === undefined || this.clusters.newest(sub.name) === undefined) {
      if (this.subs.size >= this.settings.maxSubClusters) return LoadStatus.Overflow
      sub = { name: `DFPCluster:${key}`, lastUsed: now() }
      this.subs.set(key, sub)
      this.clusters.applyCluster(this.subClusterData(sub.name, key), null)
    }
    sub.lastUsed = now()
    if (this.clusters.find(sub.name) !== undefined) return LoadStatus.InCache
    void this.clusters.whenWarm(sub.name).then(loaded)
    return LoadStatus.Loading
  }

  override httpPool(
    priority: 'DEFAULT' | 'HIGH',
    downstream: Protocol | '',
    context: LoadBalancerContext,
  ): HttpConnPool | null {
    return this.chosen(context)?.httpPool(priority, downstream, context) ?? null
  }

  override tcpPool(priority: 'DEFAULT' | 'HIGH', context: LoadBalancerContext): TcpConnPool | null {
    return this.chosen(context)?.tcpPool(priority, context) ?? null
  }

  private chosen(context: LoadBalancerContext): Cluster | undefined {
    const key = this.keyOf(context)
    const sub = key === null ? undefined : this.subs.get(key)
    if (sub === undefined) return undefined
    sub.lastUsed = now()
    return this.clusters.find(sub.name)
  }

  /** This cluster's settings with one name as its endpoint. */
  private subClusterData(name: string, key: string): ClusterData {
    const { data, settings } = this
    const { host, port } = splitHostKey(key)
    const endpoints: EndpointsData = {
      clusterName: name,
      localities: [
        {
          locality: { region: '', zone: '', subZone: '' },
          priority: 0,
          weight: 0,
          metadata: {},
          endpoints: [
            {
              address: ipAddress(host, port),
              additionalAddresses: [],
              hostname: host,
              observabilityName: '',
              healthStatus: HealthStatus.Unknown,
              weight: 1,
              metadata: {},
              healthCheckPort: 0,
              healthCheckHostname: '',
              healthCheckAddress: null,
              disableActiveHealthCheck: false,
            },
          ],
        },
      ],
      overprovisioningFactor: 140,
      weightedPriorityHealth: false,
      dropMillionths: 0,
    }
    return {
      ...data,
      name,
      id: 0,
      statName: name,
      type: 'STRICT_DNS',
      dynamicForwardProxy: null,
      endpoints,
      lbPolicy: policyOf(settings),
      circuitBreakers: { ...data.circuitBreakers, shared: createSharedCounts() },
    }
  }

  private removeUnused(): void {
    for (const [key, sub] of this.subs) {
      if (now() - sub.lastUsed < this.settings.ttlMs) continue
      this.subs.delete(key)
      this.clusters.removeCluster(sub.name)
    }
  }

  protected override stop(): void {
    if (this.timer !== null) clearInterval(this.timer)
    for (const sub of this.subs.values()) this.clusters.removeCluster(sub.name)
    this.subs.clear()
    super.stop()
  }
}

function policyOf(settings: SubClustersData): LbPolicyData {
  switch (settings.lbPolicy) {
    case 'round_robin':
      return { kind: 'round_robin', slowStart: null }
    case 'random':
      return { kind: 'random' }
    case 'least_request':
      return {
        kind: 'least_request',
        choiceCount: 2,
        activeRequestBias: 1,
        activeRequestBiasRuntimeKey: '',
        fullScan: false,
        slowStart: null,
      }
  }
}
