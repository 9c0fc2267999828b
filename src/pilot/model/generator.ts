// The seam between push machinery and translators.
import type { DescMessage, Message } from '@bufbuild/protobuf'
import type { ProxyNode } from './node.ts'
import type { PushContext } from './push-context.ts'

/** Resource names a generator is asked for; null means all (wildcard types). */
export type WatchedNames = ReadonlySet<string> | null

/**
 * Translates for one proxy: pure, a function of its arguments. Returns the messages in Istio's order (CDS, LDS), or one
 * message a name (EDS, RDS; a name without content gives an empty resource, so that the proxy does not wait for it).
 * Names: Cluster.name, ClusterLoadAssignment.clusterName, Listener.name, RouteConfiguration.name.
 */
export type Generate<M extends Message> = (proxy: ProxyNode, push: PushContext, watched: WatchedNames) => M[]

export interface Generator<M extends Message = Message> {
  readonly typeUrl: string
  readonly schema: DescMessage
  readonly generate: Generate<M>
}
