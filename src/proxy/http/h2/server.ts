// The server side of an HTTP/2 connection.

import { now } from '../../../base/clock.ts'
import type { Connection } from '../../network/connection.ts'
import type { CodecError, RequestDecoder, ResponseEncoder, ServerCodecCallbacks, ServerConnection } from '../codec.ts'
import { StreamResetReason } from '../codec.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import type { HeaderMap } from '../header-map.ts'
import { Http2Connection } from './connection.ts'
import { ErrorCode, FRAME_HEADER_BYTES, PREFACE, Setting } from './constants.ts'
import { connectionError, Http2Details, type Http2Error, protocolError } from './error.ts'
import { BlockFault, BlockKind, type BlockLimits } from './header-block.ts'
import { ResetBucket } from './reset-bucket.ts'
import type { Http2Stats } from './stats.ts'
import { Http2Stream, RESPONSE_LEFT_BEHIND, StreamState } from './stream.ts'
import { requestToUpgrade } from './upgrade.ts'

/** Rapid reset (CVE-2023-44487): half of this many requests reset before an answer, within their first second. */
const PREMATURE_RESET_TOTAL = 500
const PREMATURE_LIFETIME_MS = 1000

export class Http2ServerConnection extends Http2Connection implements ServerConnection {
  readonly leftBehind = RESPONSE_LEFT_BEHIND
  readonly mayPeerAllowPush = true
  private readonly callbacks: ServerCodecCallbacks
  private prefaceRead = 0
  private closedStreams = 0
  private prematureResets = 0
  private readonly resetBucket: ResetBucket
  private dispatching = false
  private answeredEarly: ServerStream[] = []

  constructor(
    connection: Connection,
    callbacks: ServerCodecCallbacks,
    options: Http2Options,
    limits: BlockLimits,
    stats: Http2Stats,
  ) {
    super(connection, options, limits, stats)
    this.callbacks = callbacks
    this.resetBucket = new ResetBucket(options.streamResetBurst, options.streamResetRate)
    this.start([[Setting.MaxConcurrentStreams, options.maxConcurrentStreams]])
  }

  override dispatch(chunk: Buffer): CodecError | null {
    let at = 0
    while (this.prefaceRead < PREFACE.length && at < chunk.length) {
      if (chunk[at++] !== PREFACE[this.prefaceRead++]) {
        this.prefaceRead = 0
        return this.fail(protocolError('no client connection preface'))
      }
    }
    if (at === chunk.length) return null
    this.dispatching = true
    const error = this.read(chunk, at)
    this.dispatching = false
    if (this.answeredEarly.length > 0) this.resetAnswered()
    return error
  }

  /** The answer to `stream` is complete and its request is not: the rest may be in the bytes at hand, or is refused. */
  onAnsweredEarly(stream: ServerStream): void {
    this.answeredEarly.push(stream)
    if (!this.dispatching) this.resetAnswered()
  }

  private resetAnswered(): void {
    const streams = this.answeredEarly
    this.answeredEarly = []
    for (const stream of streams) {
      if (stream.remoteClosed) continue
      // RFC 9113 §8.1: no error, but no more of the request either; §8.5 of a CONNECT.
      this.sendReset(stream, stream.connectFailed ? ErrorCode.ConnectError : ErrorCode.NoError)
      stream.close()
    }
  }

  lateData(): Http2Error | null {
    return connectionError(ErrorCode.StreamClosed, 'DATA on a closed stream')
  }

  protected isMine(streamId: number): boolean {
    return streamId % 2 === 0
  }

  protected lastPeerStream(): number {
    return this.lastStreamId
  }

  isIdle(streamId: number): boolean {
    return streamId > this.lastStreamId || streamId % 2 === 0
  }

  acceptHeaders(streamId: number): Http2Error | null {
    if (streamId % 2 === 0) return protocolError('clients open odd streams')
    if (streamId > this.lastStreamId) return null
    const stream = this.streams.get(streamId)
    if (stream?.remoteClosed || (!stream && !this.resets.has(streamId))) {
      return this.misplaced(streamId, 'HEADERS on a closed stream', ErrorCode.StreamClosed)
    }
    return null
  }

  firstBlockKind(): BlockKind {
    return BlockKind.Request
  }

  onFirstBlock(streamId: number, _stream: undefined, endStream: boolean, bytes: number): Http2Error | null {
    this.lastStreamId = streamId
    const { options } = this
    const { block } = this.headerFrames
    if (this.streams.size >= options.maxConcurrentStreams) {
      this.stats.streamRefusedErrors.inc()
      this.refuse(streamId, ErrorCode.RefusedStream)
      return null
    }
    const stream = new ServerStream(this, streamId)
    this.register(stream)
    stream.state = StreamState.Open
    stream.headersReceived = true
    stream.wireBytesReceived = bytes + FRAME_HEADER_BYTES
    stream.headerBytes?.addReceived(bytes + FRAME_HEADER_BYTES, block.bytes)
    stream.decoder = this.callbacks.newStream(stream)
    const { headers } = block
    const connect = headers.method === 'CONNECT'
    // The length of a tunnel says nothing (RFC 9110 §9.3.6).
    if (block.dropped > 0) stream.passedFault = Http2Details.Underscore
    const incomplete = endStream && block.contentLength > 0 && !connect
    if (block.fault !== BlockFault.None || incomplete) return this.headerFrames.blockError(streamId)
    if (!connect) stream.bodyExpected = block.contentLength
    else {
      stream.tunnel = true
      if (headers.protocol !== '') {
        stream.upgrade = true
        requestToUpgrade(headers)
      }
    }
    if (endStream) stream.onRemoteEnd()
    stream.deliverHeaders(headers, endStream)
    stream.settle()
    return null
  }

  /** What had come of the requests of a connection that fails is told in Envoy's words. */
  protected override fail(error: Http2Error): Http2Error {
    super.fail(error)
    return error.details === Http2Details.ProtocolError ? { ...error, details: Http2Details.ConnectionFault } : error
  }

  /** A request whose headers cannot be read is one all the same: it is counted, and logged with what was wrong. */
  override onUnreadBlock(streamId: number): void {
    if (streamId <= this.lastStreamId) return
    this.lastStreamId = streamId
    const stream = new ServerStream(this, streamId)
    this.register(stream)
    stream.state = StreamState.Open
    stream.decoder = this.callbacks.newStream(stream)
  }

  override onStreamClosed(stream: Http2Stream): void {
    super.onStreamClosed(stream)
    this.closedStreams++
  }

  protected override onPeerReset(stream: Http2Stream | undefined): Http2Error | null {
    const premature = stream ? this.onRequestReset(stream) : null
    if (premature) return premature
    return this.resetBucket.take() ? null : connectionError(ErrorCode.InternalError, 'too many RST_STREAM frames')
  }

  private onRequestReset(stream: Http2Stream): Http2Error | null {
    const { answered, startMs } = stream as ServerStream
    if (answered || now() - startMs > PREMATURE_LIFETIME_MS) return null
    this.prematureResets++
    // Also before the total is reached: once the rest could no longer make up for it.
    if (this.prematureResets * 2 < Math.max(PREMATURE_RESET_TOTAL, this.closedStreams)) return null
    return connectionError(ErrorCode.EnhanceYourCalm, 'too many requests reset at once', Http2Details.PrematureResets)
  }

  readonly holdsRequest = false

  resume(): CodecError | null {
    return null
  }

  onConnectionClosed(): void {
    this.stop()
    for (const stream of this.streams.all()) {
      stream.callbacks = null
      stream.close()
    }
  }

  protected onGoAway(): void {
    this.callbacks.onGoAway()
  }
}

class ServerStream extends Http2Stream implements ResponseEncoder {
  decoder: RequestDecoder | null = null
  readonly startMs = now()
  /** Response headers went out. */
  answered = false
  passedFault = ''
  connectFailed = false
  /** The request was an extended CONNECT. */
  upgrade = false
  private readonly server: Http2ServerConnection

  constructor(server: Http2ServerConnection, id: number) {
    super(server, id)
    this.server = server
  }

  deliverHeaders(headers: HeaderMap, endStream: boolean): void {
    this.decoder!.decodeHeaders(headers, endStream)
  }

  protected deliverData(chunk: Buffer, endStream: boolean): void {
    // Nobody waits for the rest of a request that has its answer.
    if (this.localClosed && !this.tunnel) return
    this.decoder!.decodeData(chunk, endStream)
  }

  protected deliverTrailers(trailers: HeaderMap): void {
    if (this.localClosed && !this.tunnel) return
    this.decoder!.decodeTrailers(trailers)
  }

  encode1xxHeaders(headers: HeaderMap): void {
    if (!this.localClosed) this.sendHeaders(headers, false)
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.answered = true
    // Refused, it is a request as any other.
    if (headers.status >= 300) this.tunnel = false
    this.sendHeaders(headers, endStream)
  }

  protected encodePseudo(headers: HeaderMap): void {
    const status = this.upgrade && headers.status === 101 ? 200 : headers.status
    this.codec.encoder.field(':status', STATUS_TEXT[status] ?? String(status))
  }

  protected pseudoBytes({ status }: HeaderMap): number {
    return status === 0 ? 0 : ':status'.length + 3
  }

  protected override onLocalEnd(): void {
    this.dropHeld()
    super.onLocalEnd()
    if (this.state === StreamState.HalfClosedLocal && !this.tunnel) this.server.onAnsweredEarly(this)
  }

  /** The client wants no answer any more: no error, and logged as none (Envoy). */
  protected onRemoteNoError(): void {
    this.fail(StreamResetReason.RemoteResetNoError, '')
  }

  protected resetCode(reason: StreamResetReason): number {
    if (reason === StreamResetReason.LocalRefusedStreamReset) return ErrorCode.RefusedStream
    if (reason === StreamResetReason.ProtocolError) return ErrorCode.ProtocolError
    if (this.connectFailed) return ErrorCode.ConnectError
    return this.localClosed ? ErrorCode.NoError : ErrorCode.InternalError
  }
}

const STATUS_TEXT: string[] = []
for (let status = 100; status < 600; status++) STATUS_TEXT[status] = String(status)
