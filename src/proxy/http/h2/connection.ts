// What both sides of an HTTP/2 connection share (RFC 9113): frames in, settings, windows, header blocks, faults.
//
// A fault of the peer is a value. A stream fault becomes RST_STREAM, a connection fault becomes GOAWAY and is returned
// from dispatch; the owner then closes the connection.

import { NumberedTable } from '../../../base/numbered-table.ts'
import type { Connection } from '../../network/connection.ts'
import type { CodecConnection, CodecError } from '../codec.ts'
import { Protocol, StreamResetReason } from '../codec.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import { HpackDecoder } from '../hpack/decoder.ts'
import { HpackEncoder } from '../hpack/encoder.ts'
import {
  ACK,
  DEFAULT_MAX_FRAME_SIZE,
  DEFAULT_TABLE_SIZE,
  DEFAULT_WINDOW,
  END_HEADERS,
  END_STREAM,
  ErrorCode,
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_STREAM_ID,
  MAX_WINDOW,
  PADDED,
  PRIORITY,
  Setting,
} from './constants.ts'
import { connectionError, Http2Details, type Http2Error, protocolError } from './error.ts'
import { type FrameHandler, FrameReader } from './frame-reader.ts'
import { FrameWriter } from './frame-writer.ts'
import { BlockFault, BlockKind, type BlockLimits, HeaderBlock } from './header-block.ts'
import { HeaderPieces } from './header-pieces.ts'
import { InboundLimits } from './inbound-limits.ts'
import { Keepalive } from './keepalive.ts'
import type { Http2Stats } from './stats.ts'
import type { Http2Stream } from './stream.ts'

/** Streams we reset lately: frames for them were on their way and are skipped, not faults (§5.1). */
const MAX_REMEMBERED_RESETS = 1000

export abstract class Http2Connection implements CodecConnection, FrameHandler {
  readonly protocol = Protocol.Http2
  readonly connection: Connection
  readonly options: Http2Options
  readonly stats: Http2Stats
  readonly writer: FrameWriter
  readonly encoder: HpackEncoder
  readonly limits: InboundLimits
  readonly streams = new NumberedTable<Http2Stream>()
  /** Streams whose body waits for a window. */
  readonly blocked = new Set<Http2Stream>()
  readonly initialWindow: number
  peerInitialWindow = DEFAULT_WINDOW
  /** Connection windows: what we, what the peer may send. */
  sendWindow = DEFAULT_WINDOW
  /** Highest id that the peer opened (server) or we opened (client). */
  protected lastStreamId = 0
  protected goAwaySent = false
  protected peerAllowsConnect = false
  /** Names of headers that are not sent. */
  abstract readonly leftBehind: ReadonlySet<string>
  protected readonly block: HeaderBlock
  private readonly decoder: HpackDecoder
  private readonly reader = new FrameReader()
  private readonly keepalive: Keepalive | null
  private receiveWindow = DEFAULT_WINDOW
  private readonly connectionWindow: number
  private unacknowledged = 0
  private settingsReceived = false
  /** Of our streams, the last that the peer serves. */
  private peerLastStreamId = MAX_STREAM_ID
  /** Of the DATA frame at hand, without padding. */
  private dataBytes = 0
  /** Its payload, padding and all; 0 once the connection's window has it back. */
  private frameBytes = 0
  /** The peer knows our settings, which never change. */
  private acknowledged = false
  private failed = false
  private aboveTransport = false
  private readonly pieces = new HeaderPieces()
  /** The block at hand is one. */
  private trailers = false
  private readonly resets = new Set<number>()

  constructor(connection: Connection, options: Http2Options, blockLimits: BlockLimits, stats: Http2Stats) {
    this.connection = connection
    this.options = options
    this.stats = stats
    connection.batchWrites = true
    this.writer = new FrameWriter(connection)
    this.encoder = new HpackEncoder(options.hpackTableSize, options.huffman)
    this.decoder = new HpackDecoder(options.hpackTableSize, options.maxHeaderFieldBytes)
    this.block = new HeaderBlock(blockLimits)
    this.limits = new InboundLimits(options, stats)
    this.initialWindow = options.initialStreamWindowSize
    this.connectionWindow = Math.max(options.initialConnectionWindowSize, DEFAULT_WINDOW)
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
    if (this.connectionWindow > this.receiveWindow) {
      this.writer.windowUpdate(0, this.connectionWindow - this.receiveWindow)
      this.receiveWindow = this.connectionWindow
    }
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
    if (this.pieces.streamId !== 0) this.onUnreadBlock(this.pieces.streamId)
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
    if (this.blocked.size > 0) this.blocked.delete(stream)
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
    if (this.resets.size >= MAX_REMEMBERED_RESETS) {
      for (const oldest of this.resets) {
        this.resets.delete(oldest)
        break
      }
    }
    this.resets.add(streamId)
  }

  protected wasReset(streamId: number): boolean {
    return this.resets.has(streamId)
  }

  /** `bytes` of body were taken off the connection's window and are used up. */
  consumedConnection(bytes: number): void {
    this.unacknowledged += bytes
    if (this.unacknowledged < this.connectionWindow >> 1 || this.failed) return
    this.writer.windowUpdate(0, this.unacknowledged)
    this.receiveWindow += this.unacknowledged
    this.unacknowledged = 0
  }

  /** A rule of the message is broken: the stream's end, or the connection's when so configured (Envoy's default). */
  protected messagingError(streamId: number, details: string): Http2Error | null {
    this.stats.rxMessagingError.inc()
    if (this.options.streamErrorOnInvalidMessage !== true) {
      return { ...protocolError('malformed message'), stream: { id: streamId, details } }
    }
    this.endFaulty(streamId, ErrorCode.ProtocolError, details)
    return null
  }

  protected endFaulty(
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
    if (this.pieces.streamId !== 0 && (type !== FrameType.Continuation || streamId !== this.pieces.streamId)) {
      return protocolError('a header block must be finished first')
    }
    if (!this.settingsReceived && (type !== FrameType.Settings || (flags & ACK) !== 0))
      return protocolError('SETTINGS must come first')
    if (type !== FrameType.Data) {
      if (type === FrameType.Headers || type === FrameType.Continuation)
        return this.limits.onMessageFrame(length === 0, flags, streamId)
      return null
    }
    if (streamId === 0) return protocolError('DATA without a stream')
    this.dataBytes = 0
    this.frameBytes = length
    this.receiveWindow -= length
    if (this.receiveWindow < 0) return connectionError(ErrorCode.FlowControlError, 'connection window exceeded')
    const stream = this.streams.get(streamId)
    if (!stream) {
      // Nobody will use the bytes: they are given back here.
      this.giveFrameBack(length)
      if (this.isIdle(streamId)) return protocolError('DATA on an idle stream')
      return this.resets.has(streamId) ? null : this.lateData()
    }
    stream.wireBytesReceived += length + FRAME_HEADER_BYTES
    if (stream.remoteClosed) {
      this.giveFrameBack(length)
      return connectionError(ErrorCode.StreamClosed, 'DATA after END_STREAM')
    }
    stream.receiveWindow -= length
    if (stream.receiveWindow < 0) {
      this.giveFrameBack(length)
      this.endFaulty(streamId, ErrorCode.FlowControlError, Http2Details.ProtocolError)
    }
    return null
  }

  private giveFrameBack(length: number): void {
    this.frameBytes = 0
    this.consumedConnection(length)
  }

  onDataPiece(
    streamId: number,
    flags: number,
    payload: Buffer,
    start: number,
    end: number,
    last: boolean,
  ): Http2Error | null {
    const stream = this.streams.get(streamId)
    this.dataBytes += end - start
    // Padding counts in both windows (§6.1) and nobody else gives it back.
    if (last && this.frameBytes > this.dataBytes) {
      const padding = this.frameBytes - this.dataBytes
      if (stream) stream.consumed(padding)
      else this.consumedConnection(padding)
    }
    if (!stream) {
      // It ended between two pieces of this frame.
      if (this.frameBytes > 0) this.consumedConnection(end - start)
      return null
    }
    if (last) {
      const flood = this.limits.onMessageFrame(this.dataBytes === 0, flags, streamId)
      if (flood) return flood
    }
    if (!stream.headersReceived) return this.earlyData(stream, end - start, last && (flags & END_STREAM) !== 0)
    const endStream = last && (flags & END_STREAM) !== 0
    if (stream.bodyExpected >= 0) {
      stream.bodyExpected -= end - start
      if (stream.bodyExpected < 0 || (endStream && stream.bodyExpected > 0)) {
        this.consumedConnection(end - start)
        // The stream's fault alone, which Envoy logs as if the client had reset it.
        this.endFaulty(streamId, ErrorCode.ProtocolError, Http2Details.RemoteReset)
        return null
      }
    } else stream.bodyExpected -= end - start
    stream.receiveData(payload, start, end, endStream)
    return this.limits.onFrameHandled(this.writer.outbound)
  }

  /** DATA before the headers of the response: behind 1xx it is the stream's fault, and none where it says nothing (Envoy). */
  private earlyData(stream: Http2Stream, bytes: number, endStream: boolean): Http2Error | null {
    if (!stream.interimReceived) return protocolError('DATA before HEADERS')
    this.consumedConnection(bytes)
    if (bytes > 0 || endStream) this.endFaulty(stream.id, ErrorCode.ProtocolError, Http2Details.ProtocolError)
    return null
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
        return this.onHeadersFrame(flags, streamId, payload, start, end)
      case FrameType.Continuation:
        return this.onContinuation(flags, streamId, payload, start, end)
      case FrameType.Priority:
        return this.onPriority(streamId, payload, start, end)
      case FrameType.RstStream:
        return this.onRstStream(streamId, payload, start, end)
      case FrameType.Settings:
        return this.onSettings(flags, streamId, payload, start, end)
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

  private onHeadersFrame(
    flags: number,
    streamId: number,
    payload: Buffer,
    start: number,
    end: number,
  ): Http2Error | null {
    if (streamId === 0) return protocolError('HEADERS without a stream')
    let padding = 0
    if (flags & PADDED) {
      if (start === end) return connectionError(ErrorCode.FrameSizeError, 'HEADERS')
      padding = payload[start++]!
    }
    if (flags & PRIORITY) {
      if (end - start < 5) return connectionError(ErrorCode.FrameSizeError, 'HEADERS')
      if ((payload.readUInt32BE(start) & MAX_STREAM_ID) === streamId)
        return protocolError('a stream cannot depend on itself')
      start += 5
    }
    if (padding > end - start) return protocolError('padding longer than the frame')
    end -= padding
    const refused = this.acceptHeaders(streamId)
    if (refused) return refused
    const endStream = (flags & END_STREAM) !== 0
    this.beginBlock(streamId)
    if (flags & END_HEADERS) {
      if (!this.decoder.decode(payload, start, end, this.block)) return this.unreadable(streamId)
      return this.onBlock(streamId, endStream, end - start)
    }
    this.pieces.begin(streamId, endStream)
    return this.onPiece(payload, start, end, false)
  }

  private onContinuation(
    flags: number,
    streamId: number,
    payload: Buffer,
    start: number,
    end: number,
  ): Http2Error | null {
    const { pieces } = this
    if (pieces.streamId === 0) return protocolError('CONTINUATION without HEADERS')
    const last = (flags & END_HEADERS) !== 0
    const error = this.onPiece(payload, start, end, last)
    if (error || !last) return error
    pieces.finish()
    return this.onBlock(streamId, pieces.endStream, pieces.bytes)
  }

  private onPiece(payload: Buffer, start: number, end: number, last: boolean): Http2Error | null {
    const { pieces, block, decoder } = this
    if (!pieces.count(end - start)) {
      this.stats.headerListSizeTooLarge.inc()
      return connectionError(ErrorCode.EnhanceYourCalm, 'header block too large', Http2Details.HeaderListTooLarge)
    }
    const joined = pieces.join(payload, start, end, last)
    if (joined === null) return null
    const at = decoder.decodePart(joined, 0, joined.length, block, pieces.isFirst)
    if (at < 0 || (last && at < joined.length)) return this.unreadable(pieces.streamId)
    pieces.keep(joined, at)
    if (last || block.fault === BlockFault.None || pieces.refused) return null
    // A fault does not wait for the rest of the block. Who is gone already has none.
    pieces.refused = true
    this.onUnreadBlock(pieces.streamId)
    return this.streams.has(pieces.streamId) ? this.blockError(pieces.streamId) : null
  }

  /** May HEADERS come for this stream? Creates nothing yet. */
  protected abstract acceptHeaders(streamId: number): Http2Error | null

  /** Never used by the peer so far. */
  protected abstract isIdle(streamId: number): boolean

  /** Blocks are always decoded, whoever they are for: the table must follow (§4.3). */
  private beginBlock(streamId: number): void {
    this.trailers = this.streams.get(streamId)?.headersReceived === true
    const first = this.firstBlockKind()
    if (this.trailers && first === BlockKind.Request) this.stats.trailers.inc()
    this.block.begin(this.trailers ? BlockKind.Trailers : first)
  }

  private unreadable(streamId: number): Http2Error {
    this.onUnreadBlock(streamId)
    const error = connectionError(ErrorCode.CompressionError, 'HPACK')
    if (this.block.fault !== BlockFault.Field) return error
    this.stats.rxMessagingError.inc()
    return { ...error, stream: { id: streamId, details: this.faultDetails(Http2Details.InvalidHeaderField) } }
  }

  /** A complete header block of `bytes` encoded ones. */
  private onBlock(streamId: number, endStream: boolean, bytes: number): Http2Error | null {
    const { block, trailers } = this
    const stream = this.streams.get(streamId)
    // Reset by us, maybe while its block came.
    if (!stream && (trailers || this.resets.has(streamId))) return null
    block.finish()
    if (block.dropped > 0) this.stats.droppedHeadersWithUnderscores.add(block.dropped)
    if (!trailers) return this.onFirstBlock(streamId, stream, endStream, bytes)
    if (stream!.remoteClosed) return connectionError(ErrorCode.StreamClosed, 'HEADERS after END_STREAM')
    stream!.wireBytesReceived += bytes + FRAME_HEADER_BYTES
    stream!.headerBytes?.addReceived(bytes + FRAME_HEADER_BYTES, block.bytes)
    const incomplete = stream!.bodyExpected > 0
    // A length that comes late must be right, too, and the only one.
    const { contentLength } = block
    if (contentLength >= 0 && (stream!.bodyExpected >= 0 || contentLength !== -1 - stream!.bodyExpected))
      block.fault ||= BlockFault.Malformed
    if (block.fault !== BlockFault.None || !endStream || incomplete) return this.blockError(streamId)
    if (block.headers.size === 0) stream!.receiveData(EMPTY, 0, 0, true)
    else stream!.receiveTrailers(block.headers)
    return null
  }

  /** The connection fails over the header block of this stream, which may be known or not. */
  protected onUnreadBlock(_streamId: number): void {}

  protected abstract firstBlockKind(): BlockKind

  /** Request or response headers; `block` holds them. */
  protected abstract onFirstBlock(
    streamId: number,
    stream: Http2Stream | undefined,
    endStream: boolean,
    bytes: number,
  ): Http2Error | null

  /** What the fault in `block` does to its stream, which may be known or not. */
  protected blockError(streamId: number): Http2Error | null {
    switch (this.block.fault) {
      case BlockFault.TooLarge:
        this.stats.headerListSizeTooLarge.inc()
        return this.refuseBlock(streamId, this.faultDetails(Http2Details.HeaderListTooLarge))
      case BlockFault.TooMany:
        this.stats.headerOverflow.inc()
        return this.refuseBlock(streamId, this.faultDetails(Http2Details.TooManyHeaders))
      case BlockFault.Underscore:
        this.stats.requestsRejectedWithUnderscoresInHeaders.inc()
        return this.refuseBlock(streamId, Http2Details.Underscore)
      case BlockFault.Field:
        return this.messagingError(streamId, this.faultDetails(Http2Details.InvalidHeaderField))
      default:
        return this.messagingError(streamId, this.faultDetails(Http2Details.MessagingRule))
    }
  }

  /** The stream's user is told what Envoy's is: the peer has reset it. */
  private refuseBlock(streamId: number, details: string): null {
    this.endFaulty(streamId, ErrorCode.InternalError, details, StreamResetReason.RemoteReset)
    return null
  }

  /** A header that was dropped for its underscore is the first thing that was wrong (Envoy). */
  private faultDetails(details: string): string {
    return this.block.dropped > 0 ? Http2Details.Underscore : details
  }

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

  private onSettings(flags: number, streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (streamId !== 0) return this.misplaced(streamId, 'SETTINGS on a stream')
    if (flags & ACK) {
      if (start !== end) return connectionError(ErrorCode.FrameSizeError, 'SETTINGS')
      if (this.acknowledged) return protocolError('SETTINGS were acknowledged before')
      if (this.options.hpackTableSize < DEFAULT_TABLE_SIZE) this.decoder.expectSizeUpdate()
      this.acknowledged = true
      return null
    }
    if ((end - start) % 6 !== 0) return connectionError(ErrorCode.FrameSizeError, 'SETTINGS')
    this.settingsReceived = true
    const before = this.peerInitialWindow
    for (let at = start; at < end; at += 6) {
      const error = this.applySetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
      if (error) return error
    }
    this.writer.settingsAck()
    // Only windows that grew let anybody go on.
    if (this.peerInitialWindow > before) this.flushBlocked()
    return null
  }

  private applySetting(id: number, value: number): Http2Error | null {
    switch (id) {
      case Setting.HeaderTableSize:
        this.encoder.setPeerTableSize(value)
        break
      case Setting.EnablePush:
        if (value > 1 || (value === 1 && !this.mayPeerAllowPush)) return protocolError('SETTINGS_ENABLE_PUSH')
        break
      case Setting.MaxConcurrentStreams:
        this.onPeerMaxStreams(value)
        break
      case Setting.InitialWindowSize: {
        if (value > MAX_WINDOW) return connectionError(ErrorCode.FlowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE')
        const change = value - this.peerInitialWindow
        this.peerInitialWindow = value
        for (const stream of this.streams.all()) {
          stream.sendWindow += change
          if (stream.sendWindow > MAX_WINDOW)
            return connectionError(ErrorCode.FlowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE')
        }
        break
      }
      case Setting.MaxFrameSize:
        if (value < DEFAULT_MAX_FRAME_SIZE || value > 0xffffff) return protocolError('SETTINGS_MAX_FRAME_SIZE')
        // Larger frames than the write buffer takes at once gain nothing.
        this.writer.maxFrameSize = DEFAULT_MAX_FRAME_SIZE
        break
      case Setting.EnableConnectProtocol:
        if (value > 1 || (value === 0 && this.peerAllowsConnect))
          return protocolError('SETTINGS_ENABLE_CONNECT_PROTOCOL')
        this.peerAllowsConnect = value === 1
        break
    }
    return null
  }

  protected onPeerMaxStreams(_max: number): void {}

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
  protected abstract readonly mayPeerAllowPush: boolean

  /** Whether streams of this number are ours to open. */
  protected abstract isMine(streamId: number): boolean

  /** DATA of a stream that is over, and not by a reset of ours. */
  protected abstract lateData(): Http2Error | null

  protected abstract onGoAway(lastStreamId: number, code: number): void

  private onWindowUpdate(streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if (end - start !== 4) return connectionError(ErrorCode.FrameSizeError, 'WINDOW_UPDATE')
    const increment = payload.readUInt32BE(start) & MAX_WINDOW
    const flood = this.limits.onWindowUpdate()
    if (flood) return flood
    if (streamId === 0) {
      if (increment === 0) return protocolError('WINDOW_UPDATE of 0')
      this.sendWindow += increment
      if (this.sendWindow > MAX_WINDOW) return connectionError(ErrorCode.FlowControlError, 'WINDOW_UPDATE')
      this.flushBlocked()
      return null
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
    if (this.blocked.has(stream)) stream.flushQueue()
    return null
  }

  /** Every waiting stream gets its turn; who waits again goes to the end. */
  private flushBlocked(): void {
    if (this.blocked.size === 0 || this.sendWindow <= 0) return
    for (const stream of [...this.blocked]) {
      if (this.sendWindow <= 0) return
      this.blocked.delete(stream)
      this.blocked.add(stream)
      stream.flushQueue()
    }
  }
}

const EMPTY = Buffer.alloc(0)
