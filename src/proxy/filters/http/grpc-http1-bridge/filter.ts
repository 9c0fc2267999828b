// envoy.filters.http.grpc_http1_bridge: unary gRPC for HTTP/1 clients, which do not see trailers: the response is kept
// until its trailers are there, and their status becomes headers.

import { Protocol } from '../../../http/codec.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { GrpcHttp1BridgeConfig } from './config.ts'

/** A gRPC message: one byte of flags, four of length. */
const FRAME_HEADER_BYTES = 5
const PROTOBUF = 'application/x-protobuf'

export function createGrpcHttp1BridgeFilter(config: GrpcHttp1BridgeConfig): HttpFilterFactory {
  return (callbacks) => callbacks.addStreamFilter(new GrpcHttp1BridgeFilter(config))
}

class GrpcHttp1BridgeFilter extends PassThroughFilter {
  private readonly config: GrpcHttp1BridgeConfig
  private bridging = false
  /** The request's message gets a frame; the response's shall have none either. */
  private framing = false
  private responseHeaders: HeaderMap | null = null
  private requestBytes = 0
  private responseBytes = 0
  /** Bytes of the response's frame header that have not come yet. */
  private cut = 0

  constructor(config: GrpcHttp1BridgeConfig) {
    super()
    this.config = config
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const http1 = this.callbacks.streamInfo.protocol !== Protocol.Http2
    const type = headers.get('content-type')
    const protobuf = this.config.upgradeProtobuf && http1 && type === PROTOBUF
    this.bridging = http1 && (protobuf || isGrpcContentType(type))
    if (!this.bridging) return FilterHeadersStatus.Continue
    const query = this.config.ignoreQuery ? headers.path.indexOf('?') : -1
    if (query >= 0) {
      headers.path = headers.path.slice(0, query)
      this.callbacks.clearRouteCache()
    }
    if (!protobuf) return FilterHeadersStatus.Continue
    headers.set('content-type', 'application/grpc')
    headers.remove('content-length')
    this.cut = FRAME_HEADER_BYTES
    if (endStream) return FilterHeadersStatus.Continue
    // Its length is not known before the end: the room for it comes first.
    this.callbacks.addDecodedData(Buffer.alloc(FRAME_HEADER_BYTES))
    this.framing = true
    return FilterHeadersStatus.StopIteration
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.framing) return FilterDataStatus.Continue
    this.requestBytes += chunk.length
    if (!endStream) return FilterDataStatus.StopIterationAndBuffer
    this.writeFrameHeader()
    return FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.framing) this.writeFrameHeader()
    return FilterTrailersStatus.Continue
  }

  private writeFrameHeader(): void {
    this.callbacks.decodingBuffer()[0]!.writeUInt32BE(this.requestBytes, 1)
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (!this.bridging || endStream) return FilterHeadersStatus.Continue
    this.responseHeaders = headers
    return FilterHeadersStatus.StopIteration
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.bridging) return FilterDataStatus.Continue
    const body = chunk.subarray(Math.min(this.cut, chunk.length))
    this.cut -= chunk.length - body.length
    this.responseBytes += body.length
    if (endStream && body.length === chunk.length) return FilterDataStatus.Continue
    this.encoderCallbacks.addEncodedData(body)
    if (endStream) this.encoderCallbacks.continueEncoding()
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    const headers = this.responseHeaders
    if (headers === null) return FilterTrailersStatus.Continue
    const status = trailers.get('grpc-status')
    const message = trailers.get('grpc-message')
    if (status !== undefined) {
      if (status !== '0') headers.status = 503
      headers.set('grpc-status', status)
    }
    if (message !== undefined) headers.set('grpc-message', message)
    // All of it is here: clients can tell a whole response by its length.
    headers.set('content-length', String(this.responseBytes))
    return FilterTrailersStatus.Continue
  }
}
