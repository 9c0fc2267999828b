// envoy.filters.http.grpc_web: browsers speak gRPC-Web, upstreams gRPC. Bodies differ in two ways: the -text kind is
// Base64, and trailers travel as a last frame of the body. Answers that are no gRPC become gRPC, with their text as message.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { encodeGrpcMessage, grpcStatusOfHttp, isGrpcContentType } from '../../../http/local-reply.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { responseEndsApart } from '../body-end.ts'
import { GrpcCallStats, methodOfPath } from '../grpc-call-stats.ts'
import { PassThroughFilter } from '../pass-through.ts'
import { decodeBase64 } from './base64.ts'
import { trailersFrame, WholeFrames } from './frames.ts'

const GRPC_WEB = 'application/grpc-web'
const GRPC_WEB_TEXT = 'application/grpc-web-text'
/** Of a text that is no gRPC and comes in several pieces, no more than this becomes the message. */
const MAX_MESSAGE_BYTES = 16_384
const EMPTY: Buffer = Buffer.alloc(0)

export function createGrpcWebFilter(_config: null, { clusters }: WorkerContext): HttpFilterFactory {
  return (callbacks) => callbacks.addStreamFilter(new GrpcWebFilter(clusters))
}

/** `type`, bare or with `+proto`. */
function isType(value: string | undefined, type: string): boolean {
  return value === type || value === `${type}+proto`
}

/** An answer that is gRPC-Web already; parameters do not matter. */
function isGrpcWebAnswer(headers: HeaderMap): boolean {
  const type = (headers.get('content-type') ?? '').split(';', 1)[0]!.trimEnd().toLowerCase()
  return headers.status === 200 && isType(type, GRPC_WEB)
}

function isGrpcAnswer(headers: HeaderMap, endStream: boolean): boolean {
  if (endStream) return headers.has('grpc-status')
  return headers.status === 200 && isGrpcContentType(headers.get('content-type'))
}

class GrpcWebFilter extends PassThroughFilter {
  private readonly clusters: ClusterManager
  private active = false
  private textRequest = false
  private stats: GrpcCallStats | null = null
  /** Base64 characters that do not fill a group yet. */
  private requestRest: Buffer = EMPTY
  /** null: the answer is wanted in bytes. */
  private frames: WholeFrames | null = null
  /** Of an answer whose text becomes the message. */
  private foreign: HeaderMap | null = null
  private foreignBytes = 0

  constructor(clusters: ClusterManager) {
    super()
    this.clusters = clusters
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const type = headers.get('content-type')
    this.textRequest = isType(type, GRPC_WEB_TEXT)
    if (headers.path === '' || (!this.textRequest && !isType(type, GRPC_WEB))) return FilterHeadersStatus.Continue
    this.active = true
    // The length changes with the encoding.
    headers.remove('content-length')
    this.resolveStats(headers)
    headers.set('content-type', 'application/grpc')
    if (isType(headers.get('accept'), GRPC_WEB_TEXT)) this.frames = new WholeFrames()
    headers.set('te', 'trailers')
    if (!headers.has('grpc-accept-encoding')) headers.add('grpc-accept-encoding', 'identity')
    return FilterHeadersStatus.Continue
  }

  private resolveStats(headers: HeaderMap): void {
    const route = this.callbacks.route()
    if (route === null || route.forward === null) return
    const cluster = this.clusters.get(route.clusterName(headers))
    const name = methodOfPath(headers.path)
    if (cluster !== undefined && name !== null) this.stats = new GrpcCallStats(cluster.stats.scope, 'grpc-web', name)
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.active || !this.textRequest) return FilterDataStatus.Continue
    const all = this.requestRest.length > 0 ? Buffer.concat([this.requestRest, chunk]) : chunk
    if (endStream) {
      if (all.length === 0) return FilterDataStatus.Continue
      if (all.length % 4 !== 0) return this.refuse('grpc_base_64_decode_failed_bad_size')
    }
    const whole = all.length - (all.length % 4)
    this.requestRest = Buffer.from(all.subarray(whole))
    if (whole === 0) return FilterDataStatus.StopIterationNoBuffer
    const decoded = decodeBase64(all.subarray(0, whole))
    if (decoded === null) {
      this.callbacks.answerBeforeEnd()
      return this.refuse('grpc_base_64_decode_failed')
    }
    this.callbacks.injectDecodedDataToFilterChain(decoded, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  private refuse(details: string): FilterDataStatus {
    this.callbacks.sendLocalReply(400, 'Bad gRPC-web request, invalid base64 data.', null, null, details)
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (!this.active) return FilterHeadersStatus.Continue
    this.stats?.countStatus(headers.get('grpc-status'))
    const foreign = !isGrpcAnswer(headers, endStream) && !isGrpcWebAnswer(headers)
    headers.remove('content-length')
    headers.set('content-type', this.frames === null ? `${GRPC_WEB}+proto` : `${GRPC_WEB_TEXT}+proto`)
    if (endStream || !foreign) return FilterHeadersStatus.Continue
    this.foreign = headers
    return FilterHeadersStatus.StopIteration
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.active) return FilterDataStatus.Continue
    if (this.foreign !== null) return this.keepForeign(chunk, endStream)
    if (this.frames === null) return FilterDataStatus.Continue
    const text = this.frames.encode(chunk)
    if (text.length > 0 || endStream) this.encoderCallbacks.injectEncodedDataToFilterChain(text, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  private keepForeign(chunk: Buffer, endStream: boolean): FilterDataStatus {
    const apart = endStream && chunk.length > 0 && responseEndsApart(this.encoderCallbacks.streamInfo)
    if (!endStream || apart) {
      if (this.foreignBytes < MAX_MESSAGE_BYTES) this.keep(chunk)
      if (!endStream || this.foreign === null) return FilterDataStatus.StopIterationNoBuffer
    }
    const headers = this.foreign!
    const last = apart ? EMPTY : chunk
    if (this.encoderCallbacks.encodingBuffer().length === 0) {
      this.encoderCallbacks.addEncodedData(EMPTY, false)
      this.finishForeign(headers, last)
    } else {
      this.keep(last)
      if (this.foreign !== headers) return FilterDataStatus.StopIterationNoBuffer
      this.finishForeign(headers, this.encoderCallbacks.drainEncodingBuffer().subarray(0, MAX_MESSAGE_BYTES))
    }
    this.encoderCallbacks.continueEncoding()
    return FilterDataStatus.StopIterationNoBuffer
  }

  /** Too much of it is answered at once, with other headers. */
  private keep(chunk: Buffer): void {
    this.foreignBytes += chunk.length
    this.encoderCallbacks.addEncodedData(chunk, false)
  }

  private finishForeign(headers: HeaderMap, text: Buffer): void {
    this.foreign = null
    headers.set('grpc-message', encodeGrpcMessage(text.toString('latin1')))
    headers.set('grpc-status', String(grpcStatusOfHttp(headers.status)))
    headers.set('content-length', '0')
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    if (!this.active) return FilterTrailersStatus.Continue
    this.stats?.countStatus(trailers.get('grpc-status'))
    if (this.foreign !== null) {
      this.finishForeign(this.foreign, this.encoderCallbacks.drainEncodingBuffer().subarray(0, MAX_MESSAGE_BYTES))
      return FilterTrailersStatus.Continue
    }
    const frame = trailersFrame(trailers)
    const bytes = this.frames === null ? frame : Buffer.from(frame.toString('base64'), 'latin1')
    this.encoderCallbacks.injectEncodedDataToFilterChain(bytes, false)
    trailers.list.length = 0
    return FilterTrailersStatus.Continue
  }
}
