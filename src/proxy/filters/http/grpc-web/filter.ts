// envoy.filters.http.grpc_web: browsers speak gRPC-Web, upstreams gRPC. Bodies differ in two ways: the -text kind is
// base64, and trailers travel as a last frame of the body.

import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { PassThroughFilter } from '../pass-through.ts'

const GRPC_WEB = 'application/grpc-web'
const GRPC_WEB_TEXT = 'application/grpc-web-text'
/** First byte of the frame that carries trailers. */
const TRAILERS_FRAME = 0x80

export function createGrpcWebFilter(): HttpFilterFactory {
  return (callbacks) => callbacks.addStreamFilter(new GrpcWebFilter())
}

/** `type`, bare or with `+proto`. */
function isType(value: string | undefined, type: string): boolean {
  return value === type || value === `${type}+proto`
}

class GrpcWebFilter extends PassThroughFilter {
  private active = false
  private textRequest = false
  private textResponse = false
  private grpcResponse = false
  /** Base64 characters or bytes that do not fill a group yet. */
  private requestRest: Buffer = EMPTY
  private responseRest: Buffer = EMPTY

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const type = headers.get('content-type')
    this.textRequest = isType(type, GRPC_WEB_TEXT)
    if (!this.textRequest && !isType(type, GRPC_WEB)) return FilterHeadersStatus.Continue
    this.active = true
    const accept = headers.get('accept')
    this.textResponse = isType(accept, GRPC_WEB_TEXT)
    // The length changes with the encoding.
    headers.remove('content-length')
    headers.set('content-type', 'application/grpc')
    headers.set('te', 'trailers')
    headers.set('grpc-accept-encoding', 'identity,deflate,gzip')
    return FilterHeadersStatus.Continue
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.active || !this.textRequest) return FilterDataStatus.Continue
    const all = this.requestRest.length > 0 ? Buffer.concat([this.requestRest, chunk]) : chunk
    const whole = all.length - (all.length % 4)
    if (endStream && whole !== all.length) return this.refuse()
    const text = all.toString('latin1', 0, whole)
    if (!/^[A-Za-z0-9+/=]*$/.test(text)) return this.refuse()
    this.requestRest = Buffer.from(all.subarray(whole))
    // Groups are decoded one by one where padding may stand in the middle: frames are encoded apart.
    const decoded = text.includes('=') ? decodeGroups(text) : Buffer.from(text, 'base64')
    this.callbacks.injectDecodedDataToFilterChain(decoded, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  private refuse(): FilterDataStatus {
    this.active = false
    this.callbacks.sendLocalReply(
      400,
      'Bad gRPC-web request, invalid base64 data.',
      null,
      null,
      'grpc_base_64_decode_failed',
    )
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    if (!this.active) return FilterHeadersStatus.Continue
    this.grpcResponse = headers.get('content-type')?.startsWith('application/grpc') ?? false
    if (!this.grpcResponse) return FilterHeadersStatus.Continue
    headers.set('content-type', `${this.textResponse ? GRPC_WEB_TEXT : GRPC_WEB}+proto`)
    headers.remove('content-length')
    return FilterHeadersStatus.Continue
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.active || !this.grpcResponse || !this.textResponse) return FilterDataStatus.Continue
    this.sendText(chunk, endStream, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  /** Groups of three bytes; the rest waits unless `last`. */
  private sendText(chunk: Buffer, last: boolean, endStream: boolean): void {
    const all = this.responseRest.length > 0 ? Buffer.concat([this.responseRest, chunk]) : chunk
    const whole = last ? all.length : all.length - (all.length % 3)
    this.responseRest = Buffer.from(all.subarray(whole))
    const text = Buffer.from(all.toString('base64', 0, whole), 'latin1')
    if (text.length > 0 || endStream) this.encoderCallbacks.injectEncodedDataToFilterChain(text, endStream)
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    if (!this.active || !this.grpcResponse) return FilterTrailersStatus.Continue
    let lines = ''
    const { list } = trailers
    for (let i = 0; i < list.length; i += 2) lines += `${list[i]}:${list[i + 1]}\r\n`
    const frame = Buffer.alloc(5 + lines.length)
    frame[0] = TRAILERS_FRAME
    frame.writeUInt32BE(lines.length, 1)
    frame.write(lines, 5, 'latin1')
    if (this.textResponse) this.sendText(frame, true, false)
    else this.encoderCallbacks.injectEncodedDataToFilterChain(frame, false)
    list.length = 0
    return FilterTrailersStatus.Continue
  }
}

const EMPTY: Buffer = Buffer.alloc(0)

function decodeGroups(text: string): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < text.length; at += 4) parts.push(Buffer.from(text.slice(at, at + 4), 'base64'))
  return Buffer.concat(parts)
}
