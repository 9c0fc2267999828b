// A stream's view of its connection when X-Forwarded-For names another client than the peer.

import type { Address, ConnectionInfo, SslInfo } from '../../network/connection.ts'

/** Everything of the connection but the remote address. */
export class StreamDownstreamInfo implements ConnectionInfo {
  remoteAddress: Address
  private readonly base: ConnectionInfo

  constructor(base: ConnectionInfo, remoteAddress: Address) {
    this.base = base
    this.remoteAddress = remoteAddress
  }

  get localAddress(): Address {
    return this.base.localAddress
  }
  set localAddress(address: Address) {
    this.base.localAddress = address
  }
  get directLocalAddress(): Address {
    return this.base.directLocalAddress
  }
  get directRemoteAddress(): Address {
    return this.base.directRemoteAddress
  }
  get localAddressRestored(): boolean {
    return this.base.localAddressRestored
  }
  set localAddressRestored(restored: boolean) {
    this.base.localAddressRestored = restored
  }
  get requestedServerName(): string {
    return this.base.requestedServerName
  }
  set requestedServerName(name: string) {
    this.base.requestedServerName = name
  }
  get ja3Hash(): string {
    return this.base.ja3Hash ?? ''
  }
  get ja4Hash(): string {
    return this.base.ja4Hash ?? ''
  }
  get transportProtocol(): string {
    return this.base.transportProtocol
  }
  set transportProtocol(protocol: string) {
    this.base.transportProtocol = protocol
  }
  get applicationProtocols(): readonly string[] {
    return this.base.applicationProtocols
  }
  set applicationProtocols(protocols: readonly string[]) {
    this.base.applicationProtocols = protocols
  }
  get negotiatedProtocol(): string {
    return this.base.negotiatedProtocol
  }
  get connectionId(): number {
    return this.base.connectionId
  }
  get startTimeMs(): number {
    return this.base.startTimeMs
  }
  get handshakeEnd(): number {
    return this.base.handshakeEnd ?? 0
  }
  ssl(): SslInfo | null {
    return this.base.ssl()
  }
  get filterChainName(): string {
    return this.base.filterChainName
  }
  set filterChainName(name: string) {
    this.base.filterChainName = name
  }
  get listenerName(): string {
    return this.base.listenerName
  }
  set listenerName(name: string) {
    this.base.listenerName = name
  }
  get listenerMetadata(): Readonly<Record<string, unknown>> | null {
    return this.base.listenerMetadata ?? null
  }
  set listenerMetadata(metadata: Readonly<Record<string, unknown>> | null) {
    this.base.listenerMetadata = metadata
  }
  get connectionTerminationDetails(): string {
    return this.base.connectionTerminationDetails
  }
  set connectionTerminationDetails(details: string) {
    this.base.connectionTerminationDetails = details
  }
  get downstreamTransportFailureReason(): string {
    return this.base.downstreamTransportFailureReason
  }
  set downstreamTransportFailureReason(reason: string) {
    this.base.downstreamTransportFailureReason = reason
  }
}
