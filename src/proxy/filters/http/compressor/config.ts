// envoy.filters.http.compressor: configuration. Routes may switch the compression of responses off and on.

import {
  type Compressor,
  type Compressor_CommonDirectionConfig,
  CompressorOverridesSchema,
  type CompressorPerRoute,
  CompressorPerRouteSchema,
  CompressorSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/compressor/v3/compressor_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { parseStringMatcher, type StringMatcherData } from '../../../route/string-matcher.ts'
import { type CompressionLibrary, parseCompressor } from '../../common/compression.ts'
import { createCompressorFilter } from './filter.ts'

/** What one direction compresses. */
export interface CompressedDirection {
  readonly enabled: RuntimeFlag
  readonly minContentLength: number
  /** Media types in lower case. */
  readonly contentTypes: readonly string[]
  readonly contentTypeMatchers: readonly StringMatcherData[]
}

export interface CompressedResponses extends CompressedDirection {
  /** Under its own message its stats have a `response.` in their name. */
  readonly named: boolean
  readonly disableOnEtag: boolean
  readonly weakenEtag: boolean
  readonly removeAcceptEncoding: boolean
  readonly statusHeader: boolean
  readonly uncompressibleCodes: readonly number[]
}

export interface CompressorConfig {
  readonly library: CompressionLibrary
  readonly chooseFirst: boolean
  /** null = requests go as they are; the rest of it, for their stats. */
  readonly request: CompressedDirection | null
  readonly response: CompressedResponses
}

/** null = as the filter says. */
export interface CompressorRoute {
  readonly enabled: boolean | null
  readonly removeAcceptEncoding: boolean | null
}

export const compressorFilter: HttpFilterExtension<CompressorConfig, CompressorRoute> = {
  name: 'envoy.filters.http.compressor',
  upstream: true,
  desc: CompressorSchema,
  parse: (message, context) => parse(message as Compressor, context),
  routeDesc: CompressorPerRouteSchema,
  parseRoute: (message, context) => {
    const { override } = message as CompressorPerRoute
    if (override.case !== 'overrides') return { enabled: false, removeAcceptEncoding: null }
    refuseUnsupported(CompressorOverridesSchema, override.value, OVERRIDES, context.at('overrides').path)
    const response = override.value.responseDirectionConfig
    return {
      enabled: response ? true : null,
      removeAcceptEncoding: response?.removeAcceptEncodingHeader ?? null,
    }
  },
  create: createCompressorFilter,
}

const OVERRIDES = new Set(['response_direction_config'])

function parse(message: Compressor, context: ParseContext): CompressorConfig {
  const { requestDirectionConfig: request, responseDirectionConfig: response } = message
  const at = context.at('response_direction_config.common_config')
  return {
    library: parseCompressor(message.compressorLibrary!, context.at('compressor_library.typed_config')),
    chooseFirst: message.chooseFirst,
    request: request
      ? parseDirection(request.commonConfig, context.at('request_direction_config.common_config'))
      : null,
    response: response
      ? {
          ...parseDirection(response.commonConfig, at),
          named: true,
          disableOnEtag: response.disableOnEtagHeader,
          weakenEtag: response.weakenEtagOnCompress,
          removeAcceptEncoding: response.removeAcceptEncodingHeader,
          statusHeader: response.statusHeaderEnabled,
          uncompressibleCodes: response.uncompressibleResponseCodes,
        }
      : {
          enabled: runtimeFlag(message.runtimeEnabled),
          minContentLength: message.contentLength || DEFAULT_MIN_LENGTH,
          contentTypes: mediaTypes(message.contentType),
          contentTypeMatchers: [],
          named: false,
          disableOnEtag: message.disableOnEtagHeader,
          weakenEtag: false,
          removeAcceptEncoding: message.removeAcceptEncodingHeader,
          statusHeader: false,
          uncompressibleCodes: [],
        },
  }
}

/** A body that is shorter stays as it is. */
const DEFAULT_MIN_LENGTH = 30

/** What is worth it. */
const DEFAULT_TYPES = [
  ...['text/html', 'text/plain', 'text/css', 'text/javascript', 'text/x-javascript', 'text/ecmascript', 'text/js'],
  ...['text/jscript', 'text/x-js', 'text/xml', 'application/javascript', 'application/x-javascript'],
  ...['application/ecmascript', 'application/x-json', 'application/json', 'application/xml', 'application/xhtml+xml'],
  ...['image/svg+xml', 'application/grpc-web', 'application/grpc-web+proto'],
]

function mediaTypes(types: readonly string[]): readonly string[] {
  return types.length > 0 ? types.map((type) => type.toLowerCase()) : DEFAULT_TYPES
}

function parseDirection(
  common: Compressor_CommonDirectionConfig | undefined,
  context: ParseContext,
): CompressedDirection {
  const matchers = common?.contentTypeMatcher ?? []
  return {
    enabled: runtimeFlag(common?.enabled),
    minContentLength: common?.minContentLength || DEFAULT_MIN_LENGTH,
    contentTypes: mediaTypes(common?.contentType ?? []),
    contentTypeMatchers: matchers.map((matcher, i) =>
      parseStringMatcher(matcher, context.at(`content_type_matcher[${i}]`).path),
    ),
  }
}
