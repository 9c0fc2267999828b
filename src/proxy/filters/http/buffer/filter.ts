// envoy.filters.http.buffer: a request goes on when all of it is here; one that is too long is refused.

import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import type { BufferConfig, BufferRouteConfig } from './config.ts'

export function createBufferFilter(config: BufferConfig): HttpFilterFactory {
  return (callbacks) => callbacks.addStreamDecoderFilter(new BufferFilter(config))
}

class BufferFilter extends PassThroughDecoderFilter {
  private readonly config: BufferConfig
  private limit = 0
  private bytes = 0
  private headers: HeaderMap | null = null
  private refused = false

  constructor(config: BufferConfig) {
    super()
    this.config = config
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const route = this.callbacks.perFilterConfig<BufferRouteConfig>()
    if (endStream || route?.disabled) return FilterHeadersStatus.Continue
    this.limit = route?.maxRequestBytes || this.config.maxRequestBytes
    this.headers = headers
    return FilterHeadersStatus.StopIteration
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.refused) return FilterDataStatus.StopIterationNoBuffer
    if (this.headers === null) return FilterDataStatus.Continue
    this.bytes += chunk.length
    if (this.bytes > this.limit) {
      this.refused = true
      this.callbacks.onRequestTooLarge()
      return FilterDataStatus.StopIterationNoBuffer
    }
    if (!endStream) return FilterDataStatus.StopIterationAndBuffer
    this.addLength()
    return FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.refused) return FilterTrailersStatus.StopIteration
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
