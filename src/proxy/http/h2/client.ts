// The client side of an HTTP/2 connection.

import type { Connection } from '../../network/connection.ts'
import type { ClientCodecCallbacks, ClientConnection, RequestEncoder, ResponseDecoder } from '../codec.ts'
import { StreamResetReason } from '../codec.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import type { HeaderMap } from '../header-map.ts'
import { Http2Connection } from './connection.ts'
import { ErrorCode, FRAME_HEADER_BYTES, MAX_STREAM_ID, PREFACE, Setting } from './constants.ts'
import { type Http2Error, protocolError } from './error.ts'
import { BlockFault, BlockKind, type BlockLimits } from './header-block.ts'
import type { Http2Stats } from './stats.ts'
import { Http2Stream, REQUEST_LEFT_BEHIND } from './stream.ts'
import { responseToUpgrade, upgradeOf } from './upgrade.ts'

export class Http2ClientConnection extends Http2Connection implements ClientConnection {
  readonly leftBehind = REQUEST_LEFT_BEHIND
  readonly mayPeerAllowPush = false
  private readonly callbacks: ClientCodecCallbacks
  private nextStreamId = 1
  private draining = false
  private closed = false
  /** Streams whose headers have not gone out: hardly ever more than one. No Set, as in NumberedTable. */
  private readonly unopened: ClientStream[] = []

  constructor(
    connection: Connection,
    callbacks: ClientCodecCallbacks,
    options: Http2Options,
    limits: BlockLimits,
    stats: Http2Stats,
  ) {
    super(connection, options, limits, stats)
    this.callbacks = callbacks
    connection.write(PREFACE, false)
    this.start([
      [Setting.EnablePush, 0],
      [Setting.MaxConcurrentStreams, options.maxConcurrentStreams],
    ])
  }

  /** The id is given when the headers go out: ids must rise on the wire (RFC 9113 §5.1.1). */
  newStream(decoder: ResponseDecoder): RequestEncoder {
    const stream = new ClientStream(this, decoder)
    this.unopened.push(stream)
    return stream
  }

  /** Called with the first headers. */
  open(stream: ClientStream): void {
    this.forgetUnopened(stream)
    stream.id = this.nextStreamId
    stream.sendWindow = this.settings.initialWindow
    this.nextStreamId += 2
    this.lastStreamId = stream.id
    this.register(stream)
    // Ids are used up: no further stream on this connection.
    if (this.nextStreamId > MAX_STREAM_ID - 2) this.drain()
  }

  onConnectionClosed(reason: StreamResetReason): void {
    this.stop()
    this.closed = true
    // The newest first, as in Envoy.
    for (const stream of [...this.streams.all(), ...this.unopened].reverse()) {
      stream.close()
      stream.fail(reason, '')
    }
  }

  onStreamReset(reason: StreamResetReason): void {
    this.callbacks.onStreamReset?.(reason)
  }

  /** The end of this stream ends the connection, which says enough. */
  endsWithStream(): boolean {
    return this.callbacks.endsWithStream?.() ?? false
  }

  override onStreamClosed(stream: Http2Stream): void {
    super.onStreamClosed(stream)
    this.forgetUnopened(stream as ClientStream)
    if (!this.closed) this.callbacks.onStreamComplete(!this.draining)
  }

  private forgetUnopened(stream: ClientStream): void {
    const { unopened } = this
    if (unopened.length === 0) return
    if (unopened[unopened.length - 1] === stream) unopened.pop()
    else if (unopened.includes(stream)) unopened.splice(unopened.indexOf(stream), 1)
  }

  /** Late frames of a stream that is over are skipped: other requests are on this connection. */
  lateData(): Http2Error | null {
    return null
  }

  protected isMine(streamId: number): boolean {
    return streamId % 2 === 1
  }

  /** The server opens no stream of its own. */
  protected lastPeerStream(): number {
    return 0
  }

  isIdle(streamId: number): boolean {
    return streamId >= this.nextStreamId || streamId % 2 === 0
  }

  acceptHeaders(streamId: number): Http2Error | null {
    return this.isIdle(streamId) ? protocolError('HEADERS on an idle stream') : null
  }

  firstBlockKind(): BlockKind {
    return BlockKind.Response
  }

  onFirstBlock(streamId: number, found: Http2Stream | undefined, endStream: boolean, bytes: number): Http2Error | null {
    // A stream that is over on both sides: what comes late is skipped.
    if (!found) return null
    const stream = found as ClientStream
    const { block } = this.headerFrames
    const { headers } = block
    stream.wireBytesReceived += bytes + FRAME_HEADER_BYTES
    stream.headerBytes?.addReceived(bytes + FRAME_HEADER_BYTES, block.bytes)
    if (stream.remoteClosed) return protocolError('HEADERS after END_STREAM')
    if (block.fault !== BlockFault.None) return this.headerFrames.blockError(streamId)
    const interim = headers.status < 200
    // What has no body has no length (RFC 9110 §8.6); some servers say 0 in 204.
    const lengthy = block.contentLength > (headers.status === 204 ? 0 : -1)
    if (lengthy && (interim || headers.status === 204)) {
      block.fault = BlockFault.Field
      return this.headerFrames.blockError(streamId)
    }
    if (headers.status === 204 && block.contentLength === 0) headers.remove('content-length')
    if (interim && (endStream || headers.status === 101)) {
      block.fault = BlockFault.Malformed
      return this.headerFrames.blockError(streamId)
    }
    if (interim) stream.interimReceived = true
    else {
      stream.headersReceived = true
      // The length of what a GET would have got (RFC 9110 §9.3.2), or of what the client has already.
      const bodyless = stream.isHead || headers.status === 304 || headers.status === 204
      stream.bodyExpected = bodyless ? 0 : block.contentLength
      if (endStream && stream.bodyExpected > 0) {
        block.fault = BlockFault.Malformed
        return this.headerFrames.blockError(streamId)
      }
      if (stream.upgrade !== '' && headers.status === 200) responseToUpgrade(headers, stream.upgrade)
    }
    if (endStream) stream.onRemoteEnd()
    stream.deliverHeaders(headers, endStream)
    stream.settle()
    return null
  }

  override onPeerMaxStreams(max: number): void {
    this.callbacks.onMaxStreamsChanged(max)
  }

  protected onGoAway(lastStreamId: number): void {
    this.drain()
    for (const stream of this.streams.all()) {
      if (stream.id <= lastStreamId) continue
      // The server says that it never looked at them: safe to try elsewhere (RFC 9113 §8.7).
      stream.close()
      stream.fail(StreamResetReason.RemoteRefusedStreamReset, '')
    }
  }

  private drain(): void {
    if (this.draining) return
    this.draining = true
    this.callbacks.onGoAway()
  }
}

class ClientStream extends Http2Stream implements RequestEncoder {
  isHead = false
  /** Upgrade type that the request asked for, or ''. */
  upgrade = ''
  private readonly decoder: ResponseDecoder
  private readonly client: Http2ClientConnection

  constructor(codec: Http2ClientConnection, decoder: ResponseDecoder) {
    super(codec, 0)
    this.client = codec
    this.decoder = decoder
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.isHead = headers.method === 'HEAD'
    this.upgrade = upgradeOf(headers)
    this.tunnel = headers.method === 'CONNECT' || this.upgrade !== ''
    this.client.open(this)
    this.sendHeaders(headers, endStream && !this.tunnel)
  }

  protected encodePseudo(headers: HeaderMap): void {
    const { encoder } = this.codec
    const extended = this.upgrade !== ''
    encoder.field(':method', extended ? 'CONNECT' : headers.method)
    if (this.tunnel && !extended) {
      encoder.field(':authority', headers.authority)
      return
    }
    if (extended) encoder.field(':protocol', this.upgrade)
    encoder.field(':scheme', headers.scheme || 'http')
    encoder.field(':authority', headers.authority)
    encoder.field(':path', headers.path)
  }

  protected pseudoBytes(headers: HeaderMap): number {
    const { method, authority, path } = headers
    if (method === '') return 0
    const extended = this.upgrade !== ''
    const always =
      ':method'.length + (extended ? 'CONNECT'.length : method.length) + ':authority'.length + authority.length
    if (this.tunnel && !extended) return always
    const scheme = ':scheme'.length + (headers.scheme || 'http').length
    const protocol = extended ? ':protocol'.length + this.upgrade.length : 0
    return always + scheme + protocol + ':path'.length + path.length
  }

  deliverHeaders(headers: HeaderMap, endStream: boolean): void {
    if (this.headersReceived) this.decoder.decodeHeaders(headers, endStream)
    // As in HTTP/1, Envoy knows the ones from 100 to 104.
    else if (headers.status <= 104) this.decoder.decode1xxHeaders(headers)
  }

  protected deliverData(chunk: Buffer, endStream: boolean): void {
    this.decoder.decodeData(chunk, endStream)
  }

  protected deliverTrailers(trailers: HeaderMap): void {
    this.decoder.decodeTrailers(trailers)
  }

  override resetStream(reason: StreamResetReason): void {
    this.client.onStreamReset(reason)
    if (this.client.endsWithStream()) this.close()
    else super.resetStream(reason)
  }

  override fail(reason: StreamResetReason, details: string): void {
    this.client.onStreamReset(reason)
    super.fail(reason, details)
  }

  /** "Send no more of the request" (RFC 9113 §8.1). */
  protected onRemoteNoError(): void {}

  protected resetCode(reason: StreamResetReason): number {
    if (reason === StreamResetReason.ProtocolError) return ErrorCode.ProtocolError
    return this.localClosed && this.remoteClosed ? ErrorCode.NoError : ErrorCode.InternalError
  }
}
