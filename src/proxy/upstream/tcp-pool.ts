// Raw TCP connections to one host, for tcp_proxy: each user gets a connection of its own.

import { NumberedTable } from '../../base/numbered-table.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from '../network/connection.ts'
import { now } from '../stream-info.ts'
import type { ResourceManager } from './circuit-breakers.ts'
import { type Cancellable, PoolFailureReason, type TcpConnPool, type TcpPoolCallbacks } from './cluster-manager.ts'
import type { DrainablePool, Host } from './host.ts'
import {
  connectFailureReason,
  connectTo,
  mayConnect,
  type PoolEnvironment,
  SECRETS_NOT_READY,
  type TransportChoice,
} from './pool-environment.ts'

export class TcpPool implements TcpConnPool, DrainablePool {
  readonly host: Host
  readonly choice: TransportChoice
  readonly resources: ResourceManager
  readonly environment: PoolEnvironment
  private readonly open = new NumberedTable<TcpClient>()
  private drained = false

  constructor(host: Host, choice: TransportChoice, resources: ResourceManager, environment: PoolEnvironment) {
    this.host = host
    this.choice = choice
    this.resources = resources
    this.environment = environment
  }

  newConnection(callbacks: TcpPoolCallbacks): Cancellable | null {
    const client = this.tryConnect(callbacks)
    if (client === null && this.open.size === 0) this.onEmpty()
    return client
  }

  private tryConnect(callbacks: TcpPoolCallbacks): TcpClient | null {
    const { stats } = this.environment
    if (!mayConnect(this.host, this.open.size, this.resources, this.environment)) {
      stats.cxOverflow.inc()
      callbacks.onPoolFailure(PoolFailureReason.Overflow, '', this.host)
      return null
    }
    if (!this.resources.pendingRequests.canCreate()) {
      stats.rqPendingOverflow.inc()
      callbacks.onPoolFailure(PoolFailureReason.Overflow, '', this.host)
      return null
    }
    const connection = connectTo(this.host, this.environment, this.choice)
    if (connection === null) {
      callbacks.onPoolFailure(PoolFailureReason.LocalConnectionFailure, SECRETS_NOT_READY, this.host)
      return null
    }
    const client = new TcpClient(this, connection, callbacks)
    this.open.add(client)
    return client
  }

  onClosed(client: TcpClient): void {
    this.open.delete(client.id)
    if (this.open.size === 0) this.onEmpty()
  }

  private onEmpty(): void {
    const { key, sni } = this.choice
    if (this.drained || (key === '' && sni === null)) this.environment.onIdle()
    else {
      // Made for one downstream or one server name, which may never come again.
      this.host.removePool(this)
      this.drain()
    }
  }

  drain(): void {
    this.drained = true
    // Connections belong to their users and end with them.
    if (this.open.size === 0) this.environment.onIdle()
  }

  /** Each connection is its user's to the end. */
  drainConnections(): void {}

  closeAll(): void {
    for (const client of this.open.all()) client.connection.close(CloseType.NoFlush)
  }
}

/** Counts a connection from its start to its end; passes events on to its user once it is connected. */
class TcpClient implements ConnectionCallbacks, Cancellable {
  readonly connection: Connection
  private readonly pool: TcpPool
  private countedRx = 0
  private countedTx = 0
  private waiting: TcpPoolCallbacks | null
  private user: ConnectionCallbacks | null = null
  private readonly startedAt = now()
  private ready = false
  private closed = false

  constructor(pool: TcpPool, connection: Connection, callbacks: TcpPoolCallbacks) {
    this.pool = pool
    this.connection = connection
    this.waiting = callbacks
    connection.callbacks = this
    const { stats } = pool.environment
    pool.resources.addConnection()
    pool.resources.pendingRequests.inc()
    pool.host.stats.cxTotal++
    pool.host.stats.cxActive++
    this.connection.countBuffered(stats.cxRxBytesBuffered, stats.cxTxBytesBuffered)
    stats.cxTotal.inc()
    stats.cxActive.inc()
    stats.rqTotal.inc()
    stats.rqPendingTotal.inc()
    stats.rqPendingActive.inc()
    pool.host.stats.rqTotal++
  }

  get id(): number {
    return this.connection.id
  }

  cancel(): void {
    if (this.waiting === null) return
    this.endWaiting()
    this.pool.environment.stats.rqCancelled.inc()
    this.connection.close(CloseType.NoFlush)
  }

  private endWaiting(): void {
    this.waiting = null
    this.pool.resources.pendingRequests.dec()
    this.pool.environment.stats.rqPendingActive.dec()
  }

  onData(chunk: Buffer, endStream: boolean): void {
    this.countBytes()
    this.user?.onData(chunk, endStream)
  }

  /** A connection may live for days. */
  private countBytes(): void {
    const { cxRxBytesTotal, cxTxBytesTotal } = this.pool.environment.stats
    const { bytesReceived, bytesSent } = this.connection
    cxRxBytesTotal.add(bytesReceived - this.countedRx)
    cxTxBytesTotal.add(bytesSent - this.countedTx)
    this.countedRx = bytesReceived
    this.countedTx = bytesSent
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) this.onConnected()
    else this.onClose(event)
  }

  private onConnected(): void {
    const callbacks = this.waiting
    if (callbacks === null) return
    const { environment, host, resources } = this.pool
    environment.stats.cxConnectMs.record(now() - this.startedAt)
    this.endWaiting()
    this.ready = true
    resources.requests.inc()
    environment.stats.rqActive.inc()
    host.stats.rqActive++
    callbacks.onPoolReady(this.connection, host)
    // The user has put its own callbacks there; ours stay in front to see the end.
    if (this.connection.callbacks !== this) {
      this.user = this.connection.callbacks
      this.connection.callbacks = this
    }
  }

  private onClose(event: ConnectionEvent): void {
    if (this.closed) return
    this.closed = true
    const { environment, host, resources } = this.pool
    const { stats } = environment
    const { connection, waiting } = this
    resources.connections.dec()
    host.stats.cxActive--
    stats.cxActive.dec()
    stats.cxDestroy.inc()
    if (event === ConnectionEvent.RemoteClose) stats.cxDestroyRemote.inc()
    else stats.cxDestroyLocal.inc()
    stats.cxLengthMs.record(now() - this.startedAt)
    this.countBytes()
    if (waiting !== null) {
      this.endWaiting()
      stats.cxConnectFail.inc()
      host.stats.cxConnectFail++
      if (connection.connectTimedOut) stats.cxConnectTimeout.inc()
      stats.rqPendingFailureEject.inc()
      this.pool.onClosed(this)
      if (connection.bindFailed) stats.bindErrors.inc()
      const details = connection.transportFailureReason
      waiting.onPoolFailure(
        connectFailureReason(connection, event === ConnectionEvent.RemoteClose, details),
        details,
        host,
      )
      return
    }
    if (this.ready) {
      resources.requests.dec()
      stats.rqActive.dec()
      host.stats.rqActive--
    }
    this.pool.onClosed(this)
    this.user?.onEvent(event)
  }

  onAboveWriteBufferHighWatermark(): void {
    this.user?.onAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.user?.onBelowWriteBufferLowWatermark()
  }
}
