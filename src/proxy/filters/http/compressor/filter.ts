// envoy.filters.http.compressor: compresses responses for clients that accept it, and requests where that is configured.
// Several of them in a chain decide together: the first that is asked chooses, the others follow.

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import type { RuntimeFlag } from '../../../config/runtime-flag.ts'
import { FilterHeadersStatus, type HttpFilterFactory, type StreamDecoderFilterCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { contentCoding, createCompressor, flushKind } from '../../common/compression.ts'
import { type BodySink, RequestSink, ResponseSink } from '../body-sink.ts'
import { BodyTransform, type TransformStats } from '../body-transform.ts'
import { BodyTransformFilter } from '../body-transform-filter.ts'
import { chooseEncoding, type EncodingDecision } from './choose-encoding.ts'
import type { CompressorConfig, CompressorRoute } from './config.ts'
import { Direction, mediaType } from './direction.ts'

const STATUS_HEADER = 'x-envoy-compression-status'
/** Filter state of a stream: its compressors, and what they decided. */
const COMPRESSORS_KEY = 'compressors'
const DECISION_KEY = 'encoding_decision'

class Shared {
  readonly config: CompressorConfig
  readonly runtime: RuntimeSnapshot
  readonly encoding: string
  readonly request: Direction
  readonly response: Direction
  readonly etag: Counter
  readonly noAccept: Counter
  readonly identity: Counter
  readonly used: Counter
  readonly overshadowed: Counter
  readonly wildcard: Counter
  readonly notValid: Counter

  constructor(config: CompressorConfig, context: WorkerContext, statPrefix: string) {
    const { library } = config
    this.config = config
    this.runtime = context.runtime
    this.encoding = contentCoding(library.kind)
    // As an upstream filter of a cluster it has that one's scope.
    const owner = statPrefix === '' ? context.stats : context.stats.scope(`http.${statPrefix}`)
    const scope = owner.scope(`compressor.${library.name}.${library.kind}`)
    this.request = new Direction(config.request ?? config.response, scope.scope('request'))
    this.response = new Direction(config.response, config.response.named ? scope.scope('response') : scope)
    this.etag = scope.counter('not_compressed_etag')
    this.noAccept = scope.counter('no_accept_header')
    this.identity = scope.counter('header_identity')
    this.used = scope.counter('header_compressor_used')
    this.overshadowed = scope.counter('header_compressor_overshadowed')
    this.wildcard = scope.counter('header_wildcard')
    this.notValid = scope.counter('header_not_valid')
  }

  isOn({ key, value }: RuntimeFlag): boolean {
    return key === '' ? value : this.runtime.bool(key, value)
  }

  transform(sink: BodySink, stats: TransformStats, bufferLimit: number): BodyTransform {
    const { library } = this.config
    return new BodyTransform(sink, createCompressor(library), {
      stats,
      bufferLimit,
      flush: flushKind(library.kind),
      maxRatio: 0,
      onError: () => {},
      onEnd: null,
    })
  }
}

export function createCompressorFilter(
  config: CompressorConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new CompressorFilter(shared))
}

class CompressorFilter extends BodyTransformFilter {
  private readonly shared: Shared
  private acceptEncoding: string | undefined = undefined

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    super.setDecoderFilterCallbacks(callbacks)
    const { filterState } = callbacks.streamInfo
    const others = filterState.get(COMPRESSORS_KEY) as Shared[] | undefined
    if (others) others.push(this.shared)
    else filterState.set(COMPRESSORS_KEY, [this.shared])
  }

  private enabled(route: CompressorRoute | undefined): boolean {
    return route?.enabled ?? this.shared.isOn(this.shared.config.response.enabled)
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared, callbacks } = this
    const { request, response } = shared.config
    this.acceptEncoding = headers.getAll('accept-encoding')
    const route = callbacks.perFilterConfig<CompressorRoute>()
    if ((route?.removeAcceptEncoding ?? response.removeAcceptEncoding) && this.enabled(route))
      headers.remove('accept-encoding')
    if (
      request === null ||
      endStream ||
      !shared.isOn(request.enabled) ||
      headers.has('upgrade') ||
      !shared.request.longEnough(headers) ||
      !shared.request.typeAllowed(headers) ||
      headers.has('content-encoding')
    ) {
      shared.request.notCompressed.inc()
      return FilterHeadersStatus.Continue
    }
    headers.remove('content-length')
    headers.set('content-encoding', shared.encoding)
    shared.request.compressed.inc()
    this.request = shared.transform(new RequestSink(callbacks), shared.request.transform, callbacks.bufferLimit)
    return FilterHeadersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared } = this
    const on = this.enabled(this.callbacks.perFilterConfig<CompressorRoute>())
    const compresses = shared.config.response.statusHeader
      ? this.judgeAndTell(headers, on, endStream)
      : this.judge(headers, on, endStream)
    if (!compresses) {
      shared.response.notCompressed.inc()
      return FilterHeadersStatus.Continue
    }
    shared.response.compressed.inc()
    const { encoderCallbacks: callbacks } = this
    this.response = shared.transform(new ResponseSink(callbacks), shared.response.transform, callbacks.bufferLimit)
    return FilterHeadersStatus.Continue
  }

  /** True when the body will be compressed; the headers say so then, and that it depends on the client either way. */
  private judge(headers: HeaderMap, on: boolean, endStream: boolean): boolean {
    const { response } = this.shared
    const long = on && response.longEnough(headers)
    const compressible =
      long &&
      !this.config.uncompressibleCodes.includes(headers.status) &&
      response.typeAllowed(headers) &&
      isTransformable(headers) &&
      this.etagAllowed(headers)
    const compresses = !endStream && long && this.accepted(headers) && compressible
    if (compresses) this.markCompressed(headers)
    if (compressible) vary(headers)
    return compresses
  }

  /** The same, and a header tells what stood in the way. */
  private judgeAndTell(headers: HeaderMap, on: boolean, endStream: boolean): boolean {
    if (!on) return false
    const { response } = this.shared
    const tell = (why: string): false => {
      headers.add(STATUS_HEADER, `${this.shared.encoding};${why}`)
      return false
    }
    if (!response.longEnough(headers)) {
      // Envoy looks, and counts, twice.
      response.tooSmall.inc()
      return tell('ContentLengthTooSmall')
    }
    if (!response.typeAllowed(headers)) return tell('ContentTypeNotAllowed')
    if (!this.etagAllowed(headers)) return tell('EtagNotAllowed')
    if (this.config.uncompressibleCodes.includes(headers.status)) return tell('StatusCodeNotAllowed')
    if (!isTransformable(headers)) return false
    vary(headers)
    if (endStream || !this.accepted(headers)) return false
    const length = headers.get('content-length') ?? ''
    this.markCompressed(headers)
    tell(`Compressed;OriginalLength=${length}`)
    return true
  }

  private get config(): CompressorConfig['response'] {
    return this.shared.config.response
  }

  private etagAllowed(headers: HeaderMap): boolean {
    if (!this.config.disableOnEtag || !headers.has('etag')) return true
    this.shared.etag.inc()
    return false
  }

  private markCompressed(headers: HeaderMap): void {
    const etag = headers.get('etag')
    // A strong one names the bytes, which are others now (RFC 9110 §8.8.1).
    if (etag !== undefined && !/^w\//i.test(etag)) {
      if (this.config.weakenEtag) headers.set('etag', `W/${etag}`)
      else headers.remove('etag')
    }
    headers.remove('content-length')
    headers.set('content-encoding', this.shared.encoding)
  }

  /** The client takes this filter's coding, and no other filter of the chain serves it better. */
  private accepted(headers: HeaderMap): boolean {
    const { shared, acceptEncoding } = this
    if (acceptEncoding === undefined) {
      shared.noAccept.inc()
      return false
    }
    const { filterState } = this.callbacks.streamInfo
    let decision = filterState.get(DECISION_KEY) as EncodingDecision | undefined
    if (decision === undefined) {
      const compressors = filterState.get(COMPRESSORS_KEY) as readonly Shared[]
      const type = mediaType(headers.get('content-type') ?? '')
      const able = type === '' ? compressors : compressors.filter(({ response }) => response.allows(type))
      const offers = able.map(({ encoding, config }) => ({ encoding, chooseFirst: config.chooseFirst }))
      decision = chooseEncoding(acceptEncoding, offers)
      filterState.set(DECISION_KEY, decision)
    }
    const chosen = decision.encoding === shared.encoding
    switch (decision.reason) {
      case 'compressor':
        ;(chosen ? shared.used : shared.overshadowed).inc()
        break
      case 'identity':
        shared.identity.inc()
        break
      case 'wildcard':
        shared.wildcard.inc()
        break
      default:
        shared.notValid.inc()
    }
    return chosen
  }
}

/** Nobody forbids it, and it has not been done. */
function isTransformable(headers: HeaderMap): boolean {
  return !headers.has('upgrade') && !headers.has('content-encoding') && !isNoTransform(headers)
}

/** `cache-control: no-transform` (RFC 9111 §5.2.2.6). */
export function isNoTransform(headers: HeaderMap): boolean {
  const control = headers.getAll('cache-control')
  return control?.split(',').some((directive) => directive.trim().toLowerCase() === 'no-transform') ?? false
}

/** Another client might get another body. */
function vary(headers: HeaderMap): void {
  const before = headers.getAll('vary')
  if (before === undefined) headers.set('vary', 'Accept-Encoding')
  else if (!before.split(',').some((name) => name.trim() === 'Accept-Encoding'))
    headers.set('vary', `${before}, Accept-Encoding`)
}
