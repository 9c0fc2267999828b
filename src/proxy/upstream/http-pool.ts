// Connections to one host for HTTP requests (envoy-contract §12.2): one request at a time on HTTP/1, many on HTTP/2.
// A request takes a ready connection, or waits in the pool while one is made.

import { NumberedTable } from '../../base/numbered-table.ts'
import type { ResponseDecoder } from '../http/codec.ts'
import { ActiveClient } from './active-client.ts'
import type { ResourceManager } from './circuit-breakers.ts'
import { type Cancellable, type HttpConnPool, type HttpPoolCallbacks, PoolFailureReason } from './cluster-manager.ts'
import type { DrainablePool, Host } from './host.ts'
import {
  connectTo,
  mayConnect,
  type PoolEnvironment,
  SECRETS_NOT_READY,
  type TransportChoice,
} from './pool-environment.ts'

/** `auto`: whatever ALPN brings. */
export type PoolProtocol = 'http1' | 'http2' | 'auto'
/** A pool says what it will speak where the TLS context does not (Envoy). */
const ALPN_OF_POOL: Readonly<Record<PoolProtocol, readonly string[]>> = {
  http1: ['http/1.1'],
  http2: ['h2'],
  auto: ['h2', 'http/1.1'],
}

/** A request that waits for a connection. */
class PendingStream implements Cancellable {
  readonly pool: HttpPool
  readonly decoder: ResponseDecoder
  readonly callbacks: HttpPoolCallbacks
  constructor(pool: HttpPool, decoder: ResponseDecoder, callbacks: HttpPoolCallbacks) {
    this.pool = pool
    this.decoder = decoder
    this.callbacks = callbacks
  }
  cancel(): void {
    this.pool.cancelPending(this)
  }
}

export class HttpPool implements HttpConnPool, DrainablePool {
  readonly host: Host
  readonly protocol: PoolProtocol
  readonly choice: TransportChoice
  readonly resources: ResourceManager
  readonly environment: PoolEnvironment
  /** With room for a request; the last one used is used first. */
  private readonly ready: ActiveClient[] = []
  /** All that are open or being opened. */
  private readonly clients = new NumberedTable<ActiveClient>()
  private readonly pending: PendingStream[] = []
  private connecting = 0
  /** Requests on its connections. */
  private streams = 0
  private draining = false
  /** What the last ALPN brought, so that `auto` knows how many requests a new connection will take. */
  private negotiated: 'http1' | 'http2' = 'http1'

  constructor(
    host: Host,
    protocol: PoolProtocol,
    choice: TransportChoice,
    resources: ResourceManager,
    environment: PoolEnvironment,
  ) {
    this.host = host
    this.protocol = protocol
    this.choice = choice
    this.resources = resources
    this.environment = environment
    resources.connectionPools.inc()
  }

  newStream(decoder: ResponseDecoder, callbacks: HttpPoolCallbacks): Cancellable | null {
    const client = this.ready[this.ready.length - 1]
    if (client !== undefined) {
      this.attach(client, decoder, callbacks)
      return null
    }
    const { stats } = this.environment
    if (!this.resources.pendingRequests.canCreate()) {
      stats.rqPendingOverflow.inc()
      this.checkIdle()
      callbacks.onPoolFailure(PoolFailureReason.Overflow, '', this.host)
      return null
    }
    const pending = new PendingStream(this, decoder, callbacks)
    this.pending.push(pending)
    this.resources.pendingRequests.inc()
    stats.rqPendingTotal.inc()
    stats.rqPendingActive.inc()
    this.connectForPending()
    // A connection that cannot even be tried fails the request within this call.
    if (this.pending.includes(pending)) return pending
    this.checkIdle()
    return null
  }

  private attach(client: ActiveClient, decoder: ResponseDecoder, callbacks: HttpPoolCallbacks): void {
    const { stats } = this.environment
    if (!this.resources.requests.canCreate()) {
      stats.rqActiveOverflow.inc()
      callbacks.onPoolFailure(PoolFailureReason.Overflow, '', this.host)
      return
    }
    this.streams++
    this.resources.requests.inc()
    stats.rqTotal.inc()
    stats.rqActive.inc()
    this.host.stats.rqTotal++
    this.host.stats.rqActive++
    callbacks.onPoolReady(client.open(decoder), this.host, client.connection, client.codecProtocol)
  }

  /** A request is over, well or not. */
  onStreamDestroyed(): void {
    this.streams--
    this.resources.requests.dec()
    this.environment.stats.rqActive.dec()
    this.host.stats.rqActive--
  }

  cancelPending(stream: PendingStream): void {
    const at = this.pending.indexOf(stream)
    if (at < 0) return
    this.pending.splice(at, 1)
    this.donePending()
    this.environment.stats.rqCancelled.inc()
    this.checkIdle()
  }

  private donePending(): void {
    this.resources.pendingRequests.dec()
    this.environment.stats.rqPendingActive.dec()
  }

  /** Requests that the connections being made will be able to take. */
  private expectedCapacity(): number {
    const protocol = this.protocol === 'auto' ? this.negotiated : this.protocol
    return protocol === 'http2'
      ? this.connecting * this.environment.data.http.http2.maxConcurrentStreams
      : this.connecting
  }

  private connectForPending(): void {
    const { data, stats } = this.environment
    while (this.expectedCapacity() < this.pending.length * data.preconnectRatio) {
      if (!mayConnect(this.host, this.clients.size, this.resources, this.environment)) {
        stats.cxOverflow.inc()
        return
      }
      if (!this.resources.connections.canCreate()) stats.cxOverflow.inc()
      const connection = connectTo(this.host, this.environment, this.choice, ALPN_OF_POOL[this.protocol])
      if (connection === null) {
        this.failPending(PoolFailureReason.LocalConnectionFailure, SECRETS_NOT_READY)
        return
      }
      this.connecting++
      const client = new ActiveClient(this, connection, this.environment.data.http.common.maxRequestsPerConnection)
      this.clients.add(client)
      client.begin()
    }
  }

  onConnected(client: ActiveClient, negotiated: 'http1' | 'http2'): void {
    this.connecting--
    this.negotiated = negotiated
    this.makeReady(client)
    // A connection that ALPN made smaller than hoped leaves requests without one.
    if (this.pending.length > 0) this.connectForPending()
  }

  onConnectFailed(client: ActiveClient, reason: PoolFailureReason, details: string): void {
    this.connecting--
    this.clients.delete(client.id)
    // What waits was promised this host; another attempt is the retry policy's decision.
    this.failPending(reason, details)
    this.checkIdle()
  }

  private failPending(reason: PoolFailureReason, details: string): void {
    const failed = this.pending.splice(0)
    for (let i = 0; i < failed.length; i++) {
      this.donePending()
      this.environment.stats.rqPendingFailureEject.inc()
    }
    for (const stream of failed) stream.callbacks.onPoolFailure(reason, details, this.host)
  }

  /** The client has room (again): waiting requests go first. */
  makeReady(client: ActiveClient): void {
    while (this.pending.length > 0 && client.hasRoom) {
      const next = this.pending.shift()!
      this.donePending()
      this.attach(client, next.decoder, next.callbacks)
    }
    if (client.hasRoom && !client.inReady) {
      client.inReady = true
      this.ready.push(client)
    }
    if (this.draining) this.drainConnections()
  }

  /** The client is full, draining or gone. */
  removeReady(client: ActiveClient): void {
    if (!client.inReady) return
    client.inReady = false
    if (this.ready[this.ready.length - 1] === client) this.ready.pop()
    else this.ready.splice(this.ready.indexOf(client), 1)
  }

  onClosed(client: ActiveClient): void {
    this.removeReady(client)
    this.clients.delete(client.id)
    if (this.pending.length > 0) this.connectForPending()
    this.checkIdle()
  }

  private checkIdle(): void {
    if (this.clients.size > 0 || this.pending.length > 0) return
    if (this.draining) this.environment.onIdle()
    else if (!this.lasting) this.giveUp()
  }

  /** No request is here or waits for a connection. */
  get idle(): boolean {
    return this.streams === 0 && this.pending.length === 0
  }

  /** Its host forgets it; its connections close. */
  giveUp(): void {
    this.host.removePool(this)
    this.drain()
  }

  /** Whoever comes next may use it; others are for one downstream or one server name, which may never come again. */
  private get lasting(): boolean {
    return this.choice.key === '' && this.choice.sni === null
  }

  drain(): void {
    if (!this.draining) this.resources.connectionPools.dec()
    this.draining = true
    this.drainConnections()
    this.checkIdle()
  }

  /** Connections being made are needed for what waits; once they stand they drain like the others. */
  drainConnections(): void {
    for (const client of this.clients.all()) if (!client.connection.connecting) client.drain()
  }

  closeAll(): void {
    for (const client of this.clients.all()) client.close()
  }

  get connectionCount(): number {
    return this.clients.size
  }
}
