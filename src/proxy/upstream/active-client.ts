// One connection of an HTTP pool: its codec, the requests on it, its idle time and duration, and its end.

import { changeEveryField } from '../../base/changing-fields.ts'
import {
  type ClientCodecCallbacks,
  type ClientConnection,
  Protocol,
  type RequestEncoder,
  type ResponseDecoder,
  StreamResetReason,
} from '../http/codec.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from '../network/connection.ts'
import { dnsNameMatches } from '../network/tls/verify.ts'
import { tlsErrorText } from '../network/transport-error.ts'
import { now } from '../stream-info.ts'
import { createClientCodec } from './codec-client.ts'
import type { HttpPool } from './http-pool.ts'
import { connectFailureReason } from './pool-environment.ts'

/** One connection of a pool. Every field is set here: connections share one shape. */
export class ActiveClient implements ConnectionCallbacks, ClientCodecCallbacks {
  readonly pool: HttpPool
  readonly connection: Connection
  inReady = false
  activeStreams = 0
  codecProtocol: Protocol = Protocol.Http11
  private codec: ClientConnection | null = null
  private limit = 1
  private remaining: number
  private draining = false
  private closed = false
  /** The server has said that it will send no more: whatever closes the connection then, it was the server. */
  private remoteEnded = false
  private protocolError = false
  /** Streams of HTTP/2 ended with the connection, and for no fault of the server's. */
  private closedWithActive = false
  /** Why the connection was given up although it stood. */
  private failure = ''
  private readonly startedAt = now()
  private idleSince = 0
  private requests = 0
  private countedRx = 0
  private countedTx = 0
  private idleTimer: NodeJS.Timeout | null = null
  private durationTimer: NodeJS.Timeout | null = null

  /** `maxRequests` 0 = any number. */
  constructor(pool: HttpPool, connection: Connection, maxRequests: number) {
    this.pool = pool
    this.connection = connection
    this.remaining = maxRequests || Number.POSITIVE_INFINITY
  }

  get id(): number {
    return this.connection.id
  }

  /** Before its connection has had an event. */
  begin(): void {
    const { pool, connection } = this
    const { stats } = pool.environment
    connection.callbacks = this
    connection.countBuffered(stats.cxRxBytesBuffered, stats.cxTxBytesBuffered)
    pool.resources.addConnection()
    pool.host.stats.cxTotal++
    pool.host.stats.cxActive++
    stats.cxTotal.inc()
    stats.cxActive.inc()
    // As Envoy: by the protocol that is meant, where that is known before the connection stands.
    if (pool.protocol !== 'auto') stats.ofProtocol(pool.protocol).inc()
  }

  get hasRoom(): boolean {
    return !this.draining && !this.closed && this.codec !== null && this.activeStreams < this.limit
  }

  /** A request on this connection, which has room. */
  open(decoder: ResponseDecoder): RequestEncoder {
    this.activeStreams++
    this.requests++
    const encoder = this.codec!.newStream(decoder)
    if (--this.remaining <= 0) {
      this.pool.environment.stats.cxMaxRequests.inc()
      this.drain()
    } else if (this.activeStreams >= this.limit) this.pool.removeReady(this)
    return encoder
  }

  private startIdle(): void {
    const { idleTimeoutMs } = this.pool.environment.data.http.common
    this.idleSince = now()
    if (idleTimeoutMs > 0 && this.idleTimer === null) this.idleTimer = setTimeout(onIdleTimer, idleTimeoutMs, this)
  }

  /** Fires at most once per idle_timeout; a connection used meanwhile gets the rest of its time. */
  checkIdle(): void {
    this.idleTimer = null
    if (this.closed || this.activeStreams > 0) return
    const { data, stats } = this.pool.environment
    const left = data.http.common.idleTimeoutMs - (now() - this.idleSince)
    if (left > 1) {
      this.idleTimer = setTimeout(onIdleTimer, left, this)
      return
    }
    stats.cxIdleTimeout.inc()
    this.close()
  }

  onMaxDuration(): void {
    this.durationTimer = null
    this.pool.environment.stats.cxMaxDurationReached.inc()
    this.drain()
  }

  /** No new requests; closes when those under way are over. */
  drain(): void {
    if (this.draining || this.closed) return
    this.draining = true
    this.pool.removeReady(this)
    if (this.activeStreams === 0 && !this.connection.connecting) this.close()
  }

  close(): void {
    if (this.closed) return
    this.connection.close(CloseType.NoFlush)
  }

  // Codec callbacks.

  onStreamComplete(reusable: boolean): void {
    this.activeStreams--
    this.pool.onStreamDestroyed()
    this.countBytes()
    if (this.closed) return
    if (!reusable) this.drain()
    if (this.activeStreams > 0) {
      if (!this.draining) this.pool.makeReady(this)
    } else if (this.draining) {
      this.connection.close(CloseType.FlushWrite)
    } else {
      this.startIdle()
      this.pool.makeReady(this)
    }
  }

  onGoAway(): void {
    this.pool.environment.stats.cxCloseNotify.inc()
    this.drain()
  }

  onMaxStreamsChanged(max: number): void {
    this.limit = Math.min(max, this.pool.environment.data.http.http2.maxConcurrentStreams)
    if (this.hasRoom) this.pool.makeReady(this)
    else this.pool.removeReady(this)
  }

  onStreamReset(reason: StreamResetReason): void {
    const { stats } = this.pool.environment
    if (reason === StreamResetReason.ConnectionTermination) {
      stats.rqPendingFailureEject.inc()
      this.closedWithActive = true
    } else if (reason === StreamResetReason.RemoteReset) stats.rqRxReset.inc()
    else if (reason === StreamResetReason.LocalReset || reason === StreamResetReason.ProtocolError)
      stats.rqTxReset.inc()
  }

  endsWithStream(): boolean {
    return this.draining && this.activeStreams === 1
  }

  // Connection callbacks.

  onData(chunk: Buffer, endStream: boolean): void {
    const codec = this.codec
    if (endStream) this.remoteEnded = true
    if (codec === null) return
    let error = chunk.length > 0 ? codec.dispatch(chunk) : null
    if (error === null && endStream && !this.closed) error = codec.onEndOfInput()
    if (error !== null) {
      // Also of a connection that is closed after its last response: the fault stands behind that.
      this.pool.environment.stats.cxProtocolError.inc()
      if (this.closed) return
      this.protocolError = true
      // The codec has said what is wrong.
      this.connection.close(CloseType.FlushWrite)
    } else if (endStream && !this.closed) this.connection.close(CloseType.FlushWrite)
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) {
      this.onConnected()
      return
    }
    if (event === ConnectionEvent.RemoteClose && !this.remoteEnded) this.onAbort()
    this.onClose(event === ConnectionEvent.RemoteClose || this.remoteEnded)
  }

  /** The connection was reset: to HTTP/1 an end of input like any other (as in Envoy). */
  private onAbort(): void {
    this.remoteEnded = true
    if (this.codec === null || this.codecProtocol === Protocol.Http2 || this.codec.onEndOfInput() === null) return
    this.protocolError = true
    this.pool.environment.stats.cxProtocolError.inc()
  }

  private onConnected(): void {
    const { data, stats } = this.pool.environment
    const wrong = data.http.autoSanValidation ? this.wrongName(this.pool.choice.sni) : null
    if (wrong !== null) {
      stats.scope.counter('ssl.fail_verify_san').inc()
      this.failure = tlsErrorText('CERTIFICATE_VERIFY_FAILED', `verify cert failed: verify SAN list, ${wrong}:`)
      this.close()
      return
    }
    stats.cxConnectMs.record(now() - this.startedAt)
    const protocol = this.chosenProtocol()
    if (protocol === 'http2') {
      this.codecProtocol = Protocol.Http2
      this.limit = data.http.http2.maxConcurrentStreams
    }
    if (this.pool.protocol === 'auto') stats.ofProtocol(protocol).inc()
    this.codec = createClientCodec(protocol, this.connection, this, data.http, stats)
    const { maxConnectionDurationMs } = data.http.common
    if (maxConnectionDurationMs > 0) this.durationTimer = setTimeout(onDurationTimer, maxConnectionDurationMs, this)
    this.startIdle()
    this.pool.onConnected(this, protocol)
  }

  /** auto_san_validation: null when the certificate names the server that was asked for, else what it names. */
  private wrongName(name: string | null): string | null {
    const ssl = this.connection.info.ssl()
    if (name === null || ssl === null || ssl.dnsSanPeer.some((pattern) => dnsNameMatches(name, pattern))) return null
    const others = [...ssl.uriSanPeer, ...ssl.ipSanPeer, ...ssl.emailSanPeer]
    if (others.includes(name)) return null
    return `expected SANs: [${name}], certificate SANs: [${[...ssl.dnsSanPeer, ...others].join(', ')}]`
  }

  private chosenProtocol(): 'http1' | 'http2' {
    if (this.pool.protocol !== 'auto') return this.pool.protocol
    return this.connection.info.negotiatedProtocol === 'h2' ? 'http2' : 'http1'
  }

  private onClose(remote: boolean): void {
    if (this.closed) return
    this.closed = true
    const { pool } = this
    const { stats } = pool.environment
    pool.resources.connections.dec()
    pool.host.stats.cxActive--
    stats.cxActive.dec()
    stats.cxDestroy.inc()
    if (remote) stats.cxDestroyRemote.inc()
    else stats.cxDestroyLocal.inc()
    stats.cxLengthMs.record(now() - this.startedAt)
    if (this.idleTimer !== null) clearTimeout(this.idleTimer)
    if (this.durationTimer !== null) clearTimeout(this.durationTimer)
    if (this.codec === null) {
      this.onConnectFailure(remote)
      return
    }
    stats.rqPerCx.record(this.requests)
    this.countBytes()
    // Out of the pool first: a retry of what is reset now must not find this connection.
    pool.onClosed(this)
    const left = this.activeStreams
    this.activeStreams = 0
    this.codec.onConnectionClosed(
      this.protocolError ? StreamResetReason.ProtocolError : StreamResetReason.ConnectionTermination,
    )
    if (this.codecProtocol === Protocol.Http2 ? this.closedWithActive : left > 0) {
      stats.cxDestroyWithActiveRq.inc()
      if (remote) stats.cxDestroyRemoteWithActiveRq.inc()
      else stats.cxDestroyLocalWithActiveRq.inc()
    }
    for (let i = 0; i < left; i++) pool.onStreamDestroyed()
  }

  private onConnectFailure(remote: boolean): void {
    const { pool, connection } = this
    const { stats } = pool.environment
    stats.cxConnectFail.inc()
    pool.host.stats.cxConnectFail++
    if (connection.connectTimedOut) stats.cxConnectTimeout.inc()
    if (connection.bindFailed) stats.bindErrors.inc()
    const details = (!connection.connectTimedOut && this.failure) || connection.transportFailureReason
    pool.onConnectFailed(this, connectFailureReason(connection, remote, details), details)
  }

  onAboveWriteBufferHighWatermark(): void {
    this.pool.environment.stats.flowControlBackedUp.inc()
    this.codec?.onUnderlyingConnectionAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.pool.environment.stats.flowControlDrained.inc()
    this.codec?.onUnderlyingConnectionBelowWriteBufferLowWatermark()
  }

  private countBytes(): void {
    const { stats } = this.pool.environment
    const { bytesReceived, bytesSent } = this.connection
    stats.cxRxBytesTotal.add(bytesReceived - this.countedRx)
    stats.cxTxBytesTotal.add(bytesSent - this.countedTx)
    this.countedRx = bytesReceived
    this.countedTx = bytesSent
  }
}

function onIdleTimer(client: ActiveClient): void {
  client.checkIdle()
}

function onDurationTimer(client: ActiveClient): void {
  client.onMaxDuration()
}

// `closed` and `draining` are read for every request, and change only when connections end.
changeEveryField(new ActiveClient(null as never, null as never, 0))
