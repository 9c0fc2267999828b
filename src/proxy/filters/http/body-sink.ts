// Where a filter that holds a body back, or makes another one of it, sends what may go on.

import type { FaultOwner } from '../../../base/fault-owner.ts'
import type { StreamDecoderFilterCallbacks, StreamEncoderFilterCallbacks } from '../../http/filter.ts'

/** The stream's side, after the filter. */
export interface BodySink extends FaultOwner {
  /** To the filters after this one. */
  passOn(chunk: Buffer, endStream: boolean): void
  /** Everything before the trailers has gone on. */
  passOnTrailers(): void
  /** Called in pairs: the sender should wait, and may go on. */
  pause(pause: boolean): void
}

/** A request's body. */
export class RequestSink implements BodySink {
  private readonly callbacks: StreamDecoderFilterCallbacks
  constructor(callbacks: StreamDecoderFilterCallbacks) {
    this.callbacks = callbacks
  }
  onFault(error: unknown): void {
    this.callbacks.onFault(error)
  }
  passOn(chunk: Buffer, endStream: boolean): void {
    this.callbacks.injectDecodedDataToFilterChain(chunk, endStream)
  }
  passOnTrailers(): void {
    this.callbacks.continueDecoding()
  }
  pause(pause: boolean): void {
    if (pause) this.callbacks.onDecoderFilterAboveWriteBufferHighWatermark()
    else this.callbacks.onDecoderFilterBelowWriteBufferLowWatermark()
  }
}

/** A response's body. */
export class ResponseSink implements BodySink {
  private readonly callbacks: StreamEncoderFilterCallbacks
  constructor(callbacks: StreamEncoderFilterCallbacks) {
    this.callbacks = callbacks
  }
  onFault(error: unknown): void {
    this.callbacks.onFault(error)
  }
  passOn(chunk: Buffer, endStream: boolean): void {
    this.callbacks.injectEncodedDataToFilterChain(chunk, endStream)
  }
  passOnTrailers(): void {
    this.callbacks.continueEncoding()
  }
  pause(pause: boolean): void {
    if (pause) this.callbacks.onEncoderFilterAboveWriteBufferHighWatermark()
    else this.callbacks.onEncoderFilterBelowWriteBufferLowWatermark()
  }
}
