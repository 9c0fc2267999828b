// The embedded cluster's API as types: what a client sends and gets, one entry per operation.
import type { KubeObject } from '../cluster/index.ts'
import type { BalancedServices } from './balanced-services.ts'
import type { ClusterEvent } from './event-log.ts'
import type { ApplyReport, FolderFile } from './folder-source.ts'
import type { ProxyChoice } from './inject.ts'
import type { PodSummary } from './pod-summary.ts'
import type { ResourceType } from './resource-names.ts'

export interface ObjectRef {
  readonly kind: string
  readonly namespace?: string
  readonly name: string
}

export interface MeshStatus {
  readonly proxy: ProxyChoice
  readonly pods: readonly ({ namespace: string; name: string } & PodSummary)[]
  readonly deployments: readonly { namespace: string; name: string; want: number; ready: number; done: boolean }[]
}

/** Where a container runs, for entering its namespaces. */
export interface ContainerInfo {
  readonly container: string
  /** Process id in the node's PID namespace. */
  readonly pid: number
  readonly env: Readonly<Record<string, string>>
  /** Where commands start, as seen inside. */
  readonly workingDir: string
}

export interface LogRequest {
  readonly namespace: string
  readonly pod: string
  readonly container?: string
  readonly follow?: boolean
  /** Last lines to start from; all when not given. */
  readonly tail?: number
  readonly previous?: boolean
}

export interface ApiOperations {
  status: { input: Record<string, never>; output: MeshStatus }
  shutdown: { input: Record<string, never>; output: undefined }
  folder: { input: { files: readonly FolderFile[]; everything?: boolean }; output: ApplyReport }
  apply: { input: { files: readonly FolderFile[] }; output: ApplyReport }
  delete: { input: { targets: readonly ObjectRef[] }; output: string[] }
  deleteManifests: { input: { files: readonly FolderFile[] }; output: string[] }
  list: { input: { kind: string; namespace?: string }; output: KubeObject[] }
  /** What a word such as `svc` means; only the cluster knows its kinds. */
  resourceType: { input: { word: string }; output: ResourceType }
  events: { input: Record<string, never>; output: readonly ClusterEvent[] }
  /** `labels` with null values are removed. */
  patch: { input: ObjectRef & { labels?: Record<string, string | null>; replicas?: number }; output: KubeObject }
  container: { input: { namespace: string; pod: string; container?: string }; output: ContainerInfo }
  /** For the audience and an hour, as the TokenRequest of Kubernetes. */
  serviceAccountToken: {
    input: { namespace: string; serviceAccount: string; audience: string }
    output: string
  }
  /** Answers when there is another list than that of version `since`. */
  balancedServices: { input: { since: number }; output: BalancedServices }
}
