// A filter behind a matcher: asked once, when the request's headers come to it, and then there for the whole stream or not.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  type FilterChainFactoryCallbacks,
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
  type StreamEncoderFilter,
  type StreamEncoderFilterCallbacks,
  type StreamFilter,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { ConnectionFacts } from '../../../matching/connection-facts.ts'
import { compileMatcher, type Match } from '../../../matching/matcher.ts'
import type { MatchDelegateConfig, SKIP } from './config.ts'

type Skips = Match<typeof SKIP>

export function createMatchDelegate(
  config: MatchDelegateConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const create = context.createHttpFilter(config.filter, statPrefix)
  if (config.matcher === null) return create
  const skips = compileMatcher(config.matcher, context)
  return (callbacks) => create(new DelegatingCallbacks(callbacks, skips))
}

class DelegatingCallbacks implements FilterChainFactoryCallbacks {
  private readonly callbacks: FilterChainFactoryCallbacks
  private readonly skips: Skips

  constructor(callbacks: FilterChainFactoryCallbacks, skips: Skips) {
    this.callbacks = callbacks
    this.skips = skips
  }

  addStreamDecoderFilter(filter: StreamDecoderFilter): void {
    this.callbacks.addStreamDecoderFilter(new DelegatingDecoderFilter(filter, this.skips))
  }
  /** Request headers never come to it. */
  addStreamEncoderFilter(filter: StreamEncoderFilter): void {
    this.callbacks.addStreamEncoderFilter(filter)
  }
  addStreamFilter(filter: StreamFilter): void {
    this.callbacks.addStreamFilter(new DelegatingFilter(filter, this.skips))
  }
}

class DelegatingDecoderFilter<F extends StreamDecoderFilter> implements StreamDecoderFilter {
  protected readonly filter: F
  protected skipped = false
  private readonly skips: Skips
  private callbacks!: StreamDecoderFilterCallbacks

  constructor(filter: F, skips: Skips) {
    this.filter = filter
    this.skips = skips
  }

  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.callbacks = callbacks
    this.filter.setDecoderFilterCallbacks(callbacks)
  }
  decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const info = this.callbacks.streamInfo
    const facts = new ConnectionFacts(info.downstream, info.filterState, info.dynamicMetadata)
    facts.headers = headers
    facts.stream = info
    this.skipped = this.skips(facts) !== null
    return this.skipped ? FilterHeadersStatus.Continue : this.filter.decodeHeaders(headers, endStream)
  }
  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    return this.skipped ? FilterDataStatus.Continue : this.filter.decodeData(chunk, endStream)
  }
  decodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    return this.skipped ? FilterTrailersStatus.Continue : this.filter.decodeTrailers(trailers)
  }
  onDestroy(): void {
    this.filter.onDestroy()
  }
}

class DelegatingFilter extends DelegatingDecoderFilter<StreamFilter> implements StreamFilter {
  setEncoderFilterCallbacks(callbacks: StreamEncoderFilterCallbacks): void {
    this.filter.setEncoderFilterCallbacks(callbacks)
  }
  encode1xxHeaders(headers: HeaderMap): FilterHeadersStatus {
    if (this.skipped || !this.filter.encode1xxHeaders) return FilterHeadersStatus.Continue
    return this.filter.encode1xxHeaders(headers)
  }
  encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    return this.skipped ? FilterHeadersStatus.Continue : this.filter.encodeHeaders(headers, endStream)
  }
  encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    return this.skipped ? FilterDataStatus.Continue : this.filter.encodeData(chunk, endStream)
  }
  encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    return this.skipped ? FilterTrailersStatus.Continue : this.filter.encodeTrailers(trailers)
  }
}
