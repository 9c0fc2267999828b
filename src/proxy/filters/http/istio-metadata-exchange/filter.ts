// istio.metadata_exchange for HTTP: sidecars introduce themselves in two headers, which never reach an application.

import type { WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import {
  DOWNSTREAM_PEER,
  decodePeer,
  encodePeer,
  ownPeer,
  PEER_METADATA_HEADER,
  PEER_METADATA_ID_HEADER,
  type PeerMetadata,
  UPSTREAM_PEER,
} from '../../common/peer-metadata.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { MetadataExchangeConfig } from './config.ts'

const PASSTHROUGH_CLUSTER = 'PassthroughCluster'
/** Peers are few and send the same bytes with every request; a peer that sends ever new ones gets no more memory. */
const MAX_CACHED_PEERS = 500

class Shared {
  readonly config: MetadataExchangeConfig
  readonly clusters: ClusterManager
  readonly ownId: string
  readonly ownMetadata: string
  private readonly peers = new Map<string, { readonly encoded: string; readonly peer: PeerMetadata | null }>()

  constructor(config: MetadataExchangeConfig, context: WorkerContext) {
    this.config = config
    this.clusters = context.clusters
    this.ownId = context.node.id
    this.ownMetadata = Buffer.from(encodePeer(ownPeer(context.node))).toString('base64')
  }

  /** Takes both headers off; null when they are missing or say nothing. */
  takePeer(headers: HeaderMap): PeerMetadata | null {
    const encoded = headers.get(PEER_METADATA_HEADER)
    const id = headers.get(PEER_METADATA_ID_HEADER)
    if (encoded !== undefined) headers.remove(PEER_METADATA_HEADER)
    if (id !== undefined) headers.remove(PEER_METADATA_ID_HEADER)
    return encoded === undefined ? null : this.decode(id ?? '', encoded)
  }

  private decode(id: string, encoded: string): PeerMetadata | null {
    const cached = this.peers.get(id)
    if (cached !== undefined && cached.encoded === encoded) return cached.peer
    const peer = decodePeer(Buffer.from(encoded, 'base64'))
    if (id !== '') {
      if (this.peers.size >= MAX_CACHED_PEERS) this.peers.clear()
      this.peers.set(id, { encoded, peer })
    }
    return peer
  }

  introduce(headers: HeaderMap): void {
    headers.set(PEER_METADATA_ID_HEADER, this.ownId)
    headers.set(PEER_METADATA_HEADER, this.ownMetadata)
  }
}

export function createMetadataExchangeFilter(
  config: MetadataExchangeConfig,
  context: WorkerContext,
): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new MetadataExchangeFilter(shared))
}

class MetadataExchangeFilter extends PassThroughFilter {
  private readonly shared: Shared
  private introduced = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { config } = this.shared
    if (config.discoverDownstream) {
      this.introduced = headers.has(PEER_METADATA_ID_HEADER)
      const peer = this.shared.takePeer(headers)
      if (peer !== null) this.callbacks.streamInfo.filterState.set(DOWNSTREAM_PEER, peer)
    }
    if (config.propagateUpstream && this.mayIntroduce(headers)) this.shared.introduce(headers)
    return FilterHeadersStatus.Continue
  }

  /** Not to clusters that lead to strangers. */
  private mayIntroduce(headers: HeaderMap): boolean {
    const route = this.callbacks.route()
    if (route === null || route.forward === null) return true
    const name = route.clusterName(headers)
    if (name === PASSTHROUGH_CLUSTER) return false
    const metadata = this.shared.clusters.get(name)?.metadata.istio
    if (metadata === undefined) return true
    if (metadata.disable_mx === true) return false
    return !(this.shared.config.skipExternalClusters && metadata.external === true)
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { config } = this.shared
    if (config.discoverUpstream) {
      const peer = this.shared.takePeer(headers)
      if (peer !== null) this.callbacks.streamInfo.filterState.set(UPSTREAM_PEER, peer)
    }
    // Only a peer that introduced itself is answered in kind.
    if (config.propagateDownstream && this.introduced) this.shared.introduce(headers)
    return FilterHeadersStatus.Continue
  }
}
