// One downstream connection and its network filters, in order (envoy-contract §9).

import type { Connection, ConnectionCallbacks } from './connection.ts'
import { ConnectionEvent } from './connection.ts'
import {
  type DynamicMetadata,
  type FilterState,
  FilterStatus,
  type NetworkFilter,
  type ReadFilterCallbacks,
} from './filter.ts'

/** Makes one filter for one connection. */
export type NetworkFilterFactory = (callbacks: ReadFilterCallbacks) => NetworkFilter

/** Told once, after the filters. */
export interface FilterManagerOwner {
  onConnectionClosed(manager: NetworkFilterManager): void
}

export class NetworkFilterManager implements ConnectionCallbacks {
  readonly connection: Connection
  readonly filterState: FilterState
  readonly dynamicMetadata: DynamicMetadata
  private readonly filters: NetworkFilter[] = []
  private readonly owner: FilterManagerOwner
  /** Filters before this one have had onNewConnection. */
  private initialized = 0
  /** onNewConnection of `initialized - 1` has stopped; bytes wait in `held`. */
  private stopped = false
  private held: Buffer[] = []
  private heldEnd = false

  constructor(
    connection: Connection,
    filterState: FilterState,
    dynamicMetadata: DynamicMetadata,
    factories: readonly NetworkFilterFactory[],
    owner: FilterManagerOwner,
  ) {
    this.connection = connection
    this.filterState = filterState
    this.dynamicMetadata = dynamicMetadata
    this.owner = owner
    connection.callbacks = this
    for (let i = 0; i < factories.length; i++) this.filters.push(factories[i]!(new FilterCallbacks(this, i)))
  }

  get id(): number {
    return this.connection.id
  }

  /** After construction, once. */
  start(): void {
    this.initialize()
  }

  onData(chunk: Buffer, endStream: boolean): void {
    if (this.stopped) {
      if (chunk.length > 0) this.held.push(Buffer.from(chunk))
      this.heldEnd ||= endStream
      return
    }
    this.deliver(0, chunk, endStream)
  }

  onEvent(event: ConnectionEvent): void {
    for (let i = 0; i < this.filters.length; i++) {
      try {
        this.filters[i]!.onEvent(event)
      } catch (error) {
        this.connection.onFault(error)
      }
    }
    if (event !== ConnectionEvent.Connected) this.owner.onConnectionClosed(this)
  }

  onAboveWriteBufferHighWatermark(): void {
    for (let i = 0; i < this.filters.length; i++) this.filters[i]!.onAboveWriteBufferHighWatermark?.()
  }

  onBelowWriteBufferLowWatermark(): void {
    for (let i = 0; i < this.filters.length; i++) this.filters[i]!.onBelowWriteBufferLowWatermark?.()
  }

  /** Filters from `index` on see the bytes. */
  deliver(index: number, chunk: Buffer, endStream: boolean): void {
    const filters = this.filters
    for (let i = index; i < filters.length; i++) {
      if (!this.connection.open) return
      if (filters[i]!.onData(chunk, endStream) === FilterStatus.StopIteration) return
    }
  }

  /** For a filter that had stopped: may be called from anywhere, so a fault of the filters after it must end here. */
  continueReading(index: number): void {
    try {
      this.readOn(index)
    } catch (error) {
      this.connection.onFault(error)
    }
  }

  private readOn(index: number): void {
    if (!this.stopped || index !== this.initialized - 1) return
    this.stopped = false
    this.initialize()
    if (this.stopped || !this.connection.open) return
    const held = this.held
    this.held = []
    // Nobody has seen them: the filters before the one that stopped get them too.
    for (let i = 0; i < held.length; i++) this.deliver(0, held[i]!, this.heldEnd && i === held.length - 1)
    if (this.heldEnd && held.length === 0) this.deliver(0, EMPTY, true)
  }

  private initialize(): void {
    while (this.initialized < this.filters.length && this.connection.open) {
      if (this.filters[this.initialized++]!.onNewConnection() === FilterStatus.StopIteration) {
        this.stopped = true
        return
      }
    }
  }
}

const EMPTY = Buffer.alloc(0)

/** A filter's view of its place in the chain. */
class FilterCallbacks implements ReadFilterCallbacks {
  readonly connection: Connection
  readonly filterState: FilterState
  readonly dynamicMetadata: DynamicMetadata
  private readonly manager: NetworkFilterManager
  private readonly index: number

  constructor(manager: NetworkFilterManager, index: number) {
    this.manager = manager
    this.index = index
    this.connection = manager.connection
    this.filterState = manager.filterState
    this.dynamicMetadata = manager.dynamicMetadata
  }

  continueReading(): void {
    this.manager.continueReading(this.index)
  }

  injectReadData(chunk: Buffer, endStream: boolean): void {
    this.manager.deliver(this.index + 1, chunk, endStream)
  }
}
