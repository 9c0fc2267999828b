// One HTTP/2 stream: its state (RFC 9113 §5.1), windows both ways (§5.2), and what waits for a window.
//
//                 send/recv HEADERS
//        Idle ─────────────────────────▶ Open
//                       send END_STREAM │ │ recv END_STREAM
//            HalfClosedLocal ◀──────────┘ └──────────▶ HalfClosedRemote
//                   │ recv END_STREAM     send END_STREAM │
//                   └───────────────▶ Closed ◀────────────┘       RST_STREAM, either way, closes from anywhere.

import { keepChunk } from '../../../base/small-chunks.ts'
import { type TimeoutEntry, type TimeoutHandle, timeoutQueue } from '../../../base/timeout-queue.ts'
import type { Stream, StreamCallbacks } from '../codec.ts'
import { Protocol, StreamResetReason } from '../codec.ts'
import { fieldBytes, newHeaderBytes } from '../header-bytes.ts'
import type { HeaderMap } from '../header-map.ts'
import type { Http2Connection } from './connection.ts'
import { ErrorCode, FRAME_HEADER_BYTES } from './constants.ts'
import { Http2Details } from './error.ts'

export const StreamState = { Idle: 0, Open: 1, HalfClosedLocal: 2, HalfClosedRemote: 3, Closed: 4 } as const
export type StreamState = (typeof StreamState)[keyof typeof StreamState]

/** Body bytes that may wait for the peer's window before the producer is told to stop. */
const SEND_BUFFER_LIMIT = 256 * 1024
const EMPTY = Buffer.alloc(0)

export abstract class Http2Stream implements Stream, TimeoutEntry {
  readonly protocol = Protocol.Http2
  id: number
  callbacks: StreamCallbacks | null = null
  wireBytesReceived = 0
  wireBytesSent = 0
  readonly headerBytes = newHeaderBytes()
  state: StreamState = StreamState.Idle
  sendWindow: number
  /** What the peer may still send. */
  receiveWindow: number
  /** Body bytes that the peer declared and has not sent; without a declaration -1 and less, by what has come. */
  bodyExpected = -1
  /** Headers that are not 1xx have come in: what follows is a body or trailers. */
  headersReceived = false
  /** 1xx have come in. */
  interimReceived = false
  flushTimeoutMs = 0
  /** Extended or plain CONNECT: ends in each direction apart. */
  tunnel = false
  /** Its place in the row of those that wait for a window (ConnectionWindows). */
  blocked = false
  blockedBefore: Http2Stream | null = null
  blockedBehind: Http2Stream | null = null
  protected readonly codec: Http2Connection
  /** Consumed bytes for which no WINDOW_UPDATE was sent. */
  private unacknowledged = 0
  private sendQueue: Buffer[] | null = null
  private queuedBytes = 0
  private queuedEnd = false
  private queuedTrailers: HeaderMap | null = null
  private flushTimer: TimeoutHandle | null = null
  private aboveSendLimit = false
  private aboveTransport = false
  private disabledReads = 0
  private heldBody: Buffer[] | null = null
  private heldEnd = false
  private heldTrailers: HeaderMap | null = null
  private released = false

  constructor(codec: Http2Connection, id: number) {
    this.codec = codec
    this.id = id
    this.sendWindow = codec.settings.initialWindow
    this.receiveWindow = codec.windows.initialWindow
  }

  get stream(): Stream {
    return this
  }

  get remoteClosed(): boolean {
    return this.state === StreamState.HalfClosedRemote || this.state === StreamState.Closed
  }

  get localClosed(): boolean {
    return this.state === StreamState.HalfClosedLocal || this.state === StreamState.Closed
  }

  /** A complete, valid header block: request, response, 1xx. */
  abstract deliverHeaders(headers: HeaderMap, endStream: boolean): void
  protected abstract deliverData(chunk: Buffer, endStream: boolean): void
  protected abstract deliverTrailers(trailers: HeaderMap): void
  /** Fields of the encoder's block, pseudo-headers first. */
  protected abstract encodePseudo(headers: HeaderMap): void

  // ---- receiving

  /** The peer's END_STREAM, as it arrives: delivery may come later. */
  onRemoteEnd(): void {
    this.state = this.state === StreamState.HalfClosedLocal ? StreamState.Closed : StreamState.HalfClosedRemote
  }

  receiveData(chunk: Buffer, start: number, end: number, endStream: boolean): void {
    if (endStream) this.onRemoteEnd()
    else if (end === start) return
    if (this.disabledReads > 0 || this.heldBody !== null) {
      this.heldBody ??= []
      if (end > start) keepChunk(this.heldBody, chunk.subarray(start, end))
      this.heldEnd = endStream
      return
    }
    this.deliverData(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), endStream)
    this.consumed(end - start)
    this.settle()
  }

  receiveTrailers(trailers: HeaderMap): void {
    this.onRemoteEnd()
    if (this.disabledReads > 0 || this.heldBody !== null) {
      this.heldBody ??= []
      this.heldTrailers = trailers
      return
    }
    this.deliverTrailers(trailers)
    this.settle()
  }

  readDisable(disable: boolean): void {
    if (disable) {
      this.disabledReads++
      return
    }
    if (--this.disabledReads === 0) this.deliverHeld()
  }

  /** The user took `bytes`, or they were padding: the peer may send as many more. */
  consumed(bytes: number): void {
    this.codec.windows.consumed(bytes)
    if (this.remoteClosed) return
    this.unacknowledged += bytes
    if (this.unacknowledged < this.codec.windows.initialWindow >> 1) return
    this.codec.writer.windowUpdate(this.id, this.unacknowledged)
    this.receiveWindow += this.unacknowledged
    this.unacknowledged = 0
  }

  private deliverHeld(): void {
    const held = this.heldBody
    if (held === null) return
    while (held.length > 0 && this.disabledReads === 0) {
      const chunk = held.shift()!
      this.deliverData(chunk, held.length === 0 && this.heldEnd)
      this.consumed(chunk.length)
      if (held.length === 0 && this.heldEnd) this.heldEnd = false
    }
    // A callback may have paused again, or ended the stream and with it what was held.
    if (held.length > 0 || this.disabledReads > 0 || this.heldBody !== held) return
    this.heldBody = null
    if (this.heldTrailers !== null) this.deliverTrailers(this.heldTrailers)
    else if (this.heldEnd) this.deliverData(EMPTY, true)
    this.settle()
  }

  /** Gives back the window of a body that nobody will read. */
  protected dropHeld(): void {
    const held = this.heldBody
    if (held === null) return
    this.heldBody = null
    for (const chunk of held) this.codec.windows.consumed(chunk.length)
    // Who is just delivering them must not go on.
    held.length = 0
  }

  // ---- sending

  protected sendHeaders(headers: HeaderMap, endStream: boolean): void {
    if (this.localClosed) return
    if (this.state === StreamState.Idle) this.state = StreamState.Open
    const { codec } = this
    const { encoder } = codec
    encoder.begin()
    this.encodePseudo(headers)
    encodeFields(codec, headers)
    this.countSent(codec.writer.headers(this.id, encoder.buffer, encoder.length, endStream), headers)
    if (endStream) this.onLocalEnd()
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    if (this.localClosed || this.queuedEnd || this.queuedTrailers !== null) return
    let from = 0
    if (this.sendQueue === null) {
      from = this.writeData(chunk, 0, endStream)
      if (from === chunk.length && (!endStream || this.localClosed)) return
      this.sendQueue = []
      this.codec.windows.block(this)
    }
    if (from < chunk.length) {
      keepChunk(this.sendQueue, chunk.subarray(from))
      this.queuedBytes += chunk.length - from
      this.codec.stats.pendingSendBytes.add(chunk.length - from)
    }
    this.queuedEnd = endStream
    if (endStream) this.startFlushTimer()
    if (this.queuedBytes > SEND_BUFFER_LIMIT && !this.aboveSendLimit) {
      this.aboveSendLimit = true
      this.callbacks?.onAboveWriteBufferHighWatermark()
    }
  }

  encodeTrailers(trailers: HeaderMap): void {
    // None are left: the end goes with DATA (Envoy).
    if (trailers.size === 0) {
      this.encodeData(EMPTY, true)
      return
    }
    if (this.localClosed || this.queuedEnd || this.queuedTrailers !== null) return
    if (this.sendQueue === null) {
      this.writeTrailers(trailers)
      return
    }
    this.queuedTrailers = trailers
    this.startFlushTimer()
  }

  get flushing(): boolean {
    return this.sendQueue !== null && (this.queuedEnd || this.queuedTrailers !== null)
  }

  /** From the end of the message on; bytes that leave meanwhile win no time, as in Envoy. */
  private startFlushTimer(): void {
    if (this.flushTimeoutMs <= 0) return
    const queue = timeoutQueue(this.flushTimeoutMs)
    this.flushTimer = queue.handle(this)
    queue.arm(this.flushTimer)
  }

  private stopFlushTimer(): void {
    if (this.flushTimer === null) return
    timeoutQueue(this.flushTimeoutMs).disarm(this.flushTimer)
    this.flushTimer = null
  }

  /** The peer has not opened its window. */
  onTimeout(): void {
    this.codec.stats.txFlushTimeout.inc()
    const { callbacks } = this
    this.callbacks = null
    this.resetStream(StreamResetReason.LocalReset)
    callbacks?.onFlushed?.()
  }

  onFault(error: unknown): void {
    this.codec.connection.onFault(error)
  }

  /** As the windows allow; returns the position after what went out. The last frame carries END_STREAM. */
  private writeData(chunk: Buffer, from: number, endStream: boolean): number {
    const { codec } = this
    const { length } = chunk
    if (length === from) {
      if (endStream) this.writeFrame(chunk, from, from, true)
      return from
    }
    while (from < length) {
      const take = Math.min(length - from, this.sendWindow, codec.windows.sendWindow, codec.writer.maxFrameSize)
      if (take <= 0) return from
      this.sendWindow -= take
      codec.windows.sendWindow -= take
      this.writeFrame(chunk, from, from + take, endStream && from + take === length)
      from += take
    }
    return from
  }

  private writeFrame(chunk: Buffer, from: number, to: number, endStream: boolean): void {
    this.codec.writer.data(this.id, chunk, from, to, endStream)
    this.codec.limits.dataFramesSent++
    this.wireBytesSent += to - from + FRAME_HEADER_BYTES
    if (endStream) this.onLocalEnd()
  }

  private writeTrailers(trailers: HeaderMap): void {
    const { codec } = this
    const { encoder } = codec
    // A block without a field may still end the stream.
    encoder.begin()
    encodeFields(codec, trailers)
    this.countSent(codec.writer.headers(this.id, encoder.buffer, encoder.length, true), trailers)
    this.onLocalEnd()
  }

  private countSent(bytes: number, headers: HeaderMap): void {
    this.wireBytesSent += bytes
    this.headerBytes?.addSent(bytes, fieldBytes(headers, 0) + this.pseudoBytes(headers))
  }

  /** Names and values of what encodePseudo writes; 0 of trailers. */
  protected abstract pseudoBytes(headers: HeaderMap): number

  /** A window grew. */
  flushQueue(): void {
    const queue = this.sendQueue
    if (queue === null) return
    while (queue.length > 0) {
      const chunk = queue[0]!
      const before = queue.length === 1
      const written = this.writeData(chunk, 0, before && this.queuedEnd)
      this.queuedBytes -= written
      this.codec.stats.pendingSendBytes.sub(written)
      if (written < chunk.length) {
        if (written > 0) queue[0] = chunk.subarray(written)
        break
      }
      queue.shift()
    }
    const flushed = queue.length === 0 && this.flushing
    if (queue.length === 0) {
      this.sendQueue = null
      this.codec.windows.unblock(this)
      this.stopFlushTimer()
      if (this.queuedTrailers !== null) this.writeTrailers(this.queuedTrailers)
      else if (this.queuedEnd && !this.localClosed) this.writeFrame(EMPTY, 0, 0, true)
    }
    if (this.aboveSendLimit && this.queuedBytes < SEND_BUFFER_LIMIT / 2) {
      this.aboveSendLimit = false
      this.callbacks?.onBelowWriteBufferLowWatermark()
    }
    if (flushed) this.callbacks?.onFlushed?.()
  }

  /** The connection's own write buffer is too full, or has room again. */
  onTransportWatermark(above: boolean): void {
    if (above === this.aboveTransport) return
    this.aboveTransport = above
    if (above) this.callbacks?.onAboveWriteBufferHighWatermark()
    else this.callbacks?.onBelowWriteBufferLowWatermark()
  }

  protected onLocalEnd(): void {
    this.state = this.state === StreamState.HalfClosedRemote ? StreamState.Closed : StreamState.HalfClosedLocal
    this.settle()
  }

  /** Both directions ended and everything is delivered: the connection forgets the stream. */
  settle(): void {
    if (this.state !== StreamState.Closed || this.heldBody !== null || this.released) return
    this.released = true
    this.codec.onStreamClosed(this)
  }

  // ---- ending

  /** From our side, without calling back. */
  resetStream(reason: StreamResetReason): void {
    if (this.released) return
    if (this.state !== StreamState.Idle) this.codec.sendReset(this, this.resetCode(reason))
    this.close()
  }

  protected abstract resetCode(reason: StreamResetReason): number

  /** The peer's RST_STREAM. */
  onRemoteReset(code: number): void {
    const answered = this.remoteClosed
    this.close()
    if (code === ErrorCode.NoError && answered) this.onRemoteNoError()
    else if (code === ErrorCode.RefusedStream)
      this.fail(StreamResetReason.RemoteRefusedStreamReset, Http2Details.RemoteRefused)
    else if (code === ErrorCode.ConnectError) this.fail(StreamResetReason.ConnectError, Http2Details.RemoteReset)
    else if (code === ErrorCode.ProtocolError) this.fail(StreamResetReason.ProtocolError, Http2Details.RemoteReset)
    else this.fail(StreamResetReason.RemoteReset, Http2Details.RemoteReset)
  }

  /** RST_STREAM without an error, after all that the peer had to say. */
  protected abstract onRemoteNoError(): void

  /** Tells the user that the stream is gone. */
  fail(reason: StreamResetReason, details: string): void {
    const { callbacks } = this
    this.callbacks = null
    callbacks?.onResetStream(reason, details)
  }

  /** At once, with all that waits. */
  close(): void {
    if (this.released) return
    this.state = StreamState.Closed
    if (this.queuedBytes > 0) this.codec.stats.pendingSendBytes.sub(this.queuedBytes)
    this.queuedBytes = 0
    this.sendQueue = null
    this.stopFlushTimer()
    this.dropHeld()
    this.settle()
  }
}

/** Headers about the connection stay behind: HTTP/2 forbids them (§8.2.2). */
export const RESPONSE_LEFT_BEHIND: ReadonlySet<string> = new Set([
  'connection',
  'upgrade',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
])
/** `host` is `:authority`. */
export const REQUEST_LEFT_BEHIND: ReadonlySet<string> = new Set([...RESPONSE_LEFT_BEHIND, 'host'])

function encodeFields(codec: Http2Connection, headers: HeaderMap): void {
  const { list } = headers
  const { encoder, leftBehind } = codec
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    if (leftBehind.has(name)) continue
    encoder.field(name, list[i + 1]!)
  }
}
