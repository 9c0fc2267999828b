// What /clusters prints of a cluster: plain data that workers answer and the main thread merges.

import type { Address } from '../network/connection.ts'
import type { ClusterData, ThresholdsData } from './config.ts'
import { type Host, type HostDescription, type Locality, sameLocality } from './host.ts'
import type { OutlierDetector } from './outlier/detector.ts'
import type { PrioritySet } from './priority-set.ts'

export interface HostStatus {
  /** The same in every worker. */
  readonly key: string
  readonly address: Address
  readonly hostname: string
  /** Its name in stats; '' = its address. */
  readonly observabilityName: string
  readonly locality: Locality
  readonly priority: number
  readonly weight: number
  readonly canary: boolean
  /** Bits of HealthFlag. */
  readonly flags: number
  /** As EDS states it: a key of HealthStatus. */
  readonly edsHealthStatus: number
  readonly metadata: HostDescription['metadata']
  /** Of health_check_config; 0 and '' = the endpoint's own. */
  readonly healthCheckPort: number
  readonly healthCheckHostname: string
  /** Of its locality; 0 = there is none. */
  readonly localityWeight: number
  readonly successRate: number
  readonly localOriginSuccessRate: number
  readonly stats: {
    readonly cxActive: number
    readonly cxConnectFail: number
    readonly cxTotal: number
    readonly rqActive: number
    readonly rqError: number
    readonly rqSuccess: number
    readonly rqTimeout: number
    readonly rqTotal: number
  }
}

export interface ClusterStatus {
  readonly name: string
  /** per_endpoint_stats. */
  readonly endpointStats: boolean
  readonly observabilityName: string
  readonly thresholds: { readonly default: ThresholdsData; readonly high: ThresholdsData }
  /** -1 = not enough requests. */
  readonly successRateAverage: number
  readonly successRateEjectionThreshold: number
  readonly localOriginSuccessRateAverage: number
  readonly localOriginSuccessRateEjectionThreshold: number
  readonly hosts: readonly HostStatus[]
  /** Percent. */
  readonly overprovisioningFactor: number
  /** Its hosts come of names. */
  readonly resolved: boolean
}

/** `detector`: null where nobody judges here. */
export function statusOf(data: ClusterData, hosts: PrioritySet, detector: OutlierDetector | null): ClusterStatus {
  return {
    name: data.name,
    observabilityName: data.statName,
    endpointStats: data.trackedStats.endpoints,
    thresholds: { default: data.circuitBreakers.default, high: data.circuitBreakers.high },
    successRateAverage: detector?.successRateAverage ?? -1,
    successRateEjectionThreshold: detector?.successRateEjectionThreshold ?? -1,
    localOriginSuccessRateAverage: detector?.localOriginSuccessRateAverage ?? -1,
    localOriginSuccessRateEjectionThreshold: detector?.localOriginSuccessRateEjectionThreshold ?? -1,
    overprovisioningFactor: hosts.sets[0]?.overprovisioningFactor ?? 140,
    resolved: data.type === 'STRICT_DNS' || data.type === 'LOGICAL_DNS',
    hosts: [...hosts.hosts()].map((host) => ({
      key: host.key,
      address: host.address,
      hostname: host.hostname,
      observabilityName: host.endpoint.observabilityName,
      locality: host.locality,
      priority: host.priority,
      weight: host.weight,
      canary: host.canary,
      flags: host.flags,
      edsHealthStatus: host.endpoint.healthStatus,
      metadata: host.metadata,
      healthCheckPort: host.endpoint.healthCheckPort,
      healthCheckHostname: host.endpoint.healthCheckHostname,
      localityWeight: weightOf(hosts, host),
      successRate: host.monitor?.successRate ?? -1,
      localOriginSuccessRate: host.monitor?.localOriginSuccessRate ?? -1,
      stats: { ...host.stats },
    })),
  }
}

function weightOf(hosts: PrioritySet, host: Host): number {
  const { localities } = hosts.sets[host.priority] ?? { localities: [] }
  return localities.find(({ locality }) => sameLocality(locality, host.locality))?.weight ?? 0
}
