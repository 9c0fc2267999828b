// envoy.filters.http.buffer: a request goes on when all of it is here. Its limit becomes the stream's own: more than that,
// in more than one piece, is refused by whoever holds it.

import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { requestEndsApart } from '../body-end.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import type { BufferConfig, BufferRouteConfig } from './config.ts'

const EMPTY = Buffer.alloc(0)

export function createBufferFilter(config: BufferConfig): HttpFilterFactory {
  return (callbacks) => callbacks.addStreamDecoderFilter(new BufferFilter(config))
}

class BufferFilter extends PassThroughDecoderFilter {
  private readonly config: BufferConfig
  private bytes = 0
  /** null: nothing is waited for. */
  private headers: HeaderMap | null = null

  constructor(config: BufferConfig) {
    super()
    this.config = config
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (endStream) return FilterHeadersStatus.Continue
    const route = this.callbacks.perFilterConfig<BufferRouteConfig>()
    if (route?.disabled) return FilterHeadersStatus.Continue
    this.callbacks.setBufferLimit(route?.maxRequestBytes || this.config.maxRequestBytes)
    this.headers = headers
    return FilterHeadersStatus.StopIteration
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.headers === null) return FilterDataStatus.Continue
    this.bytes += chunk.length
    if (!endStream) return FilterDataStatus.StopIterationAndBuffer
    if (chunk.length > 0 && requestEndsApart(this.callbacks.streamInfo)) this.callbacks.addDecodedData(EMPTY, false)
    this.addLength()
    return FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.headers !== null) this.addLength()
    return FilterTrailersStatus.Continue
  }

  /** The length is known now: the upstream may have it instead of chunks. */
  private addLength(): void {
    const { headers } = this
    this.headers = null
    if (headers !== null && !headers.has('content-length')) headers.set('content-length', String(this.bytes))
  }
}
