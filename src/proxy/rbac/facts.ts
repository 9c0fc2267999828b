import type { HeaderMap } from '../http/header-map.ts'
import type { Address, ConnectionInfo, SslInfo } from '../network/connection.ts'
import type { DynamicMetadata, FilterState } from '../network/filter.ts'
import type { RbacFacts } from './engine.ts'

/** A view of one connection (and request) as RBAC reads it; kept for the life of the filter, never copied. */
export class ConnectionFacts implements RbacFacts {
  headers: HeaderMap | null = null
  metadata: DynamicMetadata | null
  readonly filterState: FilterState
  private readonly info: ConnectionInfo
  constructor(info: ConnectionInfo, filterState: FilterState, metadata: DynamicMetadata | null) {
    this.info = info
    this.filterState = filterState
    this.metadata = metadata
  }
  get localAddress(): Address {
    return this.info.localAddress
  }
  get remoteAddress(): Address {
    return this.info.remoteAddress
  }
  get directRemoteAddress(): Address {
    return this.info.directRemoteAddress
  }
  get requestedServerName(): string {
    return this.info.requestedServerName
  }
  get ssl(): SslInfo | null {
    return this.info.ssl()
  }
}
