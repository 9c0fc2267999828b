// A host (endpoint) of a cluster, as seen by logs, balancers and pools.

import type { StreamResetReason } from '../http/codec.ts'
import type { Address } from '../network/connection.ts'
import type { UpstreamTransportSocket } from '../network/transport-socket.ts'
import { now } from '../stream-info.ts'
import { type EndpointData, HealthStatus } from './config.ts'
import type { HostMonitor } from './outlier/detector.ts'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subZone: string
}

/** What others may know about a host. Weight, metadata and priority change with an update; the address only where a name stands for it. */
export interface HostDescription {
  readonly address: Address
  readonly hostname: string
  readonly locality: Locality
  readonly priority: number
  readonly weight: number
  readonly canary: boolean
  /** Its connections are TLS; absent = they are not. */
  readonly secure?: boolean
  /** Endpoint metadata by filter namespace (`envoy.lb`, `envoy.transport_socket_match`, `istio`). */
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

/** Why a host is not (fully) healthy; bits, printed by /clusters in this order. */
export const HealthFlag = {
  FailedActiveHc: 1 << 0,
  FailedOutlierCheck: 1 << 1,
  FailedEdsHealth: 1 << 2,
  DegradedActiveHc: 1 << 3,
  DegradedEdsHealth: 1 << 4,
  PendingDynamicRemoval: 1 << 5,
  PendingActiveHc: 1 << 6,
  ExcludedViaImmediateHcFail: 1 << 7,
  ActiveHcTimeout: 1 << 8,
  EdsStatusDraining: 1 << 9,
} as const

/** What one worker finds out for all. */
export const SHARED_HEALTH =
  HealthFlag.FailedActiveHc |
  HealthFlag.FailedOutlierCheck |
  HealthFlag.DegradedActiveHc |
  HealthFlag.PendingActiveHc |
  HealthFlag.ExcludedViaImmediateHcFail |
  HealthFlag.ActiveHcTimeout

const UNHEALTHY =
  HealthFlag.FailedActiveHc | HealthFlag.FailedOutlierCheck | HealthFlag.FailedEdsHealth | HealthFlag.EdsStatusDraining
const DEGRADED = HealthFlag.DegradedActiveHc | HealthFlag.DegradedEdsHealth
const EXCLUDED = HealthFlag.PendingActiveHc | HealthFlag.ExcludedViaImmediateHcFail

export const Health = { Unhealthy: 0, Degraded: 1, Healthy: 2 } as const
export type Health = (typeof Health)[keyof typeof Health]

/** Counts for /clusters, of this worker. */
class HostStats {
  cxTotal = 0
  cxActive = 0
  cxConnectFail = 0
  rqTotal = 0
  rqActive = 0
  rqError = 0
  rqSuccess = 0
  rqTimeout = 0
}

/** Closes what a host has open; a pool of any kind. */
export interface DrainablePool {
  /** No new streams; connections close when idle. */
  drain(): void
  /** Connections close when what they carry is done; later requests get new ones. */
  drainConnections(): void
  /** Closes all connections at once. */
  closeAll(): void
}

/** Who judges a host by what requests meet there. */
export interface HostJudge {
  onResponse(host: Host, status: number): void
  onReset(host: Host, reason: StreamResetReason): void
  /** The host itself says that it fails. */
  onImmediateFailure(host: Host): void
}

/** What an update did to a host. Moved: to another locality or priority. */
export const HostChange = { None: 0, Changed: 1, Moved: 2 } as const
export type HostChange = (typeof HostChange)[keyof typeof HostChange]

/** A host in a worker. Lives as long as updates keep its key. */
export class Host implements HostDescription {
  /** Tells it from the other hosts of its cluster, in every worker: its address, where no other one has it. */
  readonly key: string
  address: Address
  /** Tried after `address`. */
  additionalAddresses: readonly Address[]
  readonly hostname: string
  locality: Locality
  priority: number
  weight: number
  canary: boolean
  metadata: HostDescription['metadata']
  endpoint: EndpointData
  transportSocket: UpstreamTransportSocket
  flags = 0
  readonly stats = new HostStats()
  readonly pools: DrainablePool[] = []
  /** `now()` of when it was added or became healthy first: slow start counts from here. */
  slowStartSince: number = now()
  /** Its record for outlier detection, where that is configured. */
  monitor: HostMonitor | null = null
  /** Of the cluster that it belongs to, which a request may reach through another one; null = nobody judges. */
  judge: HostJudge | null = null

  constructor(
    endpoint: EndpointData,
    locality: Locality,
    priority: number,
    transportSocket: UpstreamTransportSocket,
    key = endpoint.address.text,
  ) {
    this.key = key
    this.address = endpoint.address
    this.additionalAddresses = endpoint.additionalAddresses
    this.hostname = endpoint.hostname
    this.locality = locality
    this.priority = priority
    this.weight = endpoint.weight
    this.canary = isCanary(endpoint)
    this.metadata = endpoint.metadata
    this.endpoint = endpoint
    this.transportSocket = transportSocket
    this.setEdsHealth(endpoint.healthStatus)
  }

  /** Takes over what an update changed. */
  update(
    endpoint: EndpointData,
    locality: Locality,
    priority: number,
    transportSocket: UpstreamTransportSocket,
  ): HostChange {
    const before = this.flags
    const moved = this.priority !== priority || !sameLocality(this.locality, locality)
    const same = this.weight === endpoint.weight && JSON.stringify(this.metadata) === JSON.stringify(endpoint.metadata)
    this.locality = locality
    this.priority = priority
    this.weight = endpoint.weight
    this.canary = isCanary(endpoint)
    this.metadata = endpoint.metadata
    this.endpoint = endpoint
    this.additionalAddresses = endpoint.additionalAddresses
    if (this.transportSocket !== transportSocket) {
      // Connections made with other keys or trust are not for new requests.
      this.transportSocket = transportSocket
      this.drainPools()
    }
    this.setEdsHealth(endpoint.healthStatus)
    if (moved) return HostChange.Moved
    return same && before === this.flags ? HostChange.None : HostChange.Changed
  }

  private setEdsHealth(status: HealthStatus): void {
    this.flags &= ~(HealthFlag.FailedEdsHealth | HealthFlag.DegradedEdsHealth | HealthFlag.EdsStatusDraining)
    if (status === HealthStatus.Unhealthy || status === HealthStatus.Timeout) this.flags |= HealthFlag.FailedEdsHealth
    if (status === HealthStatus.Draining) this.flags |= HealthFlag.EdsStatusDraining
    if (status === HealthStatus.Degraded) this.flags |= HealthFlag.DegradedEdsHealth
  }

  /** The name behind this host has other addresses now: for new connections; those that are open stay. */
  setAddresses(addresses: readonly Address[]): void {
    const [first, ...others] = addresses
    if (first === undefined) return
    this.address = first
    this.additionalAddresses = others
  }

  /** Sets or clears one flag; true when it changed. */
  setFlag(flag: number, on: boolean): boolean {
    const flags = on ? this.flags | flag : this.flags & ~flag
    if (flags === this.flags) return false
    this.flags = flags
    return true
  }

  get health(): Health {
    return healthOf(this.flags)
  }

  get secure(): boolean {
    return this.transportSocket.protocol === 'tls'
  }

  /** What the control plane says of it, or else what checks and outlier detection found. */
  get healthStatus(): HealthStatus {
    const said = this.endpoint.healthStatus
    if (said === HealthStatus.Unhealthy || said === HealthStatus.Draining || said === HealthStatus.Timeout) return said
    if (this.health === Health.Healthy) return said
    return this.health === Health.Degraded ? HealthStatus.Degraded : HealthStatus.Unhealthy
  }

  /** Not counted when the health of its priority is worked out. */
  get excluded(): boolean {
    return (this.flags & EXCLUDED) !== 0
  }

  /** Forgets a pool that nobody will ask for again. */
  removePool(pool: DrainablePool): void {
    const at = this.pools.indexOf(pool)
    if (at >= 0) this.pools.splice(at, 1)
  }

  drainPools(): void {
    for (const pool of this.pools) pool.drain()
    this.pools.length = 0
  }
}

/** Of bits of HealthFlag. */
export function healthOf(flags: number): Health {
  if ((flags & UNHEALTHY) !== 0) return Health.Unhealthy
  return (flags & DEGRADED) !== 0 ? Health.Degraded : Health.Healthy
}

function isCanary(endpoint: EndpointData): boolean {
  return endpoint.metadata['envoy.lb']?.canary === true
}

export function sameLocality(a: Locality, b: Locality): boolean {
  return a.region === b.region && a.zone === b.zone && a.subZone === b.subZone
}
