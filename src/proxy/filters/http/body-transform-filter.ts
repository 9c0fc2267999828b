// A filter that may send the bodies of both directions through a BodyTransform; what it does with headers decides.

import { FilterDataStatus, FilterTrailersStatus } from '../../http/filter.ts'
import type { BodyTransform } from './body-transform.ts'
import { PassThroughFilter } from './pass-through.ts'

export class BodyTransformFilter extends PassThroughFilter {
  /** Null: the body goes as it is. */
  protected request: BodyTransform | null = null
  protected response: BodyTransform | null = null

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.request === null) return FilterDataStatus.Continue
    this.request.write(chunk, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (this.request === null) return FilterTrailersStatus.Continue
    this.request.trailers()
    return FilterTrailersStatus.StopIteration
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.response === null) return FilterDataStatus.Continue
    this.response.write(chunk, endStream)
    return FilterDataStatus.StopIterationNoBuffer
  }

  override encodeTrailers(): FilterTrailersStatus {
    if (this.response === null) return FilterTrailersStatus.Continue
    this.response.trailers()
    return FilterTrailersStatus.StopIteration
  }

  override onDestroy(): void {
    this.request?.destroy()
    this.response?.destroy()
  }
}
