// An accepted socket while its listener filters run: it collects the bytes they ask for and hands them on untouched.

import type { Socket } from 'node:net'
import { ownedTimeout } from '../../base/fault-owner.ts'
import { ownObject, setOwnValue } from '../../base/own-property.ts'
import type { SocketConnectionInfo } from './connection-info.ts'
import type { ConnectionSlot } from './connection-limits.ts'
import { reportFault } from './fault.ts'
import { type DynamicMetadata, FilterState } from './filter.ts'
import { type AcceptedSocketView, type ListenerFilter, ListenerFilterStatus } from './listener-filter.ts'
import { socketFd } from './socket-handle.ts'

/** How the run of a socket's listener filters ended. */
export const FilterRunEnd = {
  /** All passed. */
  Done: 0,
  /** A filter refused the connection. */
  Refused: 1,
  /** The peer went away. */
  RemoteClose: 2,
  Timeout: 3,
} as const
export type FilterRunEnd = (typeof FilterRunEnd)[keyof typeof FilterRunEnd]

/** Told once for each run. */
export interface FilterRunCallbacks {
  onFiltersEnd(accepted: AcceptedSocket, end: FilterRunEnd): void
}

const EMPTY = Buffer.alloc(0)

export class AcceptedSocket implements AcceptedSocketView {
  readonly info: SocketConnectionInfo
  readonly ipv6: boolean
  readonly transparent: boolean
  readonly filterState = new FilterState()
  readonly dynamicMetadata: DynamicMetadata = {}
  /** Received, not consumed. */
  bytes: Buffer = EMPTY
  private readonly socket: Socket
  readonly slot: ConnectionSlot
  private filters: readonly ListenerFilter[] = []
  private index = 0
  private callbacks: FilterRunCallbacks | null = null
  private waiting = false
  private timer: NodeJS.Timeout | null = null

  /** `socket` is paused and nobody has read from it. */
  constructor(
    socket: Socket,
    info: SocketConnectionInfo,
    options: { readonly ipv6: boolean; readonly transparent: boolean; readonly slot: ConnectionSlot },
  ) {
    this.socket = socket
    this.slot = options.slot
    this.info = info
    this.ipv6 = options.ipv6
    this.transparent = options.transparent
    socket.on('error', ignoreError)
  }

  get id(): number {
    return this.info.connectionId
  }

  get fd(): number {
    return socketFd(this.socket)
  }

  consume(bytes: number): void {
    this.bytes = this.bytes.subarray(bytes)
  }

  setDynamicMetadata(namespace: string, key: string, value: unknown): void {
    setOwnValue(ownObject(this.dynamicMetadata, namespace), key, value)
  }

  setFilterState(key: string, value: unknown): void {
    this.filterState.set(key, value)
  }

  /** Runs filters in order; the end is told to `callbacks`, maybe before this returns. `timeoutMs` 0 = none. */
  run(filters: readonly ListenerFilter[], timeoutMs: number, callbacks: FilterRunCallbacks): void {
    this.filters = filters
    this.index = 0
    this.callbacks = callbacks
    for (; this.index < filters.length; this.index++) {
      const status = filters[this.index]!.onAccept(this)
      if (!this.passed(status)) {
        if (this.callbacks === null) return
        if (timeoutMs > 0) this.timer = ownedTimeout(onTimeout, timeoutMs, this)
        this.wait()
        return
      }
    }
    this.end(FilterRunEnd.Done)
  }

  /** Nothing but bytes and addresses is known of it, so another worker can take it. */
  get movable(): boolean {
    const { info, filterState, dynamicMetadata } = this
    return (
      info.remoteAddress === info.directRemoteAddress &&
      info.transportProtocol === 'raw_buffer' &&
      info.applicationProtocols.length === 0 &&
      filterState.isEmpty &&
      Object.keys(dynamicMetadata).length === 0
    )
  }

  /** The socket for its connection, which gets `bytes` first. */
  release(): Socket {
    this.socket.off('error', ignoreError)
    return this.socket
  }

  destroy(): void {
    this.stopWaiting()
    this.callbacks = null
    this.socket.destroy()
    this.ended()
  }

  /** The connection made of it is closed: it counts no more. */
  ended(): void {
    this.slot.release()
  }

  onTimeout(): void {
    this.end(FilterRunEnd.Timeout)
  }

  /** What onAccept of the current filter said, after giving it the bytes that are there already. */
  private passed(status: ListenerFilterStatus): boolean {
    if (status === ListenerFilterStatus.Close) this.end(FilterRunEnd.Refused)
    return status === ListenerFilterStatus.Continue || (status === ListenerFilterStatus.NeedMore && this.feed())
  }

  /** Gives the current filter what is there; true = it passed. */
  private feed(): boolean {
    if (this.bytes.length === 0) return false
    const status = this.filters[this.index]!.onData!(this.bytes)
    if (status === ListenerFilterStatus.Close) this.end(FilterRunEnd.Refused)
    return status === ListenerFilterStatus.Continue
  }

  private wait(): void {
    if (this.waiting) return
    this.waiting = true
    this.socket.on('data', this.onData)
    this.socket.once('end', this.onGone)
    this.socket.once('close', this.onGone)
    this.socket.resume()
  }

  private stopWaiting(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
    if (!this.waiting) return
    this.waiting = false
    this.socket.off('data', this.onData)
    this.socket.off('end', this.onGone)
    this.socket.off('close', this.onGone)
    this.socket.pause()
  }

  private readonly onData = (chunk: Buffer): void => {
    try {
      this.take(chunk)
    } catch (error) {
      this.onFault(error)
    }
  }

  /** A fault of our own before the socket is a connection: it is refused. */
  onFault(error: unknown): void {
    reportFault(error, `listener filters of ${this.info.remoteAddress.text}`)
    this.end(FilterRunEnd.Refused)
    this.destroy()
  }

  private take(chunk: Buffer): void {
    this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk])
    if (!this.feed()) return
    for (this.index++; this.index < this.filters.length; this.index++) {
      if (!this.passed(this.filters[this.index]!.onAccept(this))) return
    }
    this.end(FilterRunEnd.Done)
  }

  private readonly onGone = (): void => {
    try {
      this.end(FilterRunEnd.RemoteClose)
    } catch (error) {
      this.onFault(error)
    }
  }

  private end(end: FilterRunEnd): void {
    const callbacks = this.callbacks
    if (callbacks === null) return
    this.stopWaiting()
    this.callbacks = null
    callbacks.onFiltersEnd(this, end)
  }
}

/** 'close' follows and is what counts. */
function ignoreError(): void {}

function onTimeout(accepted: AcceptedSocket): void {
  accepted.onTimeout()
}
