// What both sides of an HTTP/2 connection share (RFC 9113): frames in, settings, windows, header blocks, faults.
//
// A fault of the peer is a value. A stream fault becomes RST_STREAM, a connection fault becomes GOAWAY and is returned
// from dispatch; the owner then closes the connection.

import { NumberedTable } from '../../../base/numbered-table.ts'
import type { Connection } from '../../network/connection.ts'
import type { CodecConnection, CodecError } from '../codec.ts'
import { Protocol, StreamResetReason } from '../codec.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import { HpackEncoder } from '../hpack/encoder.ts'
import { ConnectionWindows } from './connection-windows.ts'
import { ACK, ErrorCode, FrameType, MAX_STREAM_ID, MAX_WINDOW, Setting } from './constants.ts'
import { DataFrames } from './data-frames.ts'
import { connectionError, Http2Details, type Http2Error, protocolError } from './error.ts'
import { type FrameHandler, FrameReader } from './frame-reader.ts'
import { FrameWriter } from './frame-writer.ts'
import type { BlockKind, BlockLimits } from './header-block.ts'
import { HeaderFrames } from './header-frames.ts'
import { InboundLimits } from './inbound-limits.ts'
import { Keepalive } from './keepalive.ts'
import { RecentResets } from './recent-resets.ts'
import { SettingsFrames } from './settings-frames.ts'
import type { Http2Stats } from './stats.ts'
import type { Http2Stream } from './stream.ts'

export abstract class Http2Connection implements CodecConnection, FrameHandler {
  readonly protocol = Protocol.Http2
  readonly connection: Connection
  readonly options: Http2Options
  readonly stats: Http2Stats
  readonly writer: FrameWriter
  readonly encoder: HpackEncoder
  readonly limits: InboundLimits
  readonly streams = new NumberedTable<Http2Stream>()
  readonly resets = new RecentResets()
  readonly windows: ConnectionWindows
  readonly settings = new SettingsFrames()
  /** Highest id that the peer opened (server) or we opened (client). */
  protected lastStreamId = 0
  protected goAwaySent = false
  /** Names of headers that are not sent. */
  abstract readonly leftBehind: ReadonlySet<string>
  readonly headerFrames: HeaderFrames
  private readonly reader = new FrameReader()
  private readonly keepalive: Keepalive | null
  /** Of our streams, the last that the peer serves. */
  private peerLastStreamId = MAX_STREAM_ID
  private readonly data: DataFrames
  private failed = false
  private aboveTransport = false

  constructor(connection: Connection, options: Http2Options, blockLimits: BlockLimits, stats: Http2Stats) {
    this.connection = connection
    this.options = options
    this.stats = stats
    connection.batchWrites = true
    this.writer = new FrameWriter(connection)
    this.encoder = new HpackEncoder(options.hpackTableSize, options.huffman)
    this.headerFrames = new HeaderFrames(this, blockLimits)
    this.limits = new InboundLimits(options, stats)
    this.windows = new ConnectionWindows(options, this.writer)
    this.data = new DataFrames(this)
    this.keepalive = Keepalive.of(options, this.writer, stats, connection)
  }

  /** SETTINGS and the connection's window: the first frames of either side. */
  protected start(settings: [id: number, value: number][]): void {
    const { options } = this
    settings.push([Setting.HeaderTableSize, options.hpackTableSize])
    settings.push([Setting.EnableConnectProtocol, options.allowConnect ? 1 : 0])
    settings.push([Setting.InitialWindowSize, options.initialStreamWindowSize])
    for (const [id, value] of options.customSettings) settings.push([id, value])
    this.writer.settings(settings)
    this.windows.open()
  }

  dispatch(chunk: Buffer): CodecError | null {
    return this.read(chunk, 0)
  }

  protected read(chunk: Buffer, at: number): CodecError | null {
    if (this.failed) return null
    this.writer.settleCounts()
    this.keepalive?.onBytes()
    const error = this.reader.feed(chunk, at, this)
    return error === null ? null : this.fail(error)
  }

  onEndOfInput(): CodecError | null {
    return null
  }

  /** A frame that has no business on its stream. */
  protected misplaced(streamId: number, message: string, code: ErrorCode = ErrorCode.ProtocolError): Http2Error {
    const stream = this.streams.has(streamId) ? { id: streamId, details: Http2Details.UnknownFault } : undefined
    return { ...connectionError(code, message), stream }
  }

  /** Says why, once. */
  protected fail(error: Http2Error): Http2Error {
    this.failed = true
    this.windows.closed = true
    if (this.headerFrames.openStreamId !== 0) this.onUnreadBlock(this.headerFrames.openStreamId)
    this.stop()
    this.sendGoAway(this.lastPeerStream(), error.code)
    return error
  }

  goAway(): void {
    if (!this.goAwaySent) this.sendGoAway(this.lastPeerStream(), ErrorCode.NoError)
  }

  /** Not counted in `goaway_sent`, as in Envoy. */
  shutdownNotice(): void {
    if (this.connection.open) this.writer.goAway(MAX_STREAM_ID, ErrorCode.NoError)
  }

  private sendGoAway(lastStreamId: number, code: number): void {
    if (!this.connection.open) return
    this.goAwaySent = true
    this.stats.goawaySent.inc()
    this.writer.goAway(lastStreamId, code)
  }

  /** Last stream of the peer that we look at. */
  protected abstract lastPeerStream(): number

  /** Timers end with the connection. */
  stop(): void {
    this.keepalive?.stop()
  }

  onUnderlyingConnectionAboveWriteBufferHighWatermark(): void {
    this.onTransportWatermark(true)
  }

  onUnderlyingConnectionBelowWriteBufferLowWatermark(): void {
    this.onTransportWatermark(false)
  }

  private onTransportWatermark(above: boolean): void {
    this.aboveTransport = above
    for (const stream of this.streams.all()) stream.onTransportWatermark(above)
  }

  // ---- streams

  protected register(stream: Http2Stream): void {
    this.streams.add(stream)
    this.limits.openStreams++
    this.stats.streamsActive.inc()
    this.keepalive?.onStream()
    if (this.aboveTransport) stream.onTransportWatermark(true)
  }

  onStreamClosed(stream: Http2Stream): void {
    this.windows.unblock(stream)
    if (!this.streams.delete(stream.id)) return
    this.limits.openStreams--
    this.stats.streamsActive.dec()
  }

  sendReset(stream: Http2Stream, code: number): void {
    this.stats.txReset.inc()
    this.refuse(stream.id, code)
  }

  /** RST_STREAM; what is on its way for the stream will be skipped. */
  protected refuse(streamId: number, code: number): void {
    this.writer.rstStream(streamId, code)
    this.resets.add(streamId)
  }

  /** A rule of the message is broken: the stream's end, or the connection's when so configured (Envoy's default). */
  messagingError(streamId: number, details: string): Http2Error | null {
    this.stats.rxMessagingError.inc()
    if (this.options.streamErrorOnInvalidMessage !== true) {
      return { ...protocolError('malformed message'), stream: { id: streamId, details } }
    }
    this.endFaulty(streamId, ErrorCode.ProtocolError, details)
    return null
  }

  endFaulty(
    streamId: number,
    code: number,
    details: string,
    reason: StreamResetReason = StreamResetReason.ProtocolError,
  ): void {
    const stream = this.streams.get(streamId)
    this.stats.txReset.inc()
    this.refuse(streamId, code)
    if (!stream) return
    stream.close()
    stream.fail(reason, details)
  }

  // ---- frames

  onFrameHeader(length: number, type: number, flags: number, streamId: number): Http2Error | null {
    const { openStreamId } = this.headerFrames
    if (openStreamId !== 0 && (type !== FrameType.Continuation || streamId !== openStreamId)) {
      return protocolError('a header block must be finished first')
    }
    if (!this.settings.received && (type !== FrameType.Settings || (flags & ACK) !== 0))
      return protocolError('SETTINGS must come first')
    if (type !== FrameType.Data) {
      if (type === FrameType.Headers || type === FrameType.Continuation)
        return this.limits.onMessageFrame(length === 0, flags, streamId)
      return null
    }
    return this.data.begin(length, streamId)
  }

  onDataPiece(
    streamId: number,
    flags: number,
    payload: Buffer,
    start: number,
    end: number,
    last: boolean,
  ): Http2Error | null {
    return this.data.onPiece(streamId, flags, payload, start, end, last)
  }

  onFrame(
    type: number,
    flags: number,
    streamId: number,
    payload: Buffer,
    start: number,
    end: number,
  ): Http2Error | null {
    const error = this.takeFrame(type, flags, streamId, payload, start, end)
    return error ?? this.limits.onFrameHandled(this.writer.outbound)
  }

  private takeFrame(
    type: number,
    flags: number,
    streamId: number,
    payload: Buffer,
    start: number,
    end: number,
  ): Http2Error | null {
    switch (type) {
      case FrameType.Headers:
        return this.headerFrames.onHeaders(flags, streamId, payload, start, end)
      case FrameType.Continuation:
        return this.headerFrames.onContinuation(flags, streamId, payload, start, end)
      case FrameType.Priority:
        return this.onPriority(streamId, payload, start, end)
      case FrameType.RstStream:
        return this.onRstStream(streamId, payload, start, end)
      case FrameType.Settings:
        if (streamId !== 0) return this.misplaced(streamId, 'SETTINGS on a stream')
        return this.settings.onFrame(this, flags, payload, start, end)
      case FrameType.PushPromise:
        return this.misplaced(streamId, 'PUSH_PROMISE')
      case FrameType.Ping:
        return this.onPing(flags, streamId, payload, start, end)
      case FrameType.GoAway:
        if (streamId !== 0) return this.misplaced(streamId, 'GOAWAY on a stream')
        if (end - start < 8) return connectionError(ErrorCode.FrameSizeError, 'GOAWAY')
        return this.onGoAwayFrame(payload.readUInt32BE(start) & MAX_STREAM_ID, payload.readUInt32BE(start + 4))
      case FrameType.WindowUpdate:
        return this.onWindowUpdate(streamId, payload, start, end)
      default:
        // Unknown types are for extensions (§5.5).
        return null
    }
  }

  /** May HEADERS come for this stream? Creates nothing yet. */
  abstract acceptHeaders(streamId: number): Http2Error | null

  /** Never used by the peer so far. */
  abstract isIdle(streamId: number): boolean

  /** The connection fails over the header block of this stream, which may be known or not. */
  onUnreadBlock(_streamId: number): void {}

  abstract firstBlockKind(): BlockKind

  /** Request or response headers; `block` holds them. */
  abstract onFirstBlock(
    streamId: number,
    stream: Http2Stream | undefined,
    endStream: boolean,
    bytes: number,
  ): Http2Error | null

  private onPriority(streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (streamId === 0) return protocolError('PRIORITY without a stream')
    if (end - start !== 5) return connectionError(ErrorCode.FrameSizeError, 'PRIORITY')
    if ((payload.readUInt32BE(start) & MAX_STREAM_ID) === streamId)
      return protocolError('a stream cannot depend on itself')
    return this.limits.onPriority()
  }

  private onRstStream(streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (streamId === 0) return protocolError('RST_STREAM without a stream')
    if (end - start !== 4) return connectionError(ErrorCode.FrameSizeError, 'RST_STREAM')
    if (this.isIdle(streamId)) return protocolError('RST_STREAM on an idle stream')
    const stream = this.streams.get(streamId)
    if (stream) {
      this.stats.rxReset.inc()
      stream.onRemoteReset(payload.readUInt32BE(start))
    }
    return this.onPeerReset(stream)
  }

  /** The server counts resets. `stream`: if it was still there. */
  protected onPeerReset(_stream: Http2Stream | undefined): Http2Error | null {
    return null
  }

  /** How many streams the peer lets us have open. */
  onPeerMaxStreams(_max: number): void {}

  private onPing(flags: number, streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (streamId !== 0) return this.misplaced(streamId, 'PING on a stream')
    if (end - start !== 8) return connectionError(ErrorCode.FrameSizeError, 'PING')
    if ((flags & ACK) === 0) this.writer.ping(payload, start, true)
    return null
  }

  /** The last stream is one of ours, and none beyond what was said before (§6.8). */
  private onGoAwayFrame(lastStreamId: number, code: number): Http2Error | null {
    if ((lastStreamId !== 0 && !this.isMine(lastStreamId)) || lastStreamId > this.peerLastStreamId)
      return protocolError('GOAWAY: last stream')
    this.peerLastStreamId = lastStreamId
    this.onGoAway(lastStreamId, code)
    return null
  }

  /** A server must not even ask for pushes (§6.5.2). */
  abstract readonly mayPeerAllowPush: boolean

  /** Whether streams of this number are ours to open. */
  protected abstract isMine(streamId: number): boolean

  /** DATA of a stream that is over, and not by a reset of ours. */
  abstract lateData(): Http2Error | null

  protected abstract onGoAway(lastStreamId: number, code: number): void

  private onWindowUpdate(streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (end - start !== 4) return connectionError(ErrorCode.FrameSizeError, 'WINDOW_UPDATE')
    const increment = payload.readUInt32BE(start) & MAX_WINDOW
    const flood = this.limits.onWindowUpdate()
    if (flood) return flood
    if (streamId === 0) {
      if (increment === 0) return protocolError('WINDOW_UPDATE of 0')
      return this.windows.grow(increment) ? null : connectionError(ErrorCode.FlowControlError, 'WINDOW_UPDATE')
    }
    const stream = this.streams.get(streamId)
    if (!stream) return this.isIdle(streamId) ? protocolError('WINDOW_UPDATE on an idle stream') : null
    if (increment === 0) {
      this.endFaulty(streamId, ErrorCode.ProtocolError, Http2Details.ProtocolError)
      return null
    }
    stream.sendWindow += increment
    if (stream.sendWindow > MAX_WINDOW) {
      this.endFaulty(streamId, ErrorCode.FlowControlError, Http2Details.ProtocolError)
      return null
    }
    if (stream.blocked) stream.flushQueue()
    return null
  }
}
