// The HTTP filter chain of one stream: iterates, stops, buffers and resumes as Envoy's FilterManager does.
//
// Decoder filters run first to last, encoder filters last to first. A filter that stops keeps later filters waiting;
// what arrives meanwhile is held according to the status it returned. Chunks are borrowed: only buffering copies.
//
// What filters call from elsewhere than their own callbacks (a timer, an answer from another connection) catches the
// faults of the filters behind it: these end this stream, not the connection that brought the answer.

import type { FaultOwner } from '../../../base/fault-owner.ts'
import type { Connection } from '../../network/connection.ts'
import { reportFault } from '../../network/fault.ts'
import type { Route } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import {
  type DownstreamWatermarkCallbacks,
  type FilterChainFactoryCallbacks,
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
  type ModifyHeaders,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
  type StreamEncoderFilter,
  type StreamEncoderFilterCallbacks,
  type StreamFilter,
} from '../filter.ts'
import { HeaderMap } from '../header-map.ts'

/** The stream around the chain. */
export interface FilterManagerOwner extends FaultOwner {
  readonly connection: Connection
  readonly streamInfo: StreamInfo
  readonly bufferLimit: number
  route(): Route | null
  clearRouteCache(): void
  /** Past the last encoder filter: to the codec. */
  writeHeaders(headers: HeaderMap, endStream: boolean): void
  write1xxHeaders(headers: HeaderMap): void
  writeData(chunk: Buffer, endStream: boolean): void
  writeTrailers(trailers: HeaderMap): void
  resetStream(): void
  /** Local replies are made by the stream: it knows the codec's state and local_reply_config. */
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void
  /** A filter that buffers has more than it may: the request is answered. */
  onRequestTooLarge(): void
  onResponseTooLarge(): void
  /** Counted: the chain holds more of the request (or the upstream more of it) than it may. */
  pauseRequestBody(pause: boolean): void
  reroute(headers: HeaderMap): Route | null
  restoreRequest(headers: HeaderMap): void
  recreateStream(headers: HeaderMap): boolean
  setDownstreamWatermarkCallbacks(callbacks: DownstreamWatermarkCallbacks | null): void
  /** Counted: the encoder filters hold more of the response than they may. */
  pauseResponseBody(pause: boolean): void
}

const EMPTY = Buffer.alloc(0)
const NO_CHUNKS: readonly Buffer[] = []

const Iteration = { Continue: 0, StopSingle: 1, StopAllBuffer: 2, StopAllWatermark: 3 } as const
type Iteration = (typeof Iteration)[keyof typeof Iteration]

/** Bytes that wait for a filter to let them go on. */
class HeldBody {
  chunks: Buffer[] | null = null
  bytes = 0
  /** Above the limit while pausing is the remedy. */
  paused = false

  add(chunk: Buffer): void {
    this.chunks ??= []
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    this.bytes += chunk.length
  }

  take(): Buffer | null {
    const { chunks } = this
    if (!chunks) return null
    this.chunks = null
    this.bytes = 0
    return chunks.length === 1 ? chunks[0]! : chunks.length === 0 ? EMPTY : Buffer.concat(chunks)
  }
}

export class FilterManager implements FilterChainFactoryCallbacks {
  readonly owner: FilterManagerOwner
  // An empty array grows to 17 places at its first push: these begin with one, and most chains are short. What few
  // streams need is made when they do. A stream's size decides how many fit the young generation while they are served.
  private decoders: DecoderEntry[] | null = null
  private encoders: EncoderEntry[] | null = null
  private heldRequest: HeldBody | null = null
  private heldResponse: HeldBody | null = null
  requestHeaders: HeaderMap | null = null
  requestTrailers: HeaderMap | null = null
  responseHeaders: HeaderMap | null = null
  responseTrailers: HeaderMap | null = null
  /** The last part of the request, of the response, has entered the chain. */
  requestComplete = false
  responseComplete = false
  /** A local reply or reset ended the request direction: nothing more is decoded. */
  decodingDone = false
  destroyed = false
  private addingName = ''

  constructor(owner: FilterManagerOwner) {
    this.owner = owner
  }

  /** Makes one configured filter's instances. `name` keys its per-route configuration. */
  add(name: string, factory: HttpFilterFactory): void {
    this.addingName = name
    factory(this)
  }

  addStreamDecoderFilter(filter: StreamDecoderFilter): void {
    const entry = new DecoderEntry(this, filter, this.decoders?.length ?? 0, this.addingName)
    if (this.decoders === null) this.decoders = [entry]
    else this.decoders.push(entry)
  }

  addStreamEncoderFilter(filter: StreamEncoderFilter): void {
    this.addEncoder(filter, false)
  }

  private addEncoder(filter: StreamEncoderFilter, decodes: boolean): void {
    const entry = new EncoderEntry(this, filter, this.encoders?.length ?? 0, this.addingName, decodes)
    if (this.encoders === null) this.encoders = [entry]
    else this.encoders.push(entry)
  }

  addStreamFilter(filter: StreamFilter): void {
    this.addStreamDecoderFilter(filter)
    this.addEncoder(filter, true)
  }

  // ---- request direction

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.requestHeaders = headers
    if (endStream) this.requestComplete = true
    this.decodeHeadersFrom(0, headers, endStream)
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    if (endStream) this.requestComplete = true
    this.decodeDataFrom(0, chunk, endStream)
  }

  decodeTrailers(trailers: HeaderMap): void {
    this.requestTrailers = trailers
    this.requestComplete = true
    this.decodeTrailersFrom(0, trailers)
  }

  decodeHeadersFrom(from: number, headers: HeaderMap, endStream: boolean): void {
    const { decoders } = this
    if (decoders === null) return
    for (let i = from; i < decoders.length; i++) {
      const entry = decoders[i]!
      entry.sawEnd = endStream
      const status = entry.filter.decodeHeaders(headers, endStream)
      if (this.decodingDone) return
      // A filter may have added a body while it held the headers of a bodyless request.
      const added = endStream && this.holdsRequest
      if (!entry.afterHeaders(status)) return
      if (status === FilterHeadersStatus.ContinueAndDontEndStream) endStream = false
      if (added) {
        entry.sawEnd = false
        this.decodeHeadersFrom(i + 1, headers, false)
        const body = this.takeHeldRequest()
        if (body && !this.decodingDone) this.decodeDataFrom(i + 1, body, true)
        return
      }
    }
  }

  decodeDataFrom(from: number, chunk: Buffer, endStream: boolean): void {
    const { decoders } = this
    if (decoders === null) return
    for (let i = from; i < decoders.length; i++) {
      if (this.decodingDone) return
      const entry = decoders[i]!
      if (entry.sawEnd) return
      if (entry.stoppedAll()) {
        this.holdRequest(chunk, entry.iteration === Iteration.StopAllWatermark)
        return
      }
      const last = endStream && this.requestTrailers === null
      if (last) entry.sawEnd = true
      const status = entry.filter.decodeData(chunk, last)
      if (this.decodingDone) return
      if (!entry.afterData(status, chunk)) return
    }
  }

  decodeTrailersFrom(from: number, trailers: HeaderMap): void {
    const { decoders } = this
    if (decoders === null) return
    for (let i = from; i < decoders.length; i++) {
      if (this.decodingDone) return
      const entry = decoders[i]!
      if (entry.stoppedAll()) return
      entry.sawEnd = true
      const status = entry.filter.decodeTrailers(trailers)
      if (this.decodingDone) return
      if (!entry.afterTrailers(status)) return
    }
  }

  /** Keeps a chunk for a stopped filter; too much of it pauses the peer or answers 413. */
  holdRequest(chunk: Buffer, streaming: boolean): void {
    this.heldRequest ??= new HeldBody()
    const held = this.heldRequest
    held.add(chunk)
    if (held.bytes <= this.owner.bufferLimit) return
    if (streaming) {
      if (!held.paused) {
        held.paused = true
        this.owner.pauseRequestBody(true)
      }
    } else this.owner.onRequestTooLarge()
  }

  /** What was held goes on: the peer may send again. */
  takeHeldRequest(): Buffer | null {
    const held = this.heldRequest
    if (held === null) return null
    const body = held.take()
    if (held.paused) {
      held.paused = false
      this.owner.pauseRequestBody(false)
    }
    return body
  }

  // ---- response direction

  encode1xxHeaders(headers: HeaderMap): void {
    for (let i = this.lastEncoder; i >= 0; i--) {
      const { filter } = this.encoders![i]!
      if (filter.encode1xxHeaders?.(headers) === FilterHeadersStatus.StopIteration) return
    }
    this.owner.write1xxHeaders(headers)
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.responseHeaders = headers
    if (endStream) this.responseComplete = true
    this.encodeHeadersFrom(this.lastEncoder, headers, endStream)
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    if (endStream) this.responseComplete = true
    this.encodeDataFrom(this.lastEncoder, chunk, endStream)
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.responseTrailers = trailers
    this.responseComplete = true
    this.encodeTrailersFrom(this.lastEncoder, trailers)
  }

  encodeHeadersFrom(from: number, headers: HeaderMap, endStream: boolean): void {
    for (let i = from; i >= 0; i--) {
      const entry = this.encoders![i]!
      entry.sawEnd = endStream
      const status = entry.filter.encodeHeaders(headers, endStream)
      if (this.destroyed) return
      const added = endStream && this.holdsResponse
      if (!entry.afterHeaders(status)) return
      if (status === FilterHeadersStatus.ContinueAndDontEndStream) endStream = false
      if (added) {
        entry.sawEnd = false
        this.encodeHeadersFrom(i - 1, headers, false)
        const body = this.takeHeldResponse()
        if (body && !this.destroyed) this.encodeDataFrom(i - 1, body, true)
        return
      }
    }
    this.owner.writeHeaders(headers, endStream)
  }

  encodeDataFrom(from: number, chunk: Buffer, endStream: boolean): void {
    for (let i = from; i >= 0; i--) {
      const entry = this.encoders![i]!
      if (entry.sawEnd) return
      if (entry.stoppedAll()) {
        this.holdResponse(chunk, entry.iteration === Iteration.StopAllWatermark)
        return
      }
      const last = endStream && this.responseTrailers === null
      if (last) entry.sawEnd = true
      const status = entry.filter.encodeData(chunk, last)
      if (this.destroyed) return
      if (!entry.afterData(status, chunk)) return
    }
    this.owner.writeData(chunk, endStream && this.responseTrailers === null)
  }

  encodeTrailersFrom(from: number, trailers: HeaderMap): void {
    for (let i = from; i >= 0; i--) {
      const entry = this.encoders![i]!
      if (entry.stoppedAll()) return
      entry.sawEnd = true
      const status = entry.filter.encodeTrailers(trailers)
      if (this.destroyed) return
      if (!entry.afterTrailers(status)) return
    }
    this.owner.writeTrailers(trailers)
  }

  holdResponse(chunk: Buffer, streaming: boolean): void {
    this.heldResponse ??= new HeldBody()
    const held = this.heldResponse
    held.add(chunk)
    if (held.bytes <= this.owner.bufferLimit) return
    if (streaming) {
      if (!held.paused) {
        held.paused = true
        this.owner.pauseResponseBody(true)
      }
    } else this.owner.onResponseTooLarge()
  }

  takeHeldResponse(): Buffer | null {
    const held = this.heldResponse
    if (held === null) return null
    const body = held.take()
    if (held.paused) {
      held.paused = false
      this.owner.pauseResponseBody(false)
    }
    return body
  }

  /** Stopped filters and held bytes of the response no longer matter: a local reply takes its place. */
  abandonResponse(): void {
    this.takeHeldResponse()
    this.responseHeaders = null
    this.responseTrailers = null
    this.responseComplete = false
    if (this.encoders !== null) for (const entry of this.encoders) entry.restart()
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.decodingDone = true
    const { decoders, encoders } = this
    if (decoders !== null) for (let i = 0; i < decoders.length; i++) destroyFilter(decoders[i]!.filter)
    if (encoders === null) return
    for (let i = 0; i < encoders.length; i++) if (!encoders[i]!.decodes) destroyFilter(encoders[i]!.filter)
  }

  private get lastEncoder(): number {
    return this.encoders === null ? -1 : this.encoders.length - 1
  }

  /** A part of the request waits for a filter, if only its end. */
  get holdsRequest(): boolean {
    return this.heldRequest !== null && this.heldRequest.chunks !== null
  }

  get holdsResponse(): boolean {
    return this.heldResponse !== null && this.heldResponse.chunks !== null
  }

  get requestBuffer(): readonly Buffer[] {
    return this.heldRequest?.chunks ?? NO_CHUNKS
  }

  get responseBuffer(): readonly Buffer[] {
    return this.heldResponse?.chunks ?? NO_CHUNKS
  }
}

/** Each gets its turn, whatever the one before it did. */
function destroyFilter(filter: { onDestroy(): void }): void {
  try {
    filter.onDestroy()
  } catch (error) {
    reportFault(error, 'the end of a filter')
  }
}

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

  protected abstract hold(chunk: Buffer, streaming: boolean): void
  protected abstract resume(): void

  /** True when the next filter gets the chunk now. */
  afterData(status: FilterDataStatus, chunk: Buffer): boolean {
    if (status === FilterDataStatus.Continue) {
      if (this.iteration !== Iteration.StopSingle) return true
      // The filter had stopped at an earlier part: everything held goes on, in order, with this chunk last.
      this.hold(chunk, true)
      this.resume()
      return false
    }
    this.iteration = Iteration.StopSingle
    if (status === FilterDataStatus.StopIterationAndBuffer) this.hold(chunk, false)
    else if (status === FilterDataStatus.StopIterationAndWatermark) this.hold(chunk, true)
    // Nothing is kept, but the end must not be lost: an empty body carries it when iteration resumes.
    else if (this.sawEnd) this.hold(EMPTY, true)
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

class DecoderEntry extends Entry implements StreamDecoderFilterCallbacks {
  readonly filter: StreamDecoderFilter

  constructor(manager: FilterManager, filter: StreamDecoderFilter, index: number, name: string) {
    super(manager, index, name)
    this.filter = filter
    filter.setDecoderFilterCallbacks(this)
  }

  protected hold(chunk: Buffer, streaming: boolean): void {
    this.manager.holdRequest(chunk, streaming)
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

  addDecodedData(chunk: Buffer): void {
    this.manager.holdRequest(chunk, this.iteration === Iteration.StopAllWatermark)
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

class EncoderEntry extends Entry implements StreamEncoderFilterCallbacks {
  readonly filter: StreamEncoderFilter
  /** It is in the decoders' list too. */
  readonly decodes: boolean

  constructor(manager: FilterManager, filter: StreamEncoderFilter, index: number, name: string, decodes: boolean) {
    super(manager, index, name)
    this.filter = filter
    this.decodes = decodes
    filter.setEncoderFilterCallbacks(this)
  }

  protected hold(chunk: Buffer, streaming: boolean): void {
    this.manager.holdResponse(chunk, streaming)
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

  addEncodedData(chunk: Buffer): void {
    this.manager.holdResponse(chunk, this.iteration === Iteration.StopAllWatermark)
  }

  onEncoderFilterAboveWriteBufferHighWatermark(): void {
    this.manager.owner.pauseResponseBody(true)
  }

  onEncoderFilterBelowWriteBufferLowWatermark(): void {
    this.manager.owner.pauseResponseBody(false)
  }
}
