// A filter's place in the chain: what the chain remembers of it, and the callbacks that it gets.
//
// What filters call from elsewhere than their own callbacks (a timer, an answer from another connection) catches the
// faults of the filters behind it: these end this stream, not the connection that brought the answer.

import type { FaultOwner } from '../../../base/fault-owner.ts'
import type { Connection } from '../../network/connection.ts'
import type { Route } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import {
  type DownstreamWatermarkCallbacks,
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type ModifyHeaders,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
  type StreamEncoderFilter,
  type StreamEncoderFilterCallbacks,
} from '../filter.ts'
import { HeaderMap } from '../header-map.ts'
import type { FilterManager } from './filter-manager.ts'

const EMPTY = Buffer.alloc(0)
const NONE: readonly unknown[] = []

export const Iteration = { Continue: 0, StopSingle: 1, StopAllBuffer: 2, StopAllWatermark: 3 } as const
export type Iteration = (typeof Iteration)[keyof typeof Iteration]

/** What a filter's place in the chain remembers, whichever the direction. */
abstract class Entry implements FaultOwner {
  readonly manager: FilterManager
  readonly index: number
  readonly name: string
  iteration: Iteration = Iteration.Continue
  headersContinued = false
  /** This filter was given the end of the stream. */
  sawEnd = false

  constructor(manager: FilterManager, index: number, name: string) {
    this.manager = manager
    this.index = index
    this.name = name
  }

  get connection(): Connection {
    return this.manager.owner.connection
  }
  get streamInfo(): StreamInfo {
    return this.manager.owner.streamInfo
  }
  get bufferLimit(): number {
    return this.manager.owner.bufferLimit
  }
  setBufferLimit(bytes: number): void {
    this.manager.setBufferLimit(bytes)
  }
  get requestHeaders(): HeaderMap {
    return this.manager.requestHeaders!
  }
  route(): Route | null {
    return this.manager.owner.route()
  }
  clearRouteCache(): void {
    this.manager.owner.clearRouteCache()
  }
  resetStream(): void {
    this.manager.owner.resetStream()
  }
  perFilterConfig<T>(): T | undefined {
    return this.manager.owner.route()?.perFilterConfig(this.name) as T | undefined
  }
  perFilterConfigs<T>(): readonly T[] {
    return (this.manager.owner.route()?.perFilterConfigs(this.name) ?? NONE) as readonly T[]
  }
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void {
    try {
      this.manager.owner.sendLocalReply(status, body, modify, grpcStatus, details)
    } catch (error) {
      this.onFault(error)
    }
  }
  onFault(error: unknown): void {
    this.manager.owner.onFault(error)
  }

  stoppedAll(): boolean {
    return this.iteration >= Iteration.StopAllBuffer
  }

  restart(): void {
    this.iteration = Iteration.Continue
    this.headersContinued = false
    this.sawEnd = false
  }

  /** True when the next filter gets the headers now. */
  afterHeaders(status: FilterHeadersStatus): boolean {
    switch (status) {
      case FilterHeadersStatus.StopIteration:
        this.iteration = Iteration.StopSingle
        return false
      case FilterHeadersStatus.StopAllIterationAndBuffer:
        this.iteration = Iteration.StopAllBuffer
        return false
      case FilterHeadersStatus.StopAllIterationAndWatermark:
        this.iteration = Iteration.StopAllWatermark
        return false
      default:
        this.headersContinued = true
        return true
    }
  }

  /** False: it is more than the stream may hold, and was answered so. */
  protected abstract hold(chunk: Buffer, streaming: boolean | null): boolean
  protected abstract resume(): void

  /** True when the next filter gets the chunk now. */
  afterData(status: FilterDataStatus, chunk: Buffer): boolean {
    if (status === FilterDataStatus.Continue) {
      if (this.iteration !== Iteration.StopSingle) return true
      // The filter had stopped at an earlier part: everything held goes on, in order, with this chunk last.
      if (this.hold(chunk, null)) this.resume()
      return false
    }
    this.iteration = Iteration.StopSingle
    if (status === FilterDataStatus.StopIterationAndBuffer) this.hold(chunk, false)
    else if (status === FilterDataStatus.StopIterationAndWatermark) this.hold(chunk, true)
    // Nothing is kept, but the end must not be lost: an empty body carries it when iteration resumes.
    else if (this.sawEnd) this.hold(EMPTY, null)
    return false
  }

  afterTrailers(status: FilterTrailersStatus): boolean {
    if (status === FilterTrailersStatus.StopIteration) {
      if (this.iteration === Iteration.Continue) this.iteration = Iteration.StopSingle
      return false
    }
    if (this.iteration === Iteration.StopSingle) {
      this.resume()
      return false
    }
    return true
  }
}

export class DecoderEntry extends Entry implements StreamDecoderFilterCallbacks {
  readonly filter: StreamDecoderFilter

  constructor(manager: FilterManager, filter: StreamDecoderFilter, index: number, name: string) {
    super(manager, index, name)
    this.filter = filter
    filter.setDecoderFilterCallbacks(this)
  }

  protected hold(chunk: Buffer, streaming: boolean | null): boolean {
    return this.manager.holdRequest(chunk, streaming)
  }

  continueDecoding(): void {
    if (this.iteration === Iteration.Continue || this.manager.decodingDone) return
    try {
      this.resume()
    } catch (error) {
      this.onFault(error)
    }
  }

  protected resume(): void {
    const { manager, index } = this
    // After StopAll this filter itself has not seen the body yet.
    const bodyFrom = this.stoppedAll() ? index : index + 1
    this.iteration = Iteration.Continue
    const trailers = manager.requestTrailers
    if (!this.headersContinued) {
      this.headersContinued = true
      const bodyless = manager.requestComplete && !manager.holdsRequest && trailers === null
      manager.decodeHeadersFrom(index + 1, manager.requestHeaders!, bodyless)
    }
    const body = manager.takeHeldRequest()
    if (body && !manager.decodingDone) {
      if (bodyFrom === index + 1 || !this.sawEnd)
        manager.decodeDataFrom(bodyFrom, body, manager.requestComplete && trailers === null)
    }
    manager.settleRequest()
    if (trailers && !manager.decodingDone) manager.decodeTrailersFrom(bodyFrom, trailers)
  }

  decodingBuffer(): readonly Buffer[] {
    return this.manager.requestBuffer
  }

  injectDecodedDataToFilterChain(chunk: Buffer, endStream: boolean): void {
    try {
      this.manager.decodeDataFrom(this.index + 1, chunk, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  get requestTrailers(): HeaderMap | null {
    return this.manager.requestTrailers
  }

  addDecodedTrailers(): HeaderMap {
    const trailers = new HeaderMap()
    this.manager.requestTrailers = trailers
    return trailers
  }

  addDecodedData(chunk: Buffer, streaming: boolean): void {
    this.manager.holdRequest(chunk, streaming)
  }

  requestHeadersExceedLimits(): boolean {
    return this.manager.owner.headersExceedLimits(this.requestHeaders)
  }

  answerBeforeEnd(): void {
    this.manager.owner.answerBeforeEnd()
  }

  onRequestTooLarge(): void {
    this.manager.owner.onRequestTooLarge()
  }

  encode1xxHeaders(headers: HeaderMap): void {
    this.manager.encode1xxHeaders(headers)
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean, details: string): void {
    this.manager.owner.streamInfo.responseCodeDetails = details
    this.manager.encodeHeaders(headers, endStream)
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    this.manager.encodeData(chunk, endStream)
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.manager.encodeTrailers(trailers)
  }

  onDecoderFilterAboveWriteBufferHighWatermark(): void {
    this.manager.owner.pauseRequestBody(true)
  }

  onDecoderFilterBelowWriteBufferLowWatermark(): void {
    this.manager.owner.pauseRequestBody(false)
  }

  setDownstreamWatermarkCallbacks(callbacks: DownstreamWatermarkCallbacks | null): void {
    this.manager.owner.setDownstreamWatermarkCallbacks(callbacks)
  }

  reroute(headers: HeaderMap): Route | null {
    return this.manager.owner.reroute(headers)
  }

  restoreRequest(headers: HeaderMap): void {
    this.manager.owner.restoreRequest(headers)
  }

  recreateStream(headers: HeaderMap): boolean {
    return this.manager.owner.recreateStream(headers)
  }
}

export class EncoderEntry extends Entry implements StreamEncoderFilterCallbacks {
  readonly filter: StreamEncoderFilter
  /** It is in the decoders' list too. */
  readonly decodes: boolean

  constructor(manager: FilterManager, filter: StreamEncoderFilter, index: number, name: string, decodes: boolean) {
    super(manager, index, name)
    this.filter = filter
    this.decodes = decodes
    filter.setEncoderFilterCallbacks(this)
  }

  protected hold(chunk: Buffer, streaming: boolean | null): boolean {
    return this.manager.holdResponse(chunk, streaming)
  }

  continueEncoding(): void {
    if (this.iteration === Iteration.Continue || this.manager.destroyed) return
    try {
      this.resume()
    } catch (error) {
      this.onFault(error)
    }
  }

  protected resume(): void {
    const { manager, index } = this
    const bodyFrom = this.stoppedAll() ? index : index - 1
    this.iteration = Iteration.Continue
    const trailers = manager.responseTrailers
    if (!this.headersContinued) {
      this.headersContinued = true
      const bodyless = manager.responseComplete && !manager.holdsResponse && trailers === null
      manager.encodeHeadersFrom(index - 1, manager.responseHeaders!, bodyless)
    }
    const body = manager.takeHeldResponse()
    if (body && !manager.destroyed) {
      if (bodyFrom === index - 1 || !this.sawEnd)
        manager.encodeDataFrom(bodyFrom, body, manager.responseComplete && trailers === null)
    }
    manager.settleResponse()
    if (trailers && !manager.destroyed) manager.encodeTrailersFrom(bodyFrom, trailers)
  }

  encodingBuffer(): readonly Buffer[] {
    return this.manager.responseBuffer
  }

  injectEncodedDataToFilterChain(chunk: Buffer, endStream: boolean): void {
    try {
      this.manager.encodeDataFrom(this.index - 1, chunk, endStream)
    } catch (error) {
      this.onFault(error)
    }
  }

  get responseTrailers(): HeaderMap | null {
    return this.manager.responseTrailers
  }

  addEncodedTrailers(): HeaderMap {
    const trailers = new HeaderMap()
    this.manager.responseTrailers = trailers
    return trailers
  }

  addEncodedData(chunk: Buffer, streaming: boolean): void {
    this.manager.holdResponse(chunk, streaming)
  }

  drainEncodingBuffer(): Buffer {
    const body = this.manager.takeHeldResponse() ?? EMPTY
    this.manager.settleResponse()
    this.manager.holdResponse(EMPTY, null)
    return body
  }

  onEncoderFilterAboveWriteBufferHighWatermark(): void {
    this.manager.owner.pauseResponseBody(true)
  }

  onEncoderFilterBelowWriteBufferLowWatermark(): void {
    this.manager.owner.pauseResponseBody(false)
  }
}
