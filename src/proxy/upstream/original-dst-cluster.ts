// ORIGINAL_DST: the host is where the client wanted to go (envoy-contract §12.1). Hosts are made as they are needed and
// forgotten when a clean-up finds them unused.

import { isIP } from 'node:net'
import { ipAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'
import { metadataValue } from '../route/metadata-matcher.ts'
import { Cluster } from './cluster.ts'
import type { LoadBalancerContext } from './cluster-manager.ts'
import { type ClusterData, type EndpointData, HealthStatus } from './config.ts'
import { Host } from './host.ts'
import type { ClusterContext, WorkerClusters } from './worker-clusters.ts'

const NOWHERE = { region: '', zone: '', subZone: '' }
const NO_METADATA = {}

/** Filter state that overrides the destination, as Envoy names it. */
const ADDRESS_STATE = 'envoy.network.transport_socket.original_dst_address'

export class OriginalDstCluster extends Cluster {
  private readonly known = new Map<string, { readonly host: Host; used: boolean }>()
  private timer: NodeJS.Timeout | null = null

  constructor(data: ClusterData, context: ClusterContext, clusters: WorkerClusters) {
    super(data, context, clusters)
    this.setEndpoints([])
  }

  override start(): void {
    super.start()
    this.timer = setInterval(() => this.cleanUp(), this.data.originalDst.cleanupIntervalMs)
    this.timer.unref()
  }

  protected override chooseHost(context: LoadBalancerContext): Host | null {
    const address = this.destination(context)
    if (address === null) return null
    let entry = this.known.get(address.text)
    if (entry === undefined) {
      const endpoint = endpointOf(address)
      entry = { host: new Host(endpoint, NOWHERE, 0, this.socketFor(endpoint, NO_METADATA)), used: true }
      this.known.set(address.text, entry)
      this.publish()
    }
    entry.used = true
    return entry.host
  }

  private destination(context: LoadBalancerContext): Address | null {
    const { useHttpHeader, headerName, portOverride, metadataKey } = this.data.originalDst
    let address: Address | null = null
    const state = context.downstreamState?.get(ADDRESS_STATE)
    if (typeof state === 'string') address = this.parse(state)
    if (address === null && metadataKey !== null) {
      const value = metadataValue(context.dynamicMetadata ?? null, metadataKey.key, metadataKey.path)
      if (typeof value === 'string') address = this.parse(value)
    }
    if (address === null && useHttpHeader) {
      const value = context.headers?.get(headerName)
      if (value !== undefined) address = this.parse(value)
    }
    if (address === null && context.downstream?.localAddressRestored) address = context.downstream.localAddress
    if (address === null || portOverride === 0) return address
    return ipAddress(address.ip, portOverride)
  }

  private parse(text: string): Address | null {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text)
    const ip = match?.[1] ?? match?.[2] ?? ''
    const port = Number(match?.[3] ?? 0)
    if (isIP(ip) === 0 || port > 65535) {
      this.stats.originalDstHostInvalid.inc()
      return null
    }
    return ipAddress(ip, port)
  }

  private publish(): void {
    const hosts = [...this.known.values()].map((entry) => entry.host)
    this.hosts.update([{ locality: NOWHERE, priority: 0, weight: 0, hosts }], {
      overprovisioningFactor: 140,
      weightedPriorityHealth: false,
    })
    this.stats.membershipChange.inc()
    this.stats.membershipTotal.set(hosts.length)
    this.stats.membershipHealthy.set(hosts.length)
  }

  private cleanUp(): void {
    let changed = false
    for (const [key, entry] of this.known) {
      if (entry.used || entry.host.stats.cxActive > 0) {
        entry.used = false
        continue
      }
      this.known.delete(key)
      entry.host.drainPools()
      changed = true
    }
    if (changed) this.publish()
  }

  protected override *allHosts(): Iterable<Host> {
    for (const { host } of this.known.values()) yield host
  }

  protected override stop(): void {
    if (this.timer !== null) clearInterval(this.timer)
    super.stop()
  }
}

function endpointOf(address: Address): EndpointData {
  return {
    address,
    additionalAddresses: [],
    hostname: '',
    observabilityName: '',
    healthStatus: HealthStatus.Unknown,
    weight: 1,
    metadata: NO_METADATA,
    healthCheckPort: 0,
    healthCheckHostname: '',
    healthCheckAddress: null,
    disableActiveHealthCheck: false,
  }
}
