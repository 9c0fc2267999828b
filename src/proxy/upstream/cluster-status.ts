// What /clusters prints of a cluster: plain data that workers answer and the main thread merges.

import type { Address } from '../network/connection.ts'
import type { ThresholdsData } from './config.ts'
import type { Locality } from './host.ts'

export interface HostStatus {
  readonly address: Address
  readonly hostname: string
  readonly locality: Locality
  readonly priority: number
  readonly weight: number
  readonly canary: boolean
  /** Bits of HealthFlag. */
  readonly flags: number
  /** As EDS states it: a key of HealthStatus. */
  readonly edsHealthStatus: number
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
  readonly observabilityName: string
  readonly edsServiceName: string
  readonly thresholds: { readonly default: ThresholdsData; readonly high: ThresholdsData }
  /** -1 = not enough requests. */
  readonly successRateAverage: number
  readonly successRateEjectionThreshold: number
  readonly localOriginSuccessRateAverage: number
  readonly localOriginSuccessRateEjectionThreshold: number
  readonly hosts: readonly HostStatus[]
}
