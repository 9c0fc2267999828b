// HEADERS and CONTINUATION as they come (RFC 9113 §6.2, §6.10): one header block after another, decoded piece by piece.

import { StreamResetReason } from '../codec.ts'
import { HpackDecoder } from '../hpack/decoder.ts'
import type { Http2Connection } from './connection.ts'
import { END_HEADERS, END_STREAM, ErrorCode, FRAME_HEADER_BYTES, MAX_STREAM_ID, PADDED, PRIORITY } from './constants.ts'
import { connectionError, Http2Details, type Http2Error, protocolError } from './error.ts'
import { BlockFault, BlockKind, type BlockLimits, HeaderBlock } from './header-block.ts'
import { HeaderPieces } from './header-pieces.ts'

const EMPTY = Buffer.alloc(0)

export class HeaderFrames {
  /** The block at hand. */
  readonly block: HeaderBlock
  readonly decoder: HpackDecoder
  private readonly codec: Http2Connection
  private readonly pieces = new HeaderPieces()
  /** The block at hand is one. */
  private trailers = false

  constructor(codec: Http2Connection, limits: BlockLimits) {
    this.codec = codec
    this.block = new HeaderBlock(limits)
    this.decoder = new HpackDecoder(codec.options.hpackTableSize, codec.options.maxHeaderFieldBytes)
  }

  /** The stream whose block is unfinished, or 0. */
  get openStreamId(): number {
    return this.pieces.streamId
  }

  onHeaders(flags: number, streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
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
    const refused = this.codec.acceptHeaders(streamId)
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

  onContinuation(flags: number, streamId: number, payload: Buffer, start: number, end: number): Http2Error | null {
    const { pieces } = this
    if (pieces.streamId === 0) return protocolError('CONTINUATION without HEADERS')
    const last = (flags & END_HEADERS) !== 0
    const error = this.onPiece(payload, start, end, last)
    if (error || !last) return error
    pieces.finish()
    return this.onBlock(streamId, pieces.endStream, pieces.bytes)
  }

  private onPiece(payload: Buffer, start: number, end: number, last: boolean): Http2Error | null {
    const { codec, pieces, block, decoder } = this
    if (!pieces.count(end - start)) {
      codec.stats.headerListSizeTooLarge.inc()
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
    codec.onUnreadBlock(pieces.streamId)
    return codec.streams.has(pieces.streamId) ? this.blockError(pieces.streamId) : null
  }

  /** Blocks are always decoded, whoever they are for: the table must follow (§4.3). */
  private beginBlock(streamId: number): void {
    const { codec } = this
    this.trailers = codec.streams.get(streamId)?.headersReceived === true
    const first = codec.firstBlockKind()
    if (this.trailers && first === BlockKind.Request) codec.stats.trailers.inc()
    this.block.begin(this.trailers ? BlockKind.Trailers : first)
  }

  private unreadable(streamId: number): Http2Error {
    const { codec } = this
    codec.onUnreadBlock(streamId)
    const error = connectionError(ErrorCode.CompressionError, 'HPACK')
    if (this.block.fault !== BlockFault.Field) return error
    codec.stats.rxMessagingError.inc()
    return { ...error, stream: { id: streamId, details: this.faultDetails(Http2Details.InvalidHeaderField) } }
  }

  /** A complete header block of `bytes` encoded ones. */
  private onBlock(streamId: number, endStream: boolean, bytes: number): Http2Error | null {
    const { codec, block, trailers } = this
    const stream = codec.streams.get(streamId)
    // Reset by us, maybe while its block came.
    if (!stream && (trailers || codec.resets.has(streamId))) return null
    block.finish()
    if (block.dropped > 0) codec.stats.droppedHeadersWithUnderscores.add(block.dropped)
    if (!trailers) return codec.onFirstBlock(streamId, stream, endStream, bytes)
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

  /** What the fault in `block` does to its stream, which may be known or not. */
  blockError(streamId: number): Http2Error | null {
    const { codec } = this
    const { stats } = codec
    switch (this.block.fault) {
      case BlockFault.TooLarge:
        stats.headerListSizeTooLarge.inc()
        return this.refuseBlock(streamId, this.faultDetails(Http2Details.HeaderListTooLarge))
      case BlockFault.TooMany:
        stats.headerOverflow.inc()
        return this.refuseBlock(streamId, this.faultDetails(Http2Details.TooManyHeaders))
      case BlockFault.Underscore:
        stats.requestsRejectedWithUnderscoresInHeaders.inc()
        return this.refuseBlock(streamId, Http2Details.Underscore)
      case BlockFault.Field:
        return codec.messagingError(streamId, this.faultDetails(Http2Details.InvalidHeaderField))
      default:
        return codec.messagingError(streamId, this.faultDetails(Http2Details.MessagingRule))
    }
  }

  /** The stream's user is told what Envoy's is: the peer has reset it. */
  private refuseBlock(streamId: number, details: string): null {
    this.codec.endFaulty(streamId, ErrorCode.InternalError, details, StreamResetReason.RemoteReset)
    return null
  }

  /** A header that was dropped for its underscore is the first thing that was wrong (Envoy). */
  private faultDetails(details: string): string {
    return this.block.dropped > 0 ? Http2Details.Underscore : details
  }
}
