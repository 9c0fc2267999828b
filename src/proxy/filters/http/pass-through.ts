// What a filter does where it does nothing: filters extend these and override what they care about.

import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
  type StreamEncoderFilterCallbacks,
  type StreamFilter,
} from '../../http/filter.ts'
import type { HeaderMap } from '../../http/header-map.ts'

/** Sees requests. */
export class PassThroughDecoderFilter implements StreamDecoderFilter {
  protected callbacks!: StreamDecoderFilterCallbacks

  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.callbacks = callbacks
  }
  decodeHeaders(_headers: HeaderMap, _endStream: boolean): FilterHeadersStatus {
    return FilterHeadersStatus.Continue
  }
  decodeData(_chunk: Buffer, _endStream: boolean): FilterDataStatus {
    return FilterDataStatus.Continue
  }
  decodeTrailers(_trailers: HeaderMap): FilterTrailersStatus {
    return FilterTrailersStatus.Continue
  }
  onDestroy(): void {}
}

/** Sees both directions. */
export class PassThroughFilter extends PassThroughDecoderFilter implements StreamFilter {
  protected encoderCallbacks!: StreamEncoderFilterCallbacks

  setEncoderFilterCallbacks(callbacks: StreamEncoderFilterCallbacks): void {
    this.encoderCallbacks = callbacks
  }
  encodeHeaders(_headers: HeaderMap, _endStream: boolean): FilterHeadersStatus {
    return FilterHeadersStatus.Continue
  }
  encodeData(_chunk: Buffer, _endStream: boolean): FilterDataStatus {
    return FilterDataStatus.Continue
  }
  encodeTrailers(_trailers: HeaderMap): FilterTrailersStatus {
    return FilterTrailersStatus.Continue
  }
}
