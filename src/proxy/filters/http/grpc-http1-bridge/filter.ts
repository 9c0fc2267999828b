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
import { responseEndsApart } from '../body-end.ts'
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
  /** The request's message gets a frame. */
  private framing = false
  /** Bytes of the frame of the response's message that are to be taken off: it shall have none either. */
  private cut = 0
  private responseHeaders: HeaderMap | null = null
  /** null: nothing of the message is kept yet. */
  private frameHeader: Buffer | null = null
  private requestBytes = 0
  private responseBytes = 0

  constructor(config: GrpcHttp1BridgeConfig) {
    super()
    this.config = config
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const http1 = this.callbacks.streamInfo.protocol !== Protocol.Http2
    if (this.config.upgradeProtobuf && headers.path !== '' && headers.get('content-type') === PROTOBUF) {
      headers.set('content-type', 'application/grpc')
      headers.remove('content-length')
      this.callbacks.clearRouteCache()
      // What came over HTTP/2 is called gRPC and left as it is (Envoy).
      this.framing = http1
      this.cut = http1 ? FRAME_HEADER_BYTES : 0
    }
    this.bridging = http1 && headers.path !== '' && isGrpcContentType(headers.get('content-type'))
    const query = this.bridging && this.config.ignoreQuery ? headers.path.indexOf('?') : -1
    if (query >= 0) headers.path = headers.path.slice(0, query)
    return FilterHeadersStatus.Continue
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.framing) return FilterDataStatus.Continue
    this.requestBytes += chunk.length
    if (this.frameHeader === null) {
      this.frameHeader = Buffer.alloc(FRAME_HEADER_BYTES)
      if (endStream) {
        this.frameHeader.writeUInt32BE(this.requestBytes, 1)
        this.callbacks.injectDecodedDataToFilterChain(Buffer.concat([this.frameHeader, chunk]), true)
        return FilterDataStatus.StopIterationNoBuffer
      }
      // Its length is not known before the end: the room for it comes first.
      this.callbacks.addDecodedData(this.frameHeader, true)
    }
    if (!endStream) return FilterDataStatus.StopIterationAndWatermark
    this.writeFrameHeader()
    return FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.frameHeader !== null) this.writeFrameHeader()
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
    const headers = this.responseHeaders
    if (headers === null) return FilterDataStatus.Continue
    const apart = endStream && responseEndsApart(this.encoderCallbacks.streamInfo)
    if (endStream && !apart) return FilterDataStatus.Continue
    const body = chunk.subarray(Math.min(this.cut, chunk.length))
    this.cut -= chunk.length - body.length
    this.responseBytes += body.length
    this.encoderCallbacks.addEncodedData(body, false)
    // More than may be kept has been answered with other headers.
    if (apart && this.responseHeaders === headers) this.encoderCallbacks.continueEncoding()
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    const headers = this.responseHeaders
    if (headers === null) return FilterTrailersStatus.Continue
    const status = trailers.get('grpc-status')
    const message = trailers.get('grpc-message')
    if (status !== undefined) {
      if (!/^0+$/.test(status)) headers.status = 503
      headers.set('grpc-status', status)
    }
    if (message !== undefined) headers.set('grpc-message', message)
    // All of it is here: clients can tell a whole response by its length.
    headers.set('content-length', String(this.responseBytes))
    return FilterTrailersStatus.Continue
  }
}
