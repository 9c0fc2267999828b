import type { ServiceEntryVisibility } from '../../config/index.ts'
import type { NetworkLookup } from './network-lookup.ts'

/** What conversions need to know of the mesh. */
export interface RegistrySettings {
  readonly domain: string
  readonly clusterId: string
  readonly trustDomain: string
  readonly rootNamespace: string
  readonly defaultServiceExportTo: readonly string[]
  /** How far ServiceEntries may be seen by sidecars and gateways; undefined: as far as they say. */
  readonly serviceEntryVisibility?: ServiceEntryVisibility
  readonly networks: NetworkLookup
}

/** The identity of a service account. */
export function spiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}
