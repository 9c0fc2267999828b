// istio.metadata_exchange on TCP: where ALPN says that the peer is an Istio proxy, each side sends its metadata first
// and takes the other's off the stream (envoy-contract §11.2).

import { type MetadataExchange, MetadataExchangeSchema } from '../../../../api/gen/istio/metadata_exchange_pb.js'
import type { NetworkFilterExtension, WorkerContext } from '../../../config/extension.ts'
import { ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import type { Counter } from '../../../observe/stats.ts'
import { DOWNSTREAM_PEER, encodePeer, ownPeer, type PeerMetadata, UPSTREAM_PEER } from '../../common/peer-metadata.ts'
import { decodeExchange, encodeExchange } from './header.ts'

export interface MetadataExchangeConfig {
  readonly protocol: string
}

interface Shared {
  readonly protocol: string
  /** Made once: a node's metadata does not change. */
  readonly hello: Buffer
  /** Filter state that gets the peer. */
  readonly peerKey: string
  readonly alpnFound: Counter
  readonly alpnNotFound: Counter
  readonly initialHeaderNotFound: Counter
  readonly headerNotFound: Counter
  readonly metadataAdded: Counter
}

function share(config: MetadataExchangeConfig, context: WorkerContext): Shared {
  const scope = context.stats.scope('metadata_exchange')
  return {
    protocol: config.protocol,
    hello: encodeExchange(encodePeer(ownPeer(context.node)), context.node.id),
    // Without a listener the filter stands on a cluster: the peer is upstream.
    peerKey: context.listener === null ? UPSTREAM_PEER : DOWNSTREAM_PEER,
    alpnFound: scope.counter('alpn_protocol_found'),
    alpnNotFound: scope.counter('alpn_protocol_not_found'),
    initialHeaderNotFound: scope.counter('initial_header_not_found'),
    headerNotFound: scope.counter('header_not_found'),
    metadataAdded: scope.counter('metadata_added'),
  }
}

const State = { Unknown: 0, Reading: 1, Done: 2 } as const
type State = (typeof State)[keyof typeof State]

class MetadataExchangeFilter implements NetworkFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private state: State = State.Unknown
  private held: Buffer | null = null

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    if (!this.callbacks.connection.connecting) this.begin()
    return FilterStatus.Continue
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected && this.state === State.Unknown) this.begin()
  }

  onData(chunk: Buffer, endStream: boolean): FilterStatus {
    if (this.state !== State.Reading) return FilterStatus.Continue
    const bytes = this.held === null ? chunk : Buffer.concat([this.held, chunk])
    const result = decodeExchange(bytes)
    if (result.kind === 'need-more' && !endStream) {
      // The chunk is borrowed.
      this.held = this.held === null ? Buffer.from(chunk) : bytes
      return FilterStatus.StopIteration
    }
    this.held = null
    this.state = State.Done
    if (result.kind === 'found') this.accept(result.peer)
    else this.shared.initialHeaderNotFound.inc()
    this.callbacks.injectReadData(result.kind === 'found' ? bytes.subarray(result.length) : bytes, endStream)
    return FilterStatus.StopIteration
  }

  /** The handshake is over, or there is none. */
  private begin(): void {
    const { connection } = this.callbacks
    if (connection.info.negotiatedProtocol !== this.shared.protocol) {
      this.state = State.Done
      this.shared.alpnNotFound.inc()
      return
    }
    this.state = State.Reading
    this.shared.alpnFound.inc()
    this.shared.metadataAdded.inc()
    connection.write(this.shared.hello, false)
  }

  private accept(peer: PeerMetadata | null): void {
    if (peer === null) this.shared.headerNotFound.inc()
    else this.callbacks.filterState.set(this.shared.peerKey, peer)
  }
}

export const metadataExchange: NetworkFilterExtension<MetadataExchangeConfig> = {
  name: 'istio.metadata_exchange',
  desc: MetadataExchangeSchema,
  // enable_discovery and additional_labels concern metrics labels from a workload registry, which ztunnel deployments have.
  parse: (message) => ({ protocol: (message as MetadataExchange).protocol }),
  create: (config, context) => {
    const shared = share(config, context)
    return (callbacks) => new MetadataExchangeFilter(shared, callbacks)
  },
  upstreamAlpn: (config) => config.protocol,
}
