// What is said of a new push context: what changed, what is to be written back, what is wrong.
import type { Problem } from '../base/errors.ts'
import type { KubeObject } from '../cluster/index.ts'
import type { IstioKind } from '../config/index.ts'
import type { GatewayWorkload } from './gateway-api/workload.ts'
import type { Fault } from './isolation.ts'
import type { PushContext } from './model/push-context.ts'
import type { RegistryChanges } from './registry/snapshot.ts'
import type { ObjectStatus } from './status.ts'

/** What a new push context differs in from the one before. */
export interface Changes extends RegistryChanges {
  /** Istio kinds with a changed resource. */
  readonly kinds: ReadonlySet<IstioKind>
  /** {@link resourceKey}s of changed resources. */
  readonly resources: ReadonlySet<string>
  /** A changed VirtualService has, or had, TLS or TCP routes: those stand in listeners. */
  readonly l4Routes: boolean
  /** Secrets and ConfigMaps that changed: `Kind/namespace/name`. */
  readonly credentials: ReadonlySet<string>
  /** Generate everything anew: first snapshot, mesh configuration, forced push. */
  readonly all: boolean
}

/** What a commit yields. */
export interface Commit {
  readonly push: PushContext
  readonly changes: Changes
  /** What statuses of resources should say; empty when nothing that decides them changed. */
  readonly statuses: readonly ObjectStatus[]
  /** What Gateways are to be given; null when nothing that decides it changed. */
  readonly workloads: readonly GatewayWorkload[] | null
  /** Objects with which nothing could be built: their last good versions stay until they change. */
  readonly faults: readonly Fault[]
}

/** A resource that was refused, or accepted with something to say. */
export type ReportProblems = (object: KubeObject, problems: readonly Problem[]) => void
