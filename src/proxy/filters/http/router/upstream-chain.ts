// Upstream HTTP filters: the chain that one attempt's request and response go through between the router and the codec.
// The request enters it when its connection is asked for, whether there is one already or not (Envoy).

import type { FaultOwner } from '../../../../base/fault-owner.ts'
import { FilterManager, type FilterManagerOwner } from '../../../http/connection-manager/filter-manager.ts'
import type { ChainEntry } from '../../../http/connection-manager/shared.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type ModifyHeaders,
  type StreamDecoderFilter,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Connection } from '../../../network/connection.ts'
import type { Route } from '../../../route/route.ts'
import type { StreamInfo } from '../../../stream-info.ts'

/** What filters may know of the request that an attempt is for. */
export interface ChainStream {
  readonly connection: Connection
  readonly streamInfo: StreamInfo
  readonly bufferLimit: number
  route(): Route | null
  /** As of StreamDecoderFilterCallbacks. */
  answerBeforeEnd(): void
}

/** The attempt, on both sides of its chain. */
export interface ChainedRequest extends FaultOwner {
  /** Past the last filter: to the codec. */
  sendHeaders(headers: HeaderMap, endStream: boolean): void
  sendData(chunk: Buffer, endStream: boolean): void
  sendTrailers(trailers: HeaderMap): void
  /** Past the first filter: to the router. */
  receive1xx(headers: HeaderMap): void
  receiveHeaders(headers: HeaderMap, endStream: boolean): void
  receiveData(chunk: Buffer, endStream: boolean): void
  receiveTrailers(trailers: HeaderMap): void
  /** A filter answers in the upstream's place: nothing more comes of this attempt. */
  onFilterReply(reply: FilterReply): void
  /** A filter ends the request. */
  onFilterReset(): void
  readDisable(disable: boolean): void
  onAboveWriteBufferHighWatermark(): void
  onBelowWriteBufferLowWatermark(): void
}

export interface FilterReply {
  readonly status: number
  readonly body: string
  readonly modify: ModifyHeaders | null
  readonly grpcStatus: number | null
  readonly details: string
}

export class UpstreamChain implements FilterManagerOwner, StreamDecoderFilter {
  bufferLimit: number
  private readonly stream: ChainStream
  private readonly request: ChainedRequest
  private readonly manager = new FilterManager(this)
  /** The end of the request went to the codec. */
  requestSent = false
  private responseStarted = false

  /** null = no filter is on: nothing stands between the router and the codec. */
  static of(entries: readonly ChainEntry[], stream: ChainStream, request: ChainedRequest): UpstreamChain | null {
    if (entries.length === 0) return null
    const route = stream.route()
    const on = entries.filter(({ name, disabled }) => !(route?.filterDisabled(name) ?? disabled))
    return on.length === 0 ? null : new UpstreamChain(on, stream, request)
  }

  private constructor(entries: readonly ChainEntry[], stream: ChainStream, request: ChainedRequest) {
    this.stream = stream
    this.request = request
    this.bufferLimit = stream.bufferLimit
    for (const { name, factory } of entries) this.manager.add(name, factory)
    this.manager.addStreamDecoderFilter(this)
  }

  // ---- in from the router

  takeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.manager.decodeHeaders(headers, endStream)
  }
  takeData(chunk: Buffer, endStream: boolean): void {
    if (!this.manager.decodingDone) this.manager.decodeData(chunk, endStream)
  }
  takeTrailers(trailers: HeaderMap): void {
    if (!this.manager.decodingDone) this.manager.decodeTrailers(trailers)
  }

  // ---- in from the codec

  take1xx(headers: HeaderMap): void {
    if (!this.manager.destroyed) this.manager.encode1xxHeaders(headers)
  }
  takeResponseHeaders(headers: HeaderMap, endStream: boolean): void {
    if (!this.manager.destroyed) this.manager.encodeHeaders(headers, endStream)
  }
  takeResponseData(chunk: Buffer, endStream: boolean): void {
    if (!this.manager.destroyed) this.manager.encodeData(chunk, endStream)
  }
  takeResponseTrailers(trailers: HeaderMap): void {
    if (!this.manager.destroyed) this.manager.encodeTrailers(trailers)
  }

  destroy(): void {
    this.manager.destroy()
  }

  // ---- the last filter

  setDecoderFilterCallbacks(): void {}
  decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    this.requestSent = endStream
    this.request.sendHeaders(headers, endStream)
    return FilterHeadersStatus.StopIteration
  }
  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    this.requestSent = endStream
    this.request.sendData(chunk, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }
  decodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    this.requestSent = true
    this.request.sendTrailers(trailers)
    return FilterTrailersStatus.StopIteration
  }
  onDestroy(): void {}

  // ---- out to the router

  write1xxHeaders(headers: HeaderMap): void {
    this.request.receive1xx(headers)
  }
  writeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.responseStarted = true
    this.request.receiveHeaders(headers, endStream)
  }
  writeData(chunk: Buffer, endStream: boolean): void {
    this.request.receiveData(chunk, endStream)
  }
  writeTrailers(trailers: HeaderMap): void {
    this.request.receiveTrailers(trailers)
  }

  // ---- what filters ask for

  get connection(): Connection {
    return this.stream.connection
  }
  get streamInfo(): StreamInfo {
    return this.stream.streamInfo
  }
  route(): Route | null {
    return this.stream.route()
  }
  onFault(error: unknown): void {
    this.request.onFault(error)
  }
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void {
    this.manager.decodingDone = true
    this.request.onFilterReply({ status, body, modify, grpcStatus, details })
  }
  resetStream(): void {
    this.request.onFilterReset()
  }
  answerBeforeEnd(): void {
    this.stream.answerBeforeEnd()
  }
  onRequestTooLarge(): void {
    this.answerBeforeEnd()
    this.sendLocalReply(413, 'Payload Too Large', null, null, 'request_payload_too_large')
  }
  onResponseTooLarge(): void {
    if (this.responseStarted) this.request.onFilterReset()
    else this.sendLocalReply(500, 'Internal Server Error', null, null, 'response_payload_too_large')
  }
  pauseRequestBody(pause: boolean): void {
    if (pause) this.request.onAboveWriteBufferHighWatermark()
    else this.request.onBelowWriteBufferLowWatermark()
  }
  pauseResponseBody(pause: boolean): void {
    this.request.readDisable(pause)
  }

  // ---- what concerns the downstream side alone: its route is chosen, and its answer is the router's

  clearRouteCache(): void {}
  headersExceedLimits(): boolean {
    return false
  }
  setDownstreamWatermarkCallbacks(): void {}
  reroute(): Route | null {
    return this.stream.route()
  }
  restoreRequest(): void {}
  recreateStream(): boolean {
    return false
  }
}
