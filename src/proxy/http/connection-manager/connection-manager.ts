// The HTTP connection manager: a terminal network filter that turns a connection's bytes into streams.

import { OwnedTimeout, type TimeoutHandle, type TimeoutQueue } from '../../../base/timeout-queue.ts'
import { CloseType, type Connection, ConnectionEvent } from '../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../network/filter.ts'
import type { CodecError, RequestDecoder, ResponseEncoder, ServerCodecCallbacks, ServerConnection } from '../codec.ts'
import { Protocol, StreamResetReason } from '../codec.ts'
import { createServerCodec, detectProtocol } from '../create-codec.ts'
import { Http2Details, isFlood } from '../h2/error.ts'
import type { HeaderMap } from '../header-map.ts'
import { ActiveStream } from './active-stream.ts'
import type { SharedState } from './shared.ts'

export class ConnectionManager implements NetworkFilter, ServerCodecCallbacks {
  readonly shared: SharedState
  readonly connection: Connection
  private codec: ServerConnection | null = null
  /** Bytes seen before the protocol was known. */
  private preface: Buffer | null = null
  /** Each stream knows its place, so that leaving is a swap with the last. */
  private readonly streams: ActiveStream[] = []
  private requests = 0
  /** No further stream after those there are. */
  closing = false
  /** First GOAWAY of a graceful end is out. */
  private draining = false
  private closed = false
  /** The client has said that it will send no more. */
  private remoteEnded = false
  private idleTimer: TimeoutHandle | null = null
  private durationQueue: TimeoutQueue | null = null
  private durationTimer: TimeoutHandle | null = null
  /** Of a drain with jitter. */
  private drainQueue: TimeoutQueue | null = null
  /** Too old: the next request is the last. */
  private endsWithNextRequest = false
  private drainTimer: TimeoutHandle | null = null
  private received = 0
  private sent = 0

  constructor(shared: SharedState, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.connection = callbacks.connection
    this.filterState = callbacks.filterState
  }

  readonly filterState: ReadFilterCallbacks['filterState']

  // ---- network filter

  onNewConnection(): FilterStatus {
    const { shared, connection } = this
    const { stats } = shared
    stats.cxTotal.inc()
    stats.cxActive.inc()
    if (connection.info.transportProtocol === 'tls') {
      stats.cxSslTotal.inc()
      stats.cxSslActive.inc()
    }
    connection.setNoDelay(true)
    connection.countBuffered(shared.stats.cxRxBuffered, shared.stats.cxTxBuffered)
    connection.setDelayedCloseTimeoutMs(shared.config.delayedCloseTimeoutMs)
    this.armIdle()
    if (shared.config.common.maxConnectionDurationMs > 0) this.armDuration()
    return FilterStatus.Continue
  }

  private armDuration(): void {
    const { maxConnectionDurationMs: ms, maxConnectionDurationJitterPercent: percent } = this.shared.config.common
    const queue = this.shared.queue(withJitter(ms, percent))
    this.durationQueue = queue
    queue.arm((this.durationTimer = queue.handle(new OwnedTimeout(this.connection, () => this.onMaxDuration()))))
  }

  onData(chunk: Buffer, endStream: boolean): FilterStatus {
    if (chunk.length > 0) this.receive(chunk, endStream)
    if (endStream) {
      // No half-open connections: whatever is in flight is given up, as in Envoy.
      this.remoteEnded = true
      this.connection.close(CloseType.FlushWrite)
    }
    return FilterStatus.StopIteration
  }

  private receive(chunk: Buffer, endStream: boolean): void {
    this.shared.stats.cxRxBytes.add(chunk.length)
    this.received += chunk.length
    if (!this.codec && !this.chooseCodec(chunk, endStream)) return
    const bytes = this.preface ?? chunk
    this.preface = null
    const error = this.codec!.dispatch(bytes)
    if (error) this.onCodecError(error)
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.closed) return
    this.closed = true
    const { shared, connection } = this
    const { stats } = shared
    const active = this.streams.length > 0
    const remote = event === ConnectionEvent.RemoteClose || this.remoteEnded
    stats.cxDestroy.inc()
    if (connection.delayedCloseTimedOut) stats.cxDelayedCloseTimeout.inc()
    ;(remote ? stats.cxDestroyRemote : stats.cxDestroyLocal).inc()
    if (active) {
      stats.cxDestroyActiveRq.inc()
      // As Envoy: a close from outside the connection manager, such as the end of a drain, counts as the client's.
      stats.cxDestroyRemoteActiveRq.inc()
    }
    stats.cxActive.dec()
    if (connection.info.transportProtocol === 'tls') stats.cxSslActive.dec()
    if (this.codec) (this.codec.protocol === Protocol.Http2 ? stats.cxHttp2Active : stats.cxHttp1Active).dec()
    this.disarmTimers()
    const details = remote ? 'downstream_remote_disconnect' : localDisconnect(connection.localCloseReason)
    for (const stream of this.newestFirst()) {
      const own = stream.encoder.passedFault
      stream.onResetStream(StreamResetReason.ConnectionTermination, own || details)
    }
    this.codec?.onConnectionClosed()
    stats.cxLengthMs.record(Date.now() - connection.info.startTimeMs)
    stats.cxTxBytes.add(connection.bytesSent - this.sent)
    this.sent = connection.bytesSent
  }

  onAboveWriteBufferHighWatermark(): void {
    this.codec?.onUnderlyingConnectionAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.codec?.onUnderlyingConnectionBelowWriteBufferLowWatermark()
  }

  // ---- codec

  newStream(encoder: ResponseEncoder): RequestDecoder {
    if (this.endsWithNextRequest) this.closeAfterStreams()
    this.disarmIdle()
    const stream = new ActiveStream(this, encoder)
    encoder.stream.callbacks = stream
    this.addStream(stream)
    this.countRequest(encoder)
    return stream
  }

  /** One more request of the connection; an internal redirect makes another one (Envoy). */
  private countRequest(encoder: ResponseEncoder): void {
    const { config, stats } = this.shared
    stats.rqTotal.inc()
    stats.rqActive.inc()
    ;(encoder.stream.protocol === Protocol.Http2 ? stats.rqHttp2Total : stats.rqHttp1Total).inc()
    this.requests++
    const limit = config.common.maxRequestsPerConnection
    if (limit === 0 || this.requests < limit) return
    stats.cxMaxRequests.inc()
    if (!this.closing) this.startDrain()
  }

  private addStream(stream: ActiveStream): void {
    stream.place = this.streams.length
    this.streams.push(stream)
  }

  /** The order in which Envoy tells streams that their connection is gone. */
  private newestFirst(): ActiveStream[] {
    return this.streams.toSorted((a, b) => b.info.streamId - a.info.streamId)
  }

  /** False when it has left already. */
  private removeStream(stream: ActiveStream): boolean {
    const { streams } = this
    const { place } = stream
    if (place < 0) return false
    stream.place = -1
    const last = streams.pop()!
    if (last !== stream) {
      streams[place] = last
      last.place = place
    }
    return true
  }

  /** A client that wants no streams of ours may go on to open its own: it closes when it has had its answers. */
  onGoAway(): void {}

  // ---- streams

  /** The next response says so and then the connection closes. */
  closeAfterStreams(): void {
    this.closing = true
  }

  /** Each response is where a draining listener can end its connection politely; `last`: this one says so itself. */
  onResponseHeaders(last: boolean): void {
    const { overload } = this.shared
    if (last) this.startDrain()
    if (!this.draining && !this.closing && overload?.disableKeepalive) {
      this.shared.stats.cxOverloadDisableKeepalive.inc()
      this.shared.stats.cxDrainClose.inc()
      this.startDrain()
    }
    if (!this.draining && !this.closing && this.shared.drain.drainClose()) {
      this.shared.stats.cxDrainClose.inc()
      this.startDrain()
    }
    if (this.draining && this.codec?.protocol !== Protocol.Http2) this.closeAfterStreams()
  }

  onStreamEnd(stream: ActiveStream): void {
    if (!this.removeStream(stream)) return
    const { stats } = this.shared
    stats.rqActive.dec()
    const { bytesSent } = this.connection
    stats.cxTxBytes.add(bytesSent - this.sent)
    this.sent = bytesSent
    if (this.closed || this.streams.length > 0) return
    this.armIdle()
    // Nothing of a complete request is on its way any more: no reset of ours can overtake the answer.
    const complete = stream.requestDone && stream.responseDone && stream.info.protocol !== Protocol.Http2
    this.maybeClose(complete ? CloseType.FlushWrite : CloseType.FlushWriteAndDelay)
    if (this.codec!.holdsRequest) setImmediate(readOnSoon, this)
  }

  /**
   * Reads the pipelined request that waits: after a turn of the event loop, as in Envoy. Until then the upstream
   * connection of the last one is free again, and an end of it that has arrived is known.
   */
  readOn(): void {
    if (this.closed) return
    try {
      const error = this.codec!.resume()
      if (error) this.onCodecError(error)
    } catch (error) {
      this.connection.onFault(error)
    }
  }

  /** Serves `stream`'s request again with other headers; only a complete request that has no answer yet can be. */
  recreateStream(stream: ActiveStream, headers: HeaderMap): boolean {
    if (!stream.requestDone || stream.responseStarted || stream.ended) return false
    const held = stream.chain.takeHeldRequest()
    const body = held !== null && held.length > 0 ? held : null
    const { encoder } = stream
    encoder.stream.callbacks = null
    const next = new ActiveStream(this, encoder)
    next.info.bytesReceived = stream.info.bytesReceived
    next.continueFrom(stream)
    encoder.stream.callbacks = next
    this.addStream(next)
    this.countRequest(encoder)
    stream.end()
    // The whole request is here: an answer before its body has been handed on is not too early.
    next.requestDone = true
    // Trailers are not kept (Envoy).
    next.decodeHeaders(headers, body === null)
    if (body) next.decodeData(body, true)
    return true
  }

  // ---- internals

  /** False while more bytes are needed to tell HTTP/1 from HTTP/2. */
  private chooseCodec(chunk: Buffer, endStream: boolean): boolean {
    const { shared, connection } = this
    const bytes = this.preface ? Buffer.concat([this.preface, chunk]) : chunk
    const protocol = detectProtocol(shared.config.codecType, connection.info.negotiatedProtocol, bytes, endStream)
    if (protocol === null) {
      this.preface = Buffer.from(bytes)
      return false
    }
    this.preface = this.preface ? bytes : null
    this.codec = createServerCodec(protocol, connection, this, shared)
    const { stats } = shared
    const h2 = protocol === Protocol.Http2
    ;(h2 ? stats.cxHttp2Total : stats.cxHttp1Total).inc()
    ;(h2 ? stats.cxHttp2Active : stats.cxHttp1Active).inc()
    return true
  }

  private onCodecError({ details, stream: faulty }: CodecError): void {
    const { shared, connection } = this
    if (details === Http2Details.PrematureResets) shared.stats.rqTooManyPrematureResets.inc()
    else if (isFlood(details)) {
      // Too much is no fault of the protocol.
    } else if (this.streams.length === 0 || this.codec!.protocol === Protocol.Http2) shared.stats.cxProtocolError.inc()
    if (this.streams.length > 0) {
      shared.stats.cxDestroyActiveRq.inc()
      shared.stats.cxDestroyLocalActiveRq.inc()
    }
    for (const stream of this.newestFirst()) {
      if (stream.responseDone) continue
      const own = stream.encoder.stream.id === faulty?.id ? faulty.details : details
      stream.onResetStream(StreamResetReason.ProtocolError, own)
    }
    connection.close(CloseType.FlushWriteAndDelay, details)
  }

  private maybeClose(type: CloseType = CloseType.FlushWriteAndDelay): void {
    if (!this.closing || this.streams.length > 0 || this.closed) return
    const codec = this.codec
    if (codec?.protocol === Protocol.Http2) codec.goAway()
    this.connection.close(type)
  }

  /**
   * A pause in which requests on their way are still served, then the end. H2 says so by GOAWAY with the highest id and
   * by the final one; H1 by `connection: close` on the next response, if there is one.
   */
  private startDrain(): void {
    if (this.draining || this.closing) return
    this.draining = true
    this.codec?.shutdownNotice()
    const { drainQueue } = this.shared
    if (!drainQueue) this.endDrain()
    else if (this.shared.config.drainTimeoutJitterPercent > 0) this.drainWithJitter()
    else drainQueue.arm((this.drainTimer = drainQueue.handle(new OwnedTimeout(this.connection, () => this.endDrain()))))
  }

  private drainWithJitter(): void {
    const { drainTimeoutMs, drainTimeoutJitterPercent } = this.shared.config
    const queue = this.shared.queue(withJitter(drainTimeoutMs, drainTimeoutJitterPercent))
    this.drainQueue = queue
    queue.arm((this.drainTimer = queue.handle(new OwnedTimeout(this.connection, () => this.endDrain()))))
  }

  private endDrain(): void {
    this.codec?.goAway()
    this.closeAfterStreams()
    this.maybeClose()
  }

  private armIdle(): void {
    const { connectionIdleQueue: queue } = this.shared
    if (!queue || this.closed) return
    this.idleTimer ??= queue.handle(new OwnedTimeout(this.connection, () => this.onIdle()))
    queue.arm(this.idleTimer)
  }

  private disarmIdle(): void {
    if (this.idleTimer) this.shared.connectionIdleQueue!.disarm(this.idleTimer)
  }

  private disarmTimers(): void {
    this.disarmIdle()
    if (this.durationTimer) this.durationQueue!.disarm(this.durationTimer)
    if (this.drainTimer) (this.drainQueue ?? this.shared.drainQueue)!.disarm(this.drainTimer)
  }

  private onIdle(): void {
    this.shared.stats.cxIdleTimeout.inc()
    if (this.codec) this.startDrain()
    else this.connection.close(CloseType.FlushWrite, 'on_idle_timeout')
  }

  private onMaxDuration(): void {
    this.shared.stats.cxMaxDuration.inc()
    if (
      this.shared.config.http1SafeMaxConnectionDuration &&
      this.codec !== null &&
      this.codec.protocol !== Protocol.Http2
    )
      this.endsWithNextRequest = true
    else if (this.codec) this.startDrain()
    else this.connection.close(CloseType.FlushWrite, 'max_connection_duration')
  }
}

function readOnSoon(manager: ConnectionManager): void {
  setImmediate(readOn, manager)
}

function readOn(manager: ConnectionManager): void {
  manager.readOn()
}

function localDisconnect(reason: string): string {
  return reason === '' ? 'downstream_local_disconnect' : `downstream_local_disconnect(${reason})`
}

/** In how many steps a jitter is drawn: each has a queue of its own. */
const JITTER_STEPS = 256

/** `ms` and up to `percent` of it, at random. */
function withJitter(ms: number, percent: number): number {
  if (percent === 0) return ms
  return Math.round(ms * (1 + (Math.floor(Math.random() * JITTER_STEPS) * percent) / (JITTER_STEPS - 1) / 100))
}
