// A proxy that follows the control plane.
import type { SubscriptionChange, XdsConnection } from '../../xds/server-types.ts'
import type { Changes } from '../commit.ts'
import type { ProxyNode } from '../model/node.ts'
import type { ClusterState } from './cluster-state.ts'

/** A proxy on one stream. */
export interface Client {
  readonly connection: XdsConnection
  /** As its node describes it. */
  readonly node: ProxyNode
  /** With its workload's labels and place, as of the last push. */
  proxy: ProxyNode
  /** Changes not pushed yet; null: none. */
  pending: Changes | null
  /** When the oldest pending change happened (performance.now). */
  pendingMs: number
  /** When the oldest change happened that was pushed but is not acknowledged yet; 0: none. */
  unackedMs: number
  queued: boolean
  /** The clusters it was sent last; null before the first answer, and for clients that ask by name. */
  clusters: ClusterState | null
  /** Why a type could not be generated, or not all of it: the proxy keeps what it has, until a later push can. */
  readonly faults: Map<string, string>
  /** Subscriptions that wait for their answer. */
  readonly asked: { readonly typeUrl: string; readonly change: SubscriptionChange }[]
}
