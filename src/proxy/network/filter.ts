// Network filters: Envoy's read filters on a connection, in order, the last one terminal.

import type { Connection, ConnectionEvent } from './connection.ts'

/**
 * StopIteration from onNewConnection: the filters after this one wait, and so do bytes that arrive, until
 * continueReading(). StopIteration from onData: the filter has taken the chunk; what it kept it hands on with
 * injectReadData().
 */
export const FilterStatus = { Continue: 0, StopIteration: 1 } as const
export type FilterStatus = (typeof FilterStatus)[keyof typeof FilterStatus]

/** What a network filter may ask of its connection. */
export interface ReadFilterCallbacks {
  readonly connection: Connection
  /** Resumes after StopIteration: later filters get onNewConnection, then the bytes held back. */
  continueReading(): void
  /** Hands bytes on to the filters after this one, e.g. bytes a filter held back. */
  injectReadData(chunk: Buffer, endStream: boolean): void
  /** Filter state shared by the filters of this connection and its streams (peer metadata, SNI override, …). */
  readonly filterState: FilterState
  readonly dynamicMetadata: DynamicMetadata
}

/** One instance per connection. Chunks are borrowed. */
export interface NetworkFilter {
  onNewConnection(): FilterStatus
  onData(chunk: Buffer, endStream: boolean): FilterStatus
  onEvent(event: ConnectionEvent): void
  onAboveWriteBufferHighWatermark?(): void
  onBelowWriteBufferLowWatermark?(): void
}

/** An object of filter state as a text; undefined: there is none, or it has none. */
export function stateText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  const object = value as { serializeAsString?(): string } | null | undefined
  return object?.serializeAsString?.()
}

/** Keyed objects of one connection or stream; a stream's state falls back to its connection's. */
export class FilterState {
  private readonly parent: FilterState | null
  private objects: Map<string, unknown> | null = null
  private readOnly: Set<string> | null = null
  constructor(parent: FilterState | null = null) {
    this.parent = parent
  }
  get(key: string): unknown {
    return this.objects?.get(key) ?? this.parent?.get(key)
  }
  /** `readOnly`: nobody may set it again. What is read-only already stays as it is. */
  set(key: string, value: unknown, readOnly = false): void {
    if (this.readOnly?.has(key)) return
    this.objects ??= new Map()
    this.objects.set(key, value)
    if (readOnly) this.readOnly = (this.readOnly ?? new Set()).add(key)
  }
  get isEmpty(): boolean {
    return this.objects === null
  }
  entries(): Iterable<[string, unknown]> {
    return this.objects ?? []
  }
}

/** `envoy.filters.http.rbac` → { key: JSON value }. */
export type DynamicMetadata = Record<string, Record<string, unknown>>
