// envoy.filters.http.decompressor: configuration.

import {
  type Decompressor,
  type Decompressor_CommonDirectionConfig,
  DecompressorSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/decompressor/v3/decompressor_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { type CompressionLibrary, parseDecompressor } from '../../common/compression.ts'
import { createDecompressorFilter } from './filter.ts'

export interface DecompressedDirection {
  readonly enabled: RuntimeFlag
  /** Also what says `cache-control: no-transform`. */
  readonly ignoreNoTransform: boolean
}

export interface DecompressorConfig {
  readonly library: CompressionLibrary
  readonly request: DecompressedDirection
  readonly response: DecompressedDirection
  /** The upstream is told that it may compress. */
  readonly advertise: boolean
}

export const decompressorFilter: HttpFilterExtension<DecompressorConfig> = {
  name: 'envoy.filters.http.decompressor',
  desc: DecompressorSchema,
  parse: (message, context) => {
    const { decompressorLibrary, requestDirectionConfig, responseDirectionConfig } = message as Decompressor
    return {
      library: parseDecompressor(decompressorLibrary!, context.at('decompressor_library.typed_config')),
      request: direction(requestDirectionConfig?.commonConfig),
      response: direction(responseDirectionConfig?.commonConfig),
      advertise: requestDirectionConfig?.advertiseAcceptEncoding ?? true,
    }
  },
  create: createDecompressorFilter,
}

function direction(common: Decompressor_CommonDirectionConfig | undefined): DecompressedDirection {
  return { enabled: runtimeFlag(common?.enabled), ignoreNoTransform: common?.ignoreNoTransformHeader ?? false }
}
