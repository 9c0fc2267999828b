// The HTTP filter chain of one stream: iterates, stops, buffers and resumes as Envoy's FilterManager does.
//
// Decoder filters run first to last, encoder filters last to first. A filter that stops keeps later filters waiting;
// what arrives meanwhile is held according to the status it returned. Chunks are borrowed: only buffering copies.

import type { FaultOwner } from '../../../base/fault-owner.ts'
import type { Connection } from '../../network/connection.ts'
import { reportFault } from '../../network/fault.ts'
import type { Route } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import {
  type DownstreamWatermarkCallbacks,
  type FilterChainFactoryCallbacks,
  FilterHeadersStatus,
  type HttpFilterFactory,
  type ModifyHeaders,
  type StreamDecoderFilter,
  type StreamEncoderFilter,
  type StreamFilter,
} from '../filter.ts'
import type { HeaderMap } from '../header-map.ts'
import { DecoderEntry, EncoderEntry, Iteration } from './filter-entry.ts'
import { HeldBody } from './held-body.ts'

/** The stream around the chain. */
export interface FilterManagerOwner extends FaultOwner {
  readonly connection: Connection
  readonly streamInfo: StreamInfo
  /** Most bytes the chain may hold in one direction, 0 = no limit. Filters may set another one for their stream. */
  bufferLimit: number
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
  /** They are more than the connection manager takes from a client. */
  headersExceedLimits(headers: HeaderMap): boolean
  /** The end of an HTTP/1 request, which is behind its last byte, has not been seen when it is answered. */
  answerBeforeEnd(): void
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

const NO_CHUNKS: readonly Buffer[] = []

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
        this.settleRequest()
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

  /**
   * Keeps a chunk for a stopped filter; too much of it pauses the peer when `streaming`, else it is answered 413. null: as
   * what was kept last, or streaming when nothing was. False: it was refused.
   */
  holdRequest(chunk: Buffer, streaming: boolean | null): boolean {
    this.heldRequest ??= new HeldBody()
    const held = this.heldRequest
    if (streaming !== null) held.streaming = streaming
    return !held.exceeds(chunk, this.owner.bufferLimit) || this.onRequestAbove(held)
  }

  private onRequestAbove(held: HeldBody): boolean {
    if (!held.streaming) {
      this.owner.onRequestTooLarge()
      return false
    }
    held.paused = true
    this.owner.pauseRequestBody(true)
    return true
  }

  /** For both directions, from now on: also for what is held already. */
  setBufferLimit(bytes: number): void {
    this.owner.bufferLimit = bytes
    const { heldRequest: request, heldResponse: response } = this
    if (request?.goesAbove(bytes)) this.onRequestAbove(request)
    if (response?.goesAbove(bytes)) this.onResponseAbove(response)
  }

  /** What was held, to go on; settleRequest() follows. */
  takeHeldRequest(): Buffer | null {
    return this.heldRequest === null ? null : this.heldRequest.take()
  }

  /** What was held is gone: the peer may send again. */
  settleRequest(): void {
    if (this.heldRequest?.settle(this.owner.bufferLimit)) this.owner.pauseRequestBody(false)
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
        this.settleResponse()
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

  /** As holdRequest; what is too much is answered 500. */
  holdResponse(chunk: Buffer, streaming: boolean | null): boolean {
    this.heldResponse ??= new HeldBody()
    const held = this.heldResponse
    if (streaming !== null) held.streaming = streaming
    return !held.exceeds(chunk, this.owner.bufferLimit) || this.onResponseAbove(held)
  }

  private onResponseAbove(held: HeldBody): boolean {
    if (!held.streaming) {
      this.owner.onResponseTooLarge()
      return false
    }
    held.paused = true
    this.owner.pauseResponseBody(true)
    return true
  }

  takeHeldResponse(): Buffer | null {
    return this.heldResponse === null ? null : this.heldResponse.take()
  }

  settleResponse(): void {
    if (this.heldResponse?.settle(this.owner.bufferLimit)) this.owner.pauseResponseBody(false)
  }

  /** Stopped filters and held bytes of the response no longer matter: a local reply takes its place. */
  abandonResponse(): void {
    this.takeHeldResponse()
    this.settleResponse()
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
