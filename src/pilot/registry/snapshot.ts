import type { KubeObject } from '../../cluster/index.ts'
import type { WorkloadIndex } from '../model/push-context.ts'
import type { EndpointSet } from '../model/service.ts'
import type { ServiceIndex } from '../model/service-index.ts'

/** What one flush changed. Keys are {@link serviceKey}s. */
export interface RegistryChanges {
  /** Services that appeared, vanished or changed in themselves. */
  readonly services: ReadonlySet<string>
  /** Services whose endpoints changed. */
  readonly endpoints: ReadonlySet<string>
  /** Services whose endpoints' service accounts, or mutual TLS ability, changed: their clusters change too. */
  readonly identities: ReadonlySet<string>
  /** Addresses that became or ceased to be endpoints: proxies there serve other ports than before. */
  readonly addresses: ReadonlySet<string>
  /** Addresses of workloads that appeared, vanished or changed labels: proxies on them see themselves anew. */
  readonly workloads: ReadonlySet<string>
}

/** Snapshot of the registry, sharing every part that did not change with the one before. */
export interface RegistrySnapshot {
  readonly services: ServiceIndex
  readonly endpoints: ReadonlyMap<string, EndpointSet>
  readonly workloads: WorkloadIndex
  readonly nodes: ReadonlyMap<string, KubeObject>
}
