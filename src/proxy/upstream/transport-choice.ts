// Which transport socket an endpoint gets: the first transport_socket_match that fits, else the cluster's own.

import type { SecretStore } from '../network/tls/secret-store.ts'
import { createUpstreamTransportSocket, type UpstreamTransportSocket } from '../network/transport-socket.ts'
import type { Counter, Scope } from '../observe/stats.ts'
import type { ClusterData, EndpointData, MetadataData } from './config.ts'

const NAMESPACE = 'envoy.transport_socket_match'

interface SocketMatch {
  readonly match: Readonly<Record<string, unknown>>
  readonly socket: UpstreamTransportSocket
  readonly count: Counter
}

export class TransportSocketMatcher {
  /** Where no transport_socket_match fits. */
  readonly plain: UpstreamTransportSocket
  private readonly plainCount: Counter
  private readonly matches: readonly SocketMatch[]

  /** `once`: counts in one worker only what every worker finds out. */
  constructor(data: ClusterData, secrets: SecretStore, scope: Scope, once: Scope) {
    this.plain = createUpstreamTransportSocket(data.transportSocket, secrets, scope)
    this.plainCount = once.counter('default.total_match_count')
    this.matches = data.transportSocketMatches.map(({ name, match, socket }) => ({
      match,
      socket: createUpstreamTransportSocket(socket, secrets, scope),
      count: once.counter(`${name}.total_match_count`),
    }))
  }

  /** The first whose fields the endpoint's (then the locality's) metadata has. */
  choose(endpoint: EndpointData, localityMetadata: MetadataData): UpstreamTransportSocket {
    const metadata = endpoint.metadata[NAMESPACE] ?? localityMetadata[NAMESPACE]
    for (const { match, socket, count } of this.matches) {
      const fits = Object.keys(match).every((key) => JSON.stringify(metadata?.[key]) === JSON.stringify(match[key]))
      if (!fits) continue
      count.inc()
      return socket
    }
    this.plainCount.inc()
    return this.plain
  }

  close(): void {
    this.plain.close()
    for (const match of this.matches) match.socket.close()
  }
}
