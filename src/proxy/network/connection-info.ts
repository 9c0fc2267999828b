// Addresses and handshake results of one connection.

import type { Address, ConnectionInfo, SslInfo, UpstreamSource } from './connection.ts'
import type { FilterState } from './filter.ts'

let lastId = 0
let idStep = 1

/** Keeps connection ids unique across workers: worker `index` of `concurrency` counts index + 1, index + 1 + concurrency, … */
export function setConnectionIdRange(index: number, concurrency: number): void {
  lastId = index + 1 - concurrency
  idStep = concurrency
}

function nextConnectionId(): number {
  lastId += idStep
  return lastId
}

/** Reads TLS facts when they are first asked for. */
export interface SslSource {
  get(): SslInfo
  /** What it reads from goes away; what may still be asked for is kept. */
  release(): void
}

/** Every field is set here, in order: one hidden class for all connections. */
export class SocketConnectionInfo implements ConnectionInfo {
  localAddress: Address
  readonly directLocalAddress: Address
  remoteAddress: Address
  directRemoteAddress: Address
  localAddressRestored = false
  requestedServerName = ''
  ja3Hash = ''
  ja4Hash = ''
  transportProtocol = 'raw_buffer'
  applicationProtocols: readonly string[] = []
  negotiatedProtocol = ''
  readonly connectionId: number
  readonly startTimeMs: number
  filterChainName = ''
  listenerName = ''
  listenerMetadata: Readonly<Record<string, unknown>> | null = null
  connectionTerminationDetails = ''
  downstreamTransportFailureReason = ''
  upstreamSource: UpstreamSource | null = null
  filterState: FilterState | null = null
  /** Set by the transport socket once its handshake is done. */
  sslSource: SslSource | null = null
  connectStart = 0
  connectEnd = 0
  handshakeEnd = 0

  constructor(localAddress: Address, remoteAddress: Address) {
    this.localAddress = localAddress
    this.directLocalAddress = localAddress
    this.remoteAddress = remoteAddress
    this.directRemoteAddress = remoteAddress
    this.connectionId = nextConnectionId()
    this.startTimeMs = Date.now()
  }

  ssl(): SslInfo | null {
    return this.sslSource === null ? null : this.sslSource.get()
  }
}
