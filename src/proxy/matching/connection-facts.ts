import type { HeaderMap } from '../http/header-map.ts'
import type { Address, ConnectionInfo, SslInfo } from '../network/connection.ts'
import type { DynamicMetadata, FilterState } from '../network/filter.ts'
import { StreamInfo } from '../stream-info.ts'
import type { MatchFacts } from './inputs.ts'

/** A view of one connection (and request) as matchers and RBAC read it; kept for the life of the filter, never copied. */
export class ConnectionFacts implements MatchFacts {
  headers: HeaderMap | null = null
  metadata: DynamicMetadata | null
  readonly filterState: FilterState
  private readonly info: ConnectionInfo
  private request: StreamInfo | null = null
  constructor(info: ConnectionInfo, filterState: FilterState, metadata: DynamicMetadata | null) {
    this.info = info
    this.filterState = filterState
    this.metadata = metadata
  }
  /** The request's; of a connection alone made when an expression asks. */
  get stream(): StreamInfo {
    if (this.request === null) {
      this.request = new StreamInfo(this.info, this.filterState)
      this.request.dynamicMetadata = this.metadata
    }
    return this.request
  }
  set stream(stream: StreamInfo) {
    this.request = stream
  }
  get localAddress(): Address {
    return this.info.localAddress
  }
  /** After X-Forwarded-For. */
  get remoteAddress(): Address {
    return this.info.remoteAddress
  }
  get directRemoteAddress(): Address {
    return this.info.directRemoteAddress
  }
  get requestedServerName(): string {
    return this.info.requestedServerName
  }
  get transportProtocol(): string {
    return this.info.transportProtocol
  }
  get applicationProtocols(): readonly string[] {
    return this.info.applicationProtocols
  }
  get ssl(): SslInfo | null {
    return this.info.ssl()
  }
}
