// A listener in a worker: accepts, runs listener filters, hands off, chooses a filter chain (envoy-contract §4).

import { Socket } from 'node:net'
import { NumberedTable } from '../../base/numbered-table.ts'
import type { ListenerFacts } from '../config/extension.ts'
import { originalDstFilter } from '../filters/listener/original-dst/filter.ts'
import type { AccessLog } from '../observe/access-log.ts'
import { StreamInfo } from '../stream-info.ts'
import { acceptSocket } from './accept.ts'
import { AcceptedSocket, FilterRunEnd } from './accepted-socket.ts'
import { ipAddress, pipeAddress } from './address.ts'
import { type Address, CloseType } from './connection.ts'
import { ExactBalance, type MovedConnection } from './connection-balance.ts'
import { SocketConnectionInfo } from './connection-info.ts'
import { ListenerLimit } from './connection-limits.ts'
import { type ListenerEnvironment, WorkerFilterChain } from './filter-chain.ts'
import { compileFilterChainChoice, DEFAULT_CHAIN, type FilterChainChoice } from './filter-chain-choice.ts'
import { type FilterManagerOwner, NetworkFilterManager } from './filter-manager.ts'
import type { FilterChainConfig, ListenerConfig } from './listener-config.ts'
import { type ListenerFilter, predicateHolds } from './listener-filter.ts'
import { createListenerFilterFactory, type ListenerFilterFactory } from './listener-filters.ts'
import { createListenerStats, type ListenerStats } from './listener-stats.ts'
import { ListeningSockets } from './listening-sockets.ts'
import type { SocketConnection } from './socket-connection.ts'
import { duplicateDescriptor } from './socket-options.ts'
import { acceptTls, ClientHelloPeek } from './tls-handshake.ts'

/** Finds the listener that serves a restored destination (use_original_dst). */
export interface ListenerLookup {
  byDestination(address: Address): ActiveListener | null
}

/** Why connections are closed at the end of a drain, in Envoy's words. */
const CHAIN_REMOVED = 'filter_chain_is_being_removed'
const LISTENER_REMOVED = 'purging_socket_that_have_not_progressed_to_connections'

export class ActiveListener {
  config: ListenerConfig
  readonly facts: ListenerFacts
  private readonly environment: ListenerEnvironment
  private readonly lookup: ListenerLookup
  private readonly stats: ListenerStats
  private readonly limit: ListenerLimit
  /** null: whoever accepts a connection keeps it. */
  private readonly balance: ExactBalance | null
  private readonly accessLogs: readonly AccessLog[]
  private readonly filterFactories: readonly ListenerFilterFactory[]
  /** In listener filters: no chain is chosen for them yet. */
  private readonly pending = new NumberedTable<AcceptedSocket>()
  /** Chains of this draining listener that wait for what is pending. */
  private awaited: readonly WorkerFilterChain[] = []
  /** Chains that an update has replaced, until their last connection has ended. */
  private readonly replaced = new Set<WorkerFilterChain>()
  private choice: FilterChainChoice
  private chains: readonly WorkerFilterChain[]
  private defaultChain: WorkerFilterChain | null
  private readonly sockets: ListeningSockets
  /** False once the listener is stopped: not bound, not found by hand-off. */
  listening = true

  constructor(config: ListenerConfig, environment: ListenerEnvironment, lookup: ListenerLookup) {
    this.config = config
    this.environment = environment
    this.lookup = lookup
    this.stats = createListenerStats(config, environment.base.stats, environment.base.workerIndex)
    this.limit = new ListenerLimit(config.name, config.openConnections)
    this.sockets = new ListeningSockets(config, environment.base.log, (socket) => this.onAccept(socket))
    const { workerIndex, concurrency } = environment.base
    this.balance =
      config.balance === null || environment.ports === null
        ? null
        : new ExactBalance(config.balance, workerIndex, concurrency)
    this.facts = {
      name: config.name,
      trafficDirection: config.trafficDirection,
      stats: this.stats.scope,
      bufferLimitBytes: config.bufferLimitBytes,
      metadata: config.metadata,
    }
    this.accessLogs = config.accessLogs.map((log) => environment.base.createAccessLog(log))
    this.filterFactories = config.listenerFilters.map((filter) => createListenerFilterFactory(filter, environment))
    this.chains = config.filterChains.map((chain) => this.makeChain(chain))
    this.defaultChain = config.defaultFilterChain === null ? null : this.makeChain(config.defaultFilterChain)
    this.choice = compileFilterChainChoice(config, this.environment.base)
  }

  /** Binds every address and returns them as bound (port 0 resolved). Rejects with the system's error. */
  bind(): Promise<Address[]> {
    return this.sockets.bind(this.environment.base.workerIndex)
  }

  /** Takes over the listening sockets of an older version with the same addresses. */
  adoptSockets(older: ActiveListener): void {
    this.sockets.adopt(older.sockets)
    older.listening = false
  }

  /** False: connections wait in the kernel's queue (stop_accepting_connections). */
  setAccepting(accepting: boolean): void {
    if (this.config.bypassOverloadManager) return
    if (accepting) this.sockets.resume()
    else this.sockets.pause()
  }

  /** Replaces the filter chains; equal ones keep their connections, the others drain. */
  replaceChains(config: ListenerConfig): void {
    const old = new Map<string, WorkerFilterChain>()
    for (const chain of this.allChains()) old.set(chain.config.key, chain)
    const keep = (chain: FilterChainConfig): WorkerFilterChain => {
      const same = old.get(chain.key)
      old.delete(chain.key)
      return same ?? this.makeChain(chain)
    }
    this.chains = config.filterChains.map(keep)
    this.defaultChain = config.defaultFilterChain === null ? null : keep(config.defaultFilterChain)
    this.choice = compileFilterChainChoice(config, this.environment.base)
    this.config = config
    for (const chain of old.values()) {
      this.replaced.add(chain)
      chain.startDrain(this.environment.drain.drainTimeMs, CHAIN_REMOVED, () => this.replaced.delete(chain))
    }
  }

  /** No new connections; those that stand go on, and those that listener filters still look at become some. */
  stopListening(): void {
    this.listening = false
    this.sockets.close()
  }

  /** Connections are asked to end; what is left after the drain time is closed. Resolves then. */
  async drain(drainTimeMs: number): Promise<void> {
    const chains = this.allChains()
    if (this.pending.size > 0) {
      this.awaited = chains
      for (const chain of chains) chain.hold()
    }
    await Promise.all(
      chains.map((chain) => new Promise<void>((resolve) => chain.startDrain(drainTimeMs, LISTENER_REMOVED, resolve))),
    )
    this.endPending()
  }

  private endPending(): void {
    for (const accepted of this.pending.all()) {
      accepted.destroy()
      this.stats.preCxActive.dec()
      this.pending.delete(accepted.id)
    }
  }

  /** Ends everything now. */
  close(): void {
    this.endPending()
    for (const chain of [...this.allChains(), ...this.replaced]) chain.close(LISTENER_REMOVED)
  }

  get connectionCount(): number {
    let count = 0
    for (const chain of this.allChains()) count += chain.connections.size
    for (const chain of this.replaced) count += chain.connections.size
    return count
  }

  private allChains(): WorkerFilterChain[] {
    return this.defaultChain === null ? [...this.chains] : [...this.chains, this.defaultChain]
  }

  private makeChain(config: FilterChainConfig): WorkerFilterChain {
    return new WorkerFilterChain(config, this.environment, this.facts, this.config)
  }

  private onAccept(socket: Socket): void {
    const accepted = this.admit(socket)
    if (accepted !== null) this.start(accepted, this.config.useOriginalDst)
  }

  /** A connection that another worker has accepted, and counted as ours. */
  receive({ fd, bytes, restored }: MovedConnection): void {
    const { balance, environment } = this
    const socket = new Socket({ fd, allowHalfOpen: true, pauseOnCreate: true } as never)
    const accepted = this.admit(socket)
    const own = environment.base.workerIndex
    if (accepted === null) {
      balance?.release(own)
      return
    }
    if (balance !== null) accepted.slot.share(balance, own)
    accepted.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (restored !== null) {
      accepted.info.localAddress = restored
      accepted.info.localAddressRestored = true
    }
    this.runOrRefuse(accepted, this.config.useOriginalDst)
  }

  /** The connection stays, or goes to a worker that has fewer. */
  private start(accepted: AcceptedSocket, handOff: boolean): void {
    if (this.balance === null || !this.movedAway(accepted, this.balance)) this.runOrRefuse(accepted, handOff)
  }

  private movedAway(accepted: AcceptedSocket, balance: ExactBalance): boolean {
    const own = this.environment.base.workerIndex
    const worker = balance.pick(accepted.movable)
    const fd = worker === own ? -1 : duplicateDescriptor(accepted.fd)
    if (fd < 0) {
      accepted.slot.share(balance, worker)
      return false
    }
    const { bytes, info } = accepted
    const restored = info.localAddressRestored ? info.localAddress : null
    accepted.destroy()
    this.environment.ports!.move({ listener: this.config.name, fd, bytes: Uint8Array.from(bytes), restored }, worker)
    return true
  }

  private runOrRefuse(accepted: AcceptedSocket, handOff: boolean): void {
    try {
      this.runListenerFilters(accepted, handOff)
    } catch (error) {
      accepted.onFault(error)
    }
  }

  /** null: a limit forbids it, or the peer is gone. */
  private admit(socket: Socket): AcceptedSocket | null {
    // A peer may be gone between accept and here: then it has no address any more.
    if (socket.remoteAddress === undefined && this.config.addresses[0]!.pipe === undefined) {
      socket.destroy()
      return null
    }
    const { localAddress, remoteAddress } = addressesOf(socket, this.config.addresses[0]!)
    const info = new SocketConnectionInfo(localAddress, remoteAddress)
    const { ignoreGlobalConnectionLimit, bypassOverloadManager } = this.config
    const slot = this.environment.limits.admit(this.limit, ignoreGlobalConnectionLimit, bypassOverloadManager)
    if (typeof slot === 'string') {
      this.stats.refused[slot].inc()
      socket.destroy()
      return null
    }
    return new AcceptedSocket(socket, info, {
      ipv6: remoteAddress.ip.includes(':'),
      transparent: this.config.transparent,
      slot,
    })
  }

  private runListenerFilters(accepted: AcceptedSocket, handOff: boolean): void {
    accepted.info.listenerName = this.config.name
    const { listenerFilters } = this.config
    const filters: ListenerFilter[] = []
    if (handOff) filters.push(originalDstFilter)
    for (let i = 0; i < listenerFilters.length; i++) {
      filters.push(new SkippableFilter(this.filterFactories[i]!(), listenerFilters[i]!.disabled))
    }
    if (filters.length === 0) {
      this.newConnection(accepted)
      return
    }
    this.pending.add(accepted)
    this.stats.preCxActive.inc()
    accepted.run(filters, this.config.listenerFiltersTimeoutMs, handOff ? this.handOffRun : this.plainRun)
  }

  private readonly plainRun = {
    onFiltersEnd: (accepted: AcceptedSocket, end: FilterRunEnd) => this.onFiltersEnd(accepted, end, false),
  }
  private readonly handOffRun = {
    onFiltersEnd: (accepted: AcceptedSocket, end: FilterRunEnd) => this.onFiltersEnd(accepted, end, true),
  }

  private onFiltersEnd(accepted: AcceptedSocket, end: FilterRunEnd, handOff: boolean): void {
    this.pending.delete(accepted.id)
    this.stats.preCxActive.dec()
    if (end === FilterRunEnd.Timeout) this.stats.preCxTimeout.inc()
    if (end === FilterRunEnd.Refused) this.stats.filterError.inc()
    if (end === FilterRunEnd.RemoteClose) this.stats.filterRemoteClose.inc()
    const goOn =
      end === FilterRunEnd.Done || (end === FilterRunEnd.Timeout && this.config.continueOnListenerFiltersTimeout)
    if (goOn) this.passOn(accepted, handOff)
    else accepted.destroy()
    if (this.awaited.length === 0 || this.pending.size > 0) return
    const chains = this.awaited
    this.awaited = []
    for (const chain of chains) chain.unhold()
  }

  private passOn(accepted: AcceptedSocket, handOff: boolean): void {
    const target =
      handOff && accepted.info.localAddressRestored ? this.lookup.byDestination(accepted.info.localAddress) : null
    if (target !== null && target !== this) target.start(accepted, false)
    else this.newConnection(accepted)
  }

  private newConnection(accepted: AcceptedSocket): void {
    const { info } = accepted
    const at = this.choice(accepted)
    const chain = at >= 0 ? this.chains[at]! : at === DEFAULT_CHAIN ? this.defaultChain : null
    if (chain === null) {
      this.stats.noFilterChainMatch.inc()
      this.logConnection(accepted, 'filter_chain_not_found')
      accepted.destroy()
      return
    }
    info.filterChainName = chain.config.name
    if (chain.tls === null) this.startPlain(accepted, chain)
    else if (accepted.bytes.length > 0) this.startTls(accepted, chain)
    else this.peekThenStartTls(accepted, chain)
  }

  private startPlain(accepted: AcceptedSocket, chain: WorkerFilterChain): void {
    const { bytes } = accepted
    const connection = acceptSocket(accepted.release(), accepted.info, null)
    this.startFilters(accepted, chain, connection)
    if (bytes.length > 0) connection.receivePeeked(bytes)
  }

  private peekThenStartTls(accepted: AcceptedSocket, chain: WorkerFilterChain): void {
    chain.expect(accepted)
    accepted.run([new ClientHelloPeek()], chain.config.transportSocketConnectTimeoutMs, {
      onFiltersEnd: (_, end) => {
        try {
          if (end === FilterRunEnd.Done) this.startTls(accepted, chain)
          else {
            if (end === FilterRunEnd.Timeout) this.stats.handshakeTimeout.inc()
            // To Envoy it is a connection already.
            this.logConnection(accepted, '')
            accepted.destroy()
          }
        } finally {
          chain.arrived(accepted)
        }
      },
    })
  }

  private startTls(accepted: AcceptedSocket, chain: WorkerFilterChain): void {
    const { bytes } = accepted
    const connection = acceptTls(accepted, chain.tls!)
    if (connection === null) {
      accepted.destroy()
      return
    }
    const timeoutMs = chain.config.transportSocketConnectTimeoutMs
    if (timeoutMs > 0) connection.startConnectTimer(timeoutMs)
    this.startFilters(accepted, chain, connection)
    connection.receivePeeked(bytes)
  }

  private startFilters(accepted: AcceptedSocket, chain: WorkerFilterChain, connection: SocketConnection): void {
    const { stats } = this
    connection.setBufferLimits(this.config.bufferLimitBytes)
    stats.cxTotal.inc()
    stats.cxActive.inc()
    stats.workerTotal.inc()
    stats.workerActive.inc()
    const startedMs = performance.now()
    const owner: FilterManagerOwner = {
      onConnectionClosed: (closed) => {
        stats.cxDestroy.inc()
        stats.cxActive.dec()
        stats.workerActive.dec()
        stats.cxLength.record(performance.now() - startedMs)
        if (connection.connectTimedOut) stats.handshakeTimeout.inc()
        chain.remove(closed)
        accepted.ended()
        if (this.accessLogs.length > 0) this.logConnection(accepted, '', connection)
      },
    }
    const { filterState, dynamicMetadata } = accepted
    try {
      const manager = new NetworkFilterManager(connection, filterState, dynamicMetadata, chain.factories, owner)
      if (connection.open) chain.add(manager)
      if (chain.factories.length === 0) connection.close(CloseType.NoFlush)
      else manager.start()
    } catch (error) {
      connection.onFault(error)
    }
  }

  /** `connection`: null = it did not come to be one. */
  private logConnection(accepted: AcceptedSocket, details: string, connection: SocketConnection | null = null): void {
    if (this.accessLogs.length === 0) return
    const info = new StreamInfo(accepted.info, accepted.filterState)
    info.startTimeMs = accepted.info.startTimeMs
    info.dynamicMetadata = accepted.dynamicMetadata
    if (connection !== null) {
      info.bytesReceived = connection.bytesReceived
      info.bytesSent = connection.bytesSent
    }
    if (details !== '') {
      info.responseCodeDetails = details
      info.setFlag('NR')
    }
    for (const log of this.accessLogs) {
      log.log({
        info,
        requestHeaders: null,
        responseHeaders: null,
        responseTrailers: null,
        localReplyBody: '',
        type: 'NotSet',
      })
    }
  }
}

/** Applies filter_disabled at the moment the filter's turn comes: an earlier filter may have restored the destination. */
class SkippableFilter implements ListenerFilter {
  private readonly filter: ListenerFilter
  private readonly disabled: Parameters<typeof predicateHolds>[0] | null
  constructor(filter: ListenerFilter, disabled: Parameters<typeof predicateHolds>[0] | null) {
    this.filter = filter
    this.disabled = disabled
  }
  onAccept(socket: AcceptedSocket): ReturnType<ListenerFilter['onAccept']> {
    if (this.disabled !== null && predicateHolds(this.disabled, socket.info.localAddress.port)) return 0
    return this.filter.onAccept(socket)
  }
  onData(bytes: Buffer): ReturnType<ListenerFilter['onAccept']> {
    return this.filter.onData!(bytes)
  }
}

function addressesOf(socket: Socket, listening: Address): { localAddress: Address; remoteAddress: Address } {
  if (listening.pipe !== undefined) return { localAddress: listening, remoteAddress: pipeAddress('') }
  return {
    localAddress: ipAddress(unmapped(socket.localAddress ?? ''), socket.localPort ?? 0),
    remoteAddress: ipAddress(unmapped(socket.remoteAddress ?? ''), socket.remotePort ?? 0),
  }
}

/** On a listener for both families an IPv4 peer is IPv4, not `::ffff:…` (as Envoy has it). */
function unmapped(ip: string): string {
  return ip.startsWith('::ffff:') ? ip.slice(7) : ip
}
