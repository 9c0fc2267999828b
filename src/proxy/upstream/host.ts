// A host (endpoint) of a cluster, as seen by logs, balancers and pools.

import type { Address } from '../network/connection.ts'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subZone: string
}

/** What is fixed about a host until an update replaces it. */
export interface HostDescription {
  readonly address: Address
  readonly hostname: string
  readonly locality: Locality
  readonly priority: number
  readonly weight: number
  readonly canary: boolean
  /** Endpoint metadata by filter namespace (`envoy.lb`, `envoy.transport_socket_match`, `istio`). */
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}
