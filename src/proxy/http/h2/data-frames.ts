// DATA as it comes (RFC 9113 §6.1): windows, padding, lengths, and what comes for streams that are over.

import type { Http2Connection } from './connection.ts'
import { END_STREAM, ErrorCode, FRAME_HEADER_BYTES } from './constants.ts'
import { connectionError, Http2Details, type Http2Error, protocolError } from './error.ts'
import type { Http2Stream } from './stream.ts'

export class DataFrames {
  private readonly codec: Http2Connection
  /** Of the frame at hand, without padding. */
  private dataBytes = 0
  /** Its payload, padding and all; 0 once the connection's window has it back. */
  private frameBytes = 0

  constructor(codec: Http2Connection) {
    this.codec = codec
  }

  /** A frame with `length` bytes of payload begins. */
  begin(length: number, streamId: number): Http2Error | null {
    const { codec } = this
    if (streamId === 0) return protocolError('DATA without a stream')
    this.dataBytes = 0
    this.frameBytes = length
    if (!codec.windows.receive(length)) return connectionError(ErrorCode.FlowControlError, 'connection window exceeded')
    const stream = codec.streams.get(streamId)
    if (!stream) {
      // Nobody will use the bytes: they are given back here.
      this.giveFrameBack(length)
      if (codec.isIdle(streamId)) return protocolError('DATA on an idle stream')
      return codec.resets.has(streamId) ? null : codec.lateData()
    }
    stream.wireBytesReceived += length + FRAME_HEADER_BYTES
    if (stream.remoteClosed) {
      this.giveFrameBack(length)
      return connectionError(ErrorCode.StreamClosed, 'DATA after END_STREAM')
    }
    stream.receiveWindow -= length
    if (stream.receiveWindow < 0) {
      this.giveFrameBack(length)
      codec.endFaulty(streamId, ErrorCode.FlowControlError, Http2Details.ProtocolError)
    }
    return null
  }

  private giveFrameBack(length: number): void {
    this.frameBytes = 0
    this.codec.windows.consumed(length)
  }

  /** Some of its body, or all. */
  onPiece(
    streamId: number,
    flags: number,
    payload: Buffer,
    start: number,
    end: number,
    last: boolean,
  ): Http2Error | null {
    const { codec } = this
    const stream = codec.streams.get(streamId)
    this.dataBytes += end - start
    // Padding counts in both windows (§6.1) and nobody else gives it back.
    if (last && this.frameBytes > this.dataBytes) {
      const padding = this.frameBytes - this.dataBytes
      if (stream) stream.consumed(padding)
      else codec.windows.consumed(padding)
    }
    if (!stream) {
      // It ended between two pieces of this frame.
      if (this.frameBytes > 0) codec.windows.consumed(end - start)
      return null
    }
    if (last) {
      const flood = codec.limits.onMessageFrame(this.dataBytes === 0, flags, streamId)
      if (flood) return flood
    }
    const endStream = last && (flags & END_STREAM) !== 0
    if (!stream.headersReceived) return this.onEarly(stream, end - start, endStream)
    if (stream.bodyExpected >= 0) {
      stream.bodyExpected -= end - start
      if (stream.bodyExpected < 0 || (endStream && stream.bodyExpected > 0)) {
        codec.windows.consumed(end - start)
        // The stream's fault alone, which Envoy logs as if the client had reset it.
        codec.endFaulty(streamId, ErrorCode.ProtocolError, Http2Details.RemoteReset)
        return null
      }
    } else stream.bodyExpected -= end - start
    stream.receiveData(payload, start, end, endStream)
    return codec.limits.onFrameHandled(codec.writer.outbound)
  }

  /** DATA before the headers of the response: behind 1xx it is the stream's fault, and none where it says nothing (Envoy). */
  private onEarly(stream: Http2Stream, bytes: number, endStream: boolean): Http2Error | null {
    const { codec } = this
    if (!stream.interimReceived) return protocolError('DATA before HEADERS')
    codec.windows.consumed(bytes)
    if (bytes > 0 || endStream) codec.endFaulty(stream.id, ErrorCode.ProtocolError, Http2Details.ProtocolError)
    return null
  }
}
