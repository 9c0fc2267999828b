// Several addresses of one host: connected one beside the other, the first that stands wins (RFC 8305).

import type { Socket } from 'node:net'
import { isIPv6 } from 'node:net'
import type { Address } from './connection.ts'

/** The next address is tried when the one before has failed, or has not answered for this long (as in Envoy). */
const STAGGER_MS = 300

/** Opens a socket that connects to `address`. */
export type OpenSocket = (address: Address) => Socket

export interface RaceCallbacks {
  /** Connected; it is the caller's from now on. */
  onSocket(socket: Socket, address: Address): void
  /** No address could be reached; `error` is the last one's. */
  onFailure(error: NodeJS.ErrnoException, address: Address): void
}

/** Which family of addresses is tried first. */
export interface FamilyOrder {
  /** 0 = the first address's. */
  readonly first: 0 | 4 | 6
  /** Addresses of that family ahead of each one of the other. */
  readonly count: number
}

/** Of a cluster that says nothing. */
export const ANY_FAMILY: FamilyOrder = { first: 0, count: 1 }

/** The families in turn, each in its own order. */
export function interleaved(addresses: readonly Address[], { first, count }: FamilyOrder = ANY_FAMILY): Address[] {
  if (addresses.length === 0) return []
  const v6 = first === 0 ? isIPv6(addresses[0]!.ip) : first === 6
  const same = addresses.filter((address) => isIPv6(address.ip) === v6)
  const other = addresses.filter((address) => isIPv6(address.ip) !== v6)
  const result: Address[] = []
  while (same.length > 0 || other.length > 0) result.push(...same.splice(0, count), ...other.splice(0, 1))
  return result
}

/** One run; nothing is told after cancel. */
export class ConnectRace {
  private readonly addresses: readonly Address[]
  private readonly open: OpenSocket
  private readonly callbacks: RaceCallbacks
  private readonly running = new Set<Socket>()
  private next = 0
  private timer: NodeJS.Timeout | null = null
  private done = false

  /** `addresses` are tried in the order given; at least one. */
  constructor(addresses: readonly Address[], open: OpenSocket, callbacks: RaceCallbacks) {
    this.addresses = addresses
    this.open = open
    this.callbacks = callbacks
  }

  start(): void {
    this.tryNext()
  }

  cancel(): void {
    this.end()
    for (const socket of this.running) socket.destroy()
    this.running.clear()
  }

  private tryNext(): void {
    const address = this.addresses[this.next++]!
    const socket = this.open(address)
    this.running.add(socket)
    socket.once('connect', () => this.onConnect(socket, address))
    // Stays when the race is over: a loser's error is nobody's.
    socket.on('error', (error: NodeJS.ErrnoException) => this.onError(socket, address, error))
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = this.next < this.addresses.length ? setTimeout(() => this.tryNext(), STAGGER_MS) : null
  }

  private onConnect(socket: Socket, address: Address): void {
    if (this.done) return
    this.running.delete(socket)
    this.cancel()
    this.callbacks.onSocket(socket, address)
  }

  private onError(socket: Socket, address: Address, error: NodeJS.ErrnoException): void {
    this.running.delete(socket)
    if (this.done) return
    if (this.next < this.addresses.length) {
      this.tryNext()
      return
    }
    if (this.running.size > 0) return
    this.end()
    this.callbacks.onFailure(error, address)
  }

  private end(): void {
    this.done = true
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
  }
}
