// envoy.filters.http.decompressor: bodies whose outermost content coding is the configured one go on without it. Trailers
// tell how many bytes they were, and are.

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter, Scope } from '../../../observe/stats.ts'
import { type CompressionLibrary, contentCoding, createDecompressor } from '../../common/compression.ts'
import { type BodySink, RequestSink, ResponseSink } from '../body-sink.ts'
import { BodyTransform, type TransformStats } from '../body-transform.ts'
import { BodyTransformFilter } from '../body-transform-filter.ts'
import { isNoTransform } from '../compressor/filter.ts'
import type { DecompressedDirection, DecompressorConfig } from './config.ts'

/** Counters of a library under Envoy's names; which of them an error of node:zlib moves, the first for any other. */
const ERRORS: Readonly<Record<CompressionLibrary['kind'], Readonly<Record<string, RegExp>>>> = {
  gzip: {
    zlib_data_error: /^Z_(DATA_ERROR|NEED_DICT)$/,
    zlib_errno: /^Z_ERRNO$/,
    zlib_stream_error: /^Z_STREAM_ERROR$/,
    zlib_mem_error: /^Z_MEM_ERROR$/,
    zlib_buf_error: /^Z_BUF_ERROR$/,
    zlib_version_error: /^Z_VERSION_ERROR$/,
  },
  brotli: { brotli_error: /./, brotli_output_overflow: /^$/, brotli_redundant_input: /^$/ },
  zstd: {
    zstd_generic_error: /./,
    zstd_dictionary_error: /dictionary/i,
    zstd_checksum_wrong_error: /checksum/i,
    zstd_memory_error: /memory/i,
  },
}

class Direction {
  readonly data: DecompressedDirection
  readonly decompressed: Counter
  readonly notDecompressed: Counter
  readonly transform: TransformStats

  constructor(data: DecompressedDirection, scope: Scope) {
    this.data = data
    this.decompressed = scope.counter('decompressed')
    this.notDecompressed = scope.counter('not_decompressed')
    this.transform = {
      bytesIn: scope.counter('total_compressed_bytes'),
      bytesOut: scope.counter('total_uncompressed_bytes'),
    }
  }
}

class Shared {
  readonly config: DecompressorConfig
  readonly encoding: string
  readonly request: Direction
  readonly response: Direction
  private readonly runtime: RuntimeSnapshot
  private readonly errors: readonly (readonly [RegExp, Counter])[]

  constructor(config: DecompressorConfig, context: WorkerContext, statPrefix: string) {
    const { library } = config
    this.config = config
    this.runtime = context.runtime
    this.encoding = contentCoding(library.kind)
    const scope = context.stats.scope(`http.${statPrefix}.decompressor.${library.name}.${library.kind}`)
    this.request = new Direction(config.request, scope.scope('request'))
    this.response = new Direction(config.response, scope.scope('response'))
    const ofLibrary = scope.scope('decompressor_library')
    this.errors = Object.entries(ERRORS[library.kind]).map(([name, code]) => [code, ofLibrary.counter(name)])
  }

  isOn({ data: { enabled } }: Direction): boolean {
    return enabled.key === '' ? enabled.value : this.runtime.bool(enabled.key, enabled.value)
  }

  countError(code: string): void {
    const specific = this.errors.findLast(([pattern]) => pattern.test(code)) ?? this.errors[0]!
    specific[1].inc()
  }
}

export function createDecompressorFilter(
  config: DecompressorConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new DecompressorFilter(shared))
}

class DecompressorFilter extends BodyTransformFilter {
  private readonly shared: Shared

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared, callbacks } = this
    if (shared.config.advertise && shared.isOn(shared.response)) advertise(headers, shared.encoding)
    if (endStream) return FilterHeadersStatus.Continue
    if (this.takes(shared.request, headers)) {
      const trailers = (): HeaderMap => callbacks.requestTrailers ?? callbacks.addDecodedTrailers()
      this.request = this.transform(shared.request, new RequestSink(callbacks), callbacks.bufferLimit, trailers)
    }
    return FilterHeadersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared, encoderCallbacks: callbacks } = this
    if (endStream) return FilterHeadersStatus.Continue
    if (this.takes(shared.response, headers)) {
      const trailers = (): HeaderMap => callbacks.responseTrailers ?? callbacks.addEncodedTrailers()
      this.response = this.transform(shared.response, new ResponseSink(callbacks), callbacks.bufferLimit, trailers)
    }
    return FilterHeadersStatus.Continue
  }

  /** Counts, and takes the coding out of the headers of a body that will go on without it. */
  private takes(direction: Direction, headers: HeaderMap): boolean {
    const { shared } = this
    const codings = headers.getAll('content-encoding') ?? ''
    const comma = codings.indexOf(',')
    const outermost = (comma < 0 ? codings : codings.slice(0, comma)).trim().toLowerCase()
    if (
      outermost !== shared.encoding ||
      !shared.isOn(direction) ||
      (!direction.data.ignoreNoTransform && isNoTransform(headers))
    ) {
      direction.notDecompressed.inc()
      return false
    }
    direction.decompressed.inc()
    headers.remove('content-length')
    if (comma < 0) headers.remove('content-encoding')
    else headers.set('content-encoding', codings.slice(comma + 1).trim())
    return true
  }

  private transform(
    direction: Direction,
    sink: BodySink,
    bufferLimit: number,
    trailers: () => HeaderMap,
  ): BodyTransform {
    const { shared } = this
    const { library } = shared.config
    return new BodyTransform(sink, createDecompressor(library), {
      stats: direction.transform,
      bufferLimit,
      flush: null,
      maxRatio: library.maxRatio,
      onError: (code) => shared.countError(code),
      onEnd: (bytesIn, bytesOut) => {
        const told = trailers()
        told.add(`x-envoy-decompressor-${library.name}-compressed-bytes`, String(bytesIn))
        told.add(`x-envoy-decompressor-${library.name}-uncompressed-bytes`, String(bytesOut))
        return true
      },
    })
  }
}

/** Adds the coding to what the client accepts, once. */
function advertise(headers: HeaderMap, encoding: string): void {
  const accepted = headers.getAll('accept-encoding')
  if (accepted === undefined || accepted === '') {
    headers.set('accept-encoding', encoding)
    return
  }
  const kept = accepted
    .split(',')
    .map((token) => token.trim())
    .filter((token) => token.split(';')[0]!.trim() !== encoding)
  headers.set('accept-encoding', [...kept, encoding].join(','))
}
