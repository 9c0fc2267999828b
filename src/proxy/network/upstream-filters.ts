// Network filters on an upstream connection (cluster.filters): a Connection around the connection.

import type { Gauge } from '../observe/stats.ts'
import type { DetectedClose } from './close.ts'
import type { CloseType, Connection, ConnectionCallbacks, ConnectionEvent, ConnectionInfo } from './connection.ts'
import {
  type DynamicMetadata,
  FilterState,
  FilterStatus,
  type NetworkFilter,
  type ReadFilterCallbacks,
} from './filter.ts'
import type { NetworkFilterFactory } from './filter-manager.ts'

/** A configured filter of a cluster in a worker. */
export interface UpstreamFilter {
  /** Only on connections that offer this ALPN protocol; null = on all. */
  readonly alpn: string | null
  readonly factory: NetworkFilterFactory
}

/** `inner` itself when no filter applies. Its callbacks are taken; the owner sets those of the result. */
export function withUpstreamFilters(
  inner: Connection,
  filters: readonly UpstreamFilter[],
  offeredAlpn: readonly string[],
): Connection {
  if (filters.length === 0) return inner
  const factories: NetworkFilterFactory[] = []
  for (const { alpn, factory } of filters) if (alpn === null || offeredAlpn.includes(alpn)) factories.push(factory)
  return factories.length === 0 ? inner : new FilteredConnection(inner, factories)
}

const NO_CALLBACKS: ConnectionCallbacks = {
  onData() {},
  onEvent() {},
  onAboveWriteBufferHighWatermark() {},
  onBelowWriteBufferLowWatermark() {},
}

/** What arrives passes the filters' onData, first to last, before the owner sees it. */
class FilteredConnection implements Connection, ConnectionCallbacks {
  callbacks: ConnectionCallbacks = NO_CALLBACKS
  private readonly inner: Connection
  private readonly filters: NetworkFilter[] = []
  private started = false

  constructor(inner: Connection, factories: readonly NetworkFilterFactory[]) {
    this.inner = inner
    inner.callbacks = this
    const filterState = new FilterState()
    inner.info.filterState = filterState
    const dynamicMetadata: DynamicMetadata = {}
    for (let i = 0; i < factories.length; i++) {
      this.filters.push(factories[i]!(new UpstreamFilterCallbacks(this, inner, i, filterState, dynamicMetadata)))
    }
  }

  get id(): number {
    return this.inner.id
  }
  get info(): ConnectionInfo {
    return this.inner.info
  }
  get open(): boolean {
    return this.inner.open
  }
  get connecting(): boolean {
    return this.inner.connecting
  }
  onFault(error: unknown): void {
    this.inner.onFault(error)
  }
  get localCloseReason(): string {
    return this.inner.localCloseReason
  }
  set localCloseReason(reason: string) {
    this.inner.localCloseReason = reason
  }
  get delayedCloseTimedOut(): boolean {
    return this.inner.delayedCloseTimedOut
  }
  get bindFailed(): boolean {
    return this.inner.bindFailed
  }

  get connectTimedOut(): boolean {
    return this.inner.connectTimedOut
  }
  get bufferedBytes(): number {
    return this.inner.bufferedBytes
  }
  get aboveHighWatermark(): boolean {
    return this.inner.aboveHighWatermark
  }
  get batchWrites(): boolean {
    return this.inner.batchWrites
  }
  set batchWrites(on: boolean) {
    this.inner.batchWrites = on
  }
  get bytesReceived(): number {
    return this.inner.bytesReceived
  }
  get bytesSent(): number {
    return this.inner.bytesSent
  }
  get detectedClose(): DetectedClose {
    return this.inner.detectedClose
  }
  get transportFailureReason(): string {
    return this.inner.transportFailureReason
  }
  get reserveOffset(): number {
    return this.inner.reserveOffset
  }
  reserve(size: number): Buffer {
    return this.inner.reserve(size)
  }
  commit(used: number): void {
    this.inner.commit(used)
  }
  flush(): void {
    this.inner.flush()
  }
  readDisable(disable: boolean): void {
    this.inner.readDisable(disable)
  }
  close(type: CloseType, details?: string): void {
    this.inner.close(type, details)
  }
  countBuffered(rx: Gauge, tx: Gauge): void {
    this.inner.countBuffered(rx, tx)
  }
  setBufferLimits(bytes: number): void {
    this.inner.setBufferLimits(bytes)
  }
  setDelayedCloseTimeoutMs(timeoutMs: number): void {
    this.inner.setDelayedCloseTimeoutMs(timeoutMs)
  }
  setNoDelay(on: boolean): void {
    this.inner.setNoDelay(on)
  }

  write(chunk: Buffer, endStream: boolean): void {
    this.inner.write(chunk, endStream)
  }

  onData(chunk: Buffer, endStream: boolean): void {
    this.deliver(0, chunk, endStream)
  }

  deliver(index: number, chunk: Buffer, endStream: boolean): void {
    for (let i = index; i < this.filters.length; i++) {
      if (!this.inner.open || this.filters[i]!.onData(chunk, endStream) === FilterStatus.StopIteration) return
    }
    this.callbacks.onData(chunk, endStream)
  }

  /** Filters hear of the connection before its owner does: their bytes go first. */
  onEvent(event: ConnectionEvent): void {
    if (!this.started) {
      this.started = true
      for (const filter of this.filters) filter.onNewConnection()
    }
    for (const filter of this.filters) filter.onEvent(event)
    this.callbacks.onEvent(event)
  }

  onAboveWriteBufferHighWatermark(): void {
    this.callbacks.onAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.callbacks.onBelowWriteBufferLowWatermark()
  }
}

class UpstreamFilterCallbacks implements ReadFilterCallbacks {
  readonly connection: Connection
  readonly filterState: FilterState
  readonly dynamicMetadata: DynamicMetadata
  private readonly owner: FilteredConnection
  private readonly index: number

  constructor(
    owner: FilteredConnection,
    inner: Connection,
    index: number,
    filterState: FilterState,
    dynamicMetadata: DynamicMetadata,
  ) {
    this.owner = owner
    this.connection = inner
    this.index = index
    this.filterState = filterState
    this.dynamicMetadata = dynamicMetadata
  }

  /** Upstream filters cannot hold a connection back: there is nothing to resume. */
  continueReading(): void {}

  injectReadData(chunk: Buffer, endStream: boolean): void {
    this.owner.deliver(this.index + 1, chunk, endStream)
  }
}
