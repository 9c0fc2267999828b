// HTTP filters: Envoy's contract (envoy/http/filter.h). A filter returns a status instead of calling a next();
// the chain stops and resumes without a closure or a promise per hop.
//
// Life of an instance: created for a stream → setDecoder/EncoderFilterCallbacks → decode* → encode* → onDestroy, once.

import type { FaultOwner } from '../../base/fault-owner.ts'
import type { Connection } from '../network/connection.ts'
import type { Route } from '../route/route.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HeaderMap } from './header-map.ts'

export const FilterHeadersStatus = {
  Continue: 0,
  /** Later filters see nothing until continueDecoding/Encoding; data still reaches this filter. */
  StopIteration: 1,
  /** Headers pass on but not as the end of the stream: the filter will add a body. */
  ContinueAndDontEndStream: 2,
  /** Nothing more is delivered, to this filter either; data is buffered, overflow answers 413/500. */
  StopAllIterationAndBuffer: 3,
  /** As above, but overflow pauses reading instead. */
  StopAllIterationAndWatermark: 4,
} as const
export type FilterHeadersStatus = (typeof FilterHeadersStatus)[keyof typeof FilterHeadersStatus]

export const FilterDataStatus = {
  Continue: 0,
  StopIterationAndBuffer: 1,
  StopIterationAndWatermark: 2,
  StopIterationNoBuffer: 3,
} as const
export type FilterDataStatus = (typeof FilterDataStatus)[keyof typeof FilterDataStatus]

export const FilterTrailersStatus = { Continue: 0, StopIteration: 1 } as const
export type FilterTrailersStatus = (typeof FilterTrailersStatus)[keyof typeof FilterTrailersStatus]

/** Changes a local reply's headers before it goes through the encoder filters. */
export type ModifyHeaders = (headers: HeaderMap) => void

/** What both directions offer a filter. What its timers and answers of others throw goes to onFault: it ends the stream. */
export interface StreamFilterCallbacks extends FaultOwner {
  readonly connection: Connection
  readonly streamInfo: StreamInfo
  /** The chosen route, resolved on first use and cached; null = no route. */
  route(): Route | null
  /** The next route() chooses again (after a filter changed the headers). */
  clearRouteCache(): void
  resetStream(): void
  /** This filter's most specific typed_per_filter_config (weighted cluster > route > virtual host > route config). */
  perFilterConfig<T>(): T | undefined
  /** Those of all levels, the most specific last. */
  perFilterConfigs<T>(): readonly T[]
}

export interface StreamDecoderFilterCallbacks extends StreamFilterCallbacks {
  continueDecoding(): void
  /** What StopIterationAndBuffer has kept so far, oldest first. */
  decodingBuffer(): readonly Buffer[]
  /** Keeps data for the filters after this one; `streaming`: too much of it pauses the client, else it is refused. */
  addDecodedData(chunk: Buffer, streaming: boolean): void
  /** Gives data to the filters after this one, in place of what decodeData was given (then StopIterationNoBuffer). */
  injectDecodedDataToFilterChain(chunk: Buffer, endStream: boolean): void
  /** Trailers at the end of a body that this filter holds back, end and all (then continueDecoding). */
  addDecodedTrailers(): HeaderMap
  readonly requestTrailers: HeaderMap | null
  /**
   * Answers from here: through the encoder filters after the headers were filtered by local_reply_config.
   * `grpcStatus` overrides the HTTP→gRPC table for gRPC requests; null = use the table.
   */
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void
  /** For the terminal filter: the response, into the encoder filters. */
  encode1xxHeaders(headers: HeaderMap): void
  encodeHeaders(headers: HeaderMap, endStream: boolean, details: string): void
  encodeData(chunk: Buffer, endStream: boolean): void
  encodeTrailers(trailers: HeaderMap): void
  /** Counted: the upstream cannot take more; downstream reading pauses until the matching call. */
  onDecoderFilterAboveWriteBufferHighWatermark(): void
  onDecoderFilterBelowWriteBufferLowWatermark(): void
  /** Downstream cannot take more: told to the terminal filter. */
  setDownstreamWatermarkCallbacks(callbacks: DownstreamWatermarkCallbacks | null): void
  /** Most bytes that may be buffered in each direction; 0 = no limit. */
  readonly bufferLimit: number
  /** Of this stream, from here on, for all filters. */
  setBufferLimit(bytes: number): void
  /** What is answered now is a part of the body, whose end the client's codec tells apart (filters/http/body-end.ts). */
  answerBeforeEnd(): void
  /** For filters with a limit of their own to what they buffer: answers 413 and counts it, as for the stream's limit. */
  onRequestTooLarge(): void
  /** The request becomes another one (internal redirect): its route. */
  reroute(headers: HeaderMap): Route | null
  /** It is the one before again; what it was routed to stays. */
  restoreRequest(headers: HeaderMap): void
  /** Serves the request again as another one (internal redirect): false when that is impossible now. */
  recreateStream(headers: HeaderMap): boolean
  /** Whether the request's headers, as changed so far, are more than a client may send. */
  requestHeadersExceedLimits(): boolean
  /** The request's headers, trailers, as filtered so far. */
  readonly requestHeaders: HeaderMap
}

export interface DownstreamWatermarkCallbacks {
  onAboveWriteBufferHighWatermark(): void
  onBelowWriteBufferLowWatermark(): void
}

export interface StreamEncoderFilterCallbacks extends StreamFilterCallbacks {
  continueEncoding(): void
  encodingBuffer(): readonly Buffer[]
  /** As addDecodedData, for the filters before this one. */
  addEncodedData(chunk: Buffer, streaming: boolean): void
  /** Takes what is kept so far: something else goes on in its place, if only the end. */
  drainEncodingBuffer(): Buffer
  /** Gives data to the filters before this one, in place of what encodeData was given (then StopIterationNoBuffer). */
  injectEncodedDataToFilterChain(chunk: Buffer, endStream: boolean): void
  /** Trailers at the end of a body that this filter holds back, end and all (then continueEncoding). */
  addEncodedTrailers(): HeaderMap
  readonly responseTrailers: HeaderMap | null
  sendLocalReply(
    status: number,
    body: string,
    modify: ModifyHeaders | null,
    grpcStatus: number | null,
    details: string,
  ): void
  /** Counted: this filter holds more of the response than it may; the upstream is read no further until the matching call. */
  onEncoderFilterAboveWriteBufferHighWatermark(): void
  onEncoderFilterBelowWriteBufferLowWatermark(): void
  readonly bufferLimit: number
  readonly requestHeaders: HeaderMap
}

/** Request direction. Chunks are borrowed. */
export interface StreamDecoderFilter {
  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void
  decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus
  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus
  decodeTrailers(trailers: HeaderMap): FilterTrailersStatus
  onDestroy(): void
}

/** Response direction. */
export interface StreamEncoderFilter {
  setEncoderFilterCallbacks(callbacks: StreamEncoderFilterCallbacks): void
  encode1xxHeaders?(headers: HeaderMap): FilterHeadersStatus
  encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus
  encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus
  encodeTrailers(trailers: HeaderMap): FilterTrailersStatus
  onDestroy(): void
}

/** Both directions; onDestroy is called once for the pair. */
export interface StreamFilter extends StreamDecoderFilter, StreamEncoderFilter {}

/** Adds the filters of one stream, in configured order. */
export interface FilterChainFactoryCallbacks {
  addStreamDecoderFilter(filter: StreamDecoderFilter): void
  addStreamEncoderFilter(filter: StreamEncoderFilter): void
  addStreamFilter(filter: StreamFilter): void
}

/** What a configured filter becomes in a worker: called once per stream, no I/O, no throwing. */
export type HttpFilterFactory = (callbacks: FilterChainFactoryCallbacks) => void
