// What the main thread tells its workers and what they answer. Everything here survives structured clone.

import type { MessagePort } from 'node:worker_threads'
import type { NodeInfo, ParsedExtension } from '../config/extension.ts'
import type { Address } from '../network/connection.ts'
import type { ListenerConfig } from '../network/listener-config.ts'
import type { Secret } from '../network/tls/secret-store.ts'
import type { StatsSettings } from '../observe/stats-settings.ts'
import type { StatsDelta } from '../observe/stats-store.ts'
import type { RouteConfigChange, RouteConfigData } from '../route/config.ts'
import type { ClusterStatus } from '../upstream/cluster-status.ts'
import type { ClusterData, EndpointsData } from '../upstream/config.ts'
import type { PeerPorts } from '../upstream/peers.ts'
import type { RuntimeValue } from './runtime.ts'
import type { WatchdogData } from './watchdog.ts'

/** How a worker begins. */
export interface WorkerSettings {
  readonly index: number
  readonly concurrency: number
  /** To the other workers. */
  readonly peers: PeerPorts
  /** To each of the workers by its index, for connections; null for this one. Empty: there is one worker. */
  readonly connectionPorts: readonly (MessagePort | null)[]
  readonly node: NodeInfo
  readonly logLevel: string
  readonly drainTimeMs: number
  readonly drainImmediate: boolean
  /** cluster_manager.local_cluster_name; absent = there is none. */
  readonly localClusterName?: string
  readonly fileFlushIntervalMs: number
  readonly fileFlushMinBytes: number
  readonly stats: StatsSettings
  readonly runtime: Readonly<Record<string, RuntimeValue>>
  /** Downstream connections of the process, counted by all workers. */
  readonly openConnections: SharedArrayBuffer
  /** Decisions of the overload manager (network/overload-state.ts); null = there is none. */
  readonly overload: SharedArrayBuffer | null
  /** global_downstream_max_connections of the overload manager; null = not limited by it. */
  readonly maxDownstreamConnections: number | null
  readonly watchdog: WatchdogData
}

/** One change. A worker applies them in the order in which they come. */
export type WorkerUpdate =
  /** Adds or replaces a cluster; endpoints are those of EDS, null for other types. */
  | { readonly kind: 'cluster'; readonly cluster: ClusterData; readonly endpoints: EndpointsData | null }
  | { readonly kind: 'remove-cluster'; readonly name: string }
  /** `service`: the assignment's name: versions of the cluster that name another one are not meant. */
  | {
      readonly kind: 'endpoints'
      readonly cluster: string
      readonly service: string
      readonly endpoints: EndpointsData
    }
  | { readonly kind: 'listener'; readonly config: ListenerConfig }
  | { readonly kind: 'remove-listener'; readonly name: string }
  | { readonly kind: 'routes'; readonly config: RouteConfigData }
  /** Of a configuration that was sent before. */
  | { readonly kind: 'change-routes'; readonly change: RouteConfigChange }
  | { readonly kind: 'remove-routes'; readonly name: string }
  | { readonly kind: 'extension'; readonly name: string; readonly parsed: ParsedExtension }
  | { readonly kind: 'remove-extension'; readonly name: string }
  | { readonly kind: 'secret'; readonly secret: Secret }
  | { readonly kind: 'remove-secret'; readonly key: string }
  | { readonly kind: 'runtime'; readonly values: Readonly<Record<string, RuntimeValue>> }
  | { readonly kind: 'health-check'; readonly failed: boolean }
  | { readonly kind: 'start-drain'; readonly inboundOnly: boolean }
  | { readonly kind: 'accept-connections'; readonly accepting: boolean }
  | { readonly kind: 'stop-listeners'; readonly inboundOnly: boolean }
  /** `logger` null: every logger. */
  | { readonly kind: 'log-level'; readonly logger: string | null; readonly level: string }
  | { readonly kind: 'reopen-logs' }
  | { readonly kind: 'close' }

/** What can be asked of a worker. */
export interface WorkerAnswers {
  readonly stats: StatsDelta
  readonly clusters: readonly ClusterStatus[]
  readonly connections: number
}
export type WorkerQuery = keyof WorkerAnswers

export type ToWorker =
  | { readonly id: number; readonly update: WorkerUpdate }
  | { readonly id: number; readonly query: WorkerQuery }
  /** Answered when the cluster serves: updates that come meanwhile do not wait. */
  | { readonly id: number; readonly awaitCluster: string }

export type FromWorker =
  | { readonly id: number; readonly error: string | null; readonly bound: readonly Address[] | null }
  | { readonly id: number; readonly answer: unknown }
