// Compression libraries of Envoy's (gzip, brotli, zstd) as streams of node:zlib.

import {
  constants,
  createBrotliCompress,
  createBrotliDecompress,
  createGunzip,
  createGzip,
  createZstdCompress,
  createZstdDecompress,
} from 'node:zlib'
import type { TypedExtensionConfig } from '../../../api/gen/envoy/config/core/v3/extension_pb.js'
import { BrotliSchema as BrotliCompressorSchema } from '../../../api/gen/envoy/extensions/compression/brotli/compressor/v3/brotli_pb.js'
import { BrotliSchema as BrotliDecompressorSchema } from '../../../api/gen/envoy/extensions/compression/brotli/decompressor/v3/brotli_pb.js'
import { GzipSchema as GzipCompressorSchema } from '../../../api/gen/envoy/extensions/compression/gzip/compressor/v3/gzip_pb.js'
import { GzipSchema as GzipDecompressorSchema } from '../../../api/gen/envoy/extensions/compression/gzip/decompressor/v3/gzip_pb.js'
import { ZstdSchema as ZstdCompressorSchema } from '../../../api/gen/envoy/extensions/compression/zstd/compressor/v3/zstd_pb.js'
import { ZstdSchema as ZstdDecompressorSchema } from '../../../api/gen/envoy/extensions/compression/zstd/decompressor/v3/zstd_pb.js'
import { typeNameOf } from '../../../api/registry.ts'
import { ConfigError } from '../../../base/errors.ts'
import type { ParseContext } from '../../config/extension.ts'
import type { ZlibStream } from '../http/body-transform.ts'

/** Envoy's chunk size of output. */
const CHUNK_SIZE = 4096
const DEFAULT_MAX_INFLATE_RATIO = 100
const GZIP_WINDOW_BITS = 12
const GZIP_MEMORY_LEVEL = 5
const BROTLI_QUALITY = 3
const BROTLI_WINDOW_BITS = 18
const BROTLI_BLOCK_BITS = 24
const ZSTD_LEVEL = 3

/** One side of one library: `params` are node:zlib's, by their numbers. */
export interface CompressionLibrary {
  /** Name of the instance; a part of stats. */
  readonly name: string
  readonly kind: 'gzip' | 'brotli' | 'zstd'
  readonly chunkSize: number
  readonly gzip: {
    readonly level: number
    readonly memLevel: number
    readonly windowBits: number
    readonly strategy: number
  }
  readonly params: Readonly<Record<number, number>>
  /** Of a decompressor: most bytes out for one byte in; 0 = any. */
  readonly maxRatio: number
}

/** The content coding (RFC 9110 §8.4.1). */
export function contentCoding(kind: CompressionLibrary['kind']): string {
  return kind === 'brotli' ? 'br' : kind
}

const NO_GZIP = { level: 0, memLevel: 0, windowBits: 0, strategy: 0 } as const

/** Throws ConfigError for a library that this proxy does not have. */
export function parseCompressor(extension: TypedExtensionConfig, at: ParseContext): CompressionLibrary {
  const any = extension.typedConfig
  const common = { name: extension.name, maxRatio: 0 }
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case GzipCompressorSchema.typeName: {
      const gzip = at.unpack(any!, GzipCompressorSchema)
      return {
        ...common,
        kind: 'gzip',
        chunkSize: gzip.chunkSize ?? CHUNK_SIZE,
        gzip: {
          level: gzip.compressionLevel === 0 ? constants.Z_DEFAULT_COMPRESSION : gzip.compressionLevel,
          memLevel: gzip.memoryLevel ?? GZIP_MEMORY_LEVEL,
          windowBits: gzip.windowBits ?? GZIP_WINDOW_BITS,
          strategy: gzip.compressionStrategy,
        },
        params: {},
      }
    }
    case BrotliCompressorSchema.typeName: {
      const brotli = at.unpack(any!, BrotliCompressorSchema)
      return {
        ...common,
        kind: 'brotli',
        chunkSize: brotli.chunkSize ?? CHUNK_SIZE,
        gzip: NO_GZIP,
        params: {
          [constants.BROTLI_PARAM_QUALITY]: brotli.quality ?? BROTLI_QUALITY,
          [constants.BROTLI_PARAM_LGWIN]: brotli.windowBits ?? BROTLI_WINDOW_BITS,
          [constants.BROTLI_PARAM_LGBLOCK]: brotli.inputBlockBits ?? BROTLI_BLOCK_BITS,
          // Their numbers are Envoy's but for the first, which is DEFAULT there and GENERIC for the library.
          [constants.BROTLI_PARAM_MODE]: Math.max(0, brotli.encoderMode - 1),
          [constants.BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING]: brotli.disableLiteralContextModeling ? 1 : 0,
        },
      }
    }
    case ZstdCompressorSchema.typeName: {
      const zstd = at.unpack(any!, ZstdCompressorSchema)
      if (zstd.dictionary) throw new ConfigError(at.at('dictionary').path, 'not supported by this proxy; remove it')
      return {
        ...common,
        kind: 'zstd',
        chunkSize: zstd.chunkSize ?? CHUNK_SIZE,
        gzip: NO_GZIP,
        params: {
          [constants.ZSTD_c_compressionLevel]: zstd.compressionLevel ?? ZSTD_LEVEL,
          [constants.ZSTD_c_checksumFlag]: zstd.enableChecksum ? 1 : 0,
          ...(zstd.strategy !== 0 && { [constants.ZSTD_c_strategy]: zstd.strategy }),
        },
      }
    }
    default:
      throw unknown(extension, at)
  }
}

/** Throws ConfigError for a library that this proxy does not have. */
export function parseDecompressor(extension: TypedExtensionConfig, at: ParseContext): CompressionLibrary {
  const any = extension.typedConfig
  const common = { name: extension.name, gzip: NO_GZIP, maxRatio: 0 }
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case GzipDecompressorSchema.typeName: {
      const { chunkSize, windowBits, maxInflateRatio } = at.unpack(any!, GzipDecompressorSchema)
      return {
        ...common,
        kind: 'gzip',
        chunkSize: chunkSize ?? CHUNK_SIZE,
        gzip: { ...NO_GZIP, windowBits: windowBits ?? 15 },
        params: {},
        maxRatio: maxInflateRatio ?? DEFAULT_MAX_INFLATE_RATIO,
      }
    }
    case BrotliDecompressorSchema.typeName: {
      const { chunkSize, disableRingBufferReallocation } = at.unpack(any!, BrotliDecompressorSchema)
      const key = constants.BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION
      return {
        ...common,
        kind: 'brotli',
        chunkSize: chunkSize ?? CHUNK_SIZE,
        params: { [key]: disableRingBufferReallocation ? 1 : 0 },
        maxRatio: DEFAULT_MAX_INFLATE_RATIO,
      }
    }
    case ZstdDecompressorSchema.typeName: {
      const { chunkSize, dictionaries } = at.unpack(any!, ZstdDecompressorSchema)
      if (dictionaries.length > 0)
        throw new ConfigError(at.at('dictionaries').path, 'not supported by this proxy; remove it')
      return { ...common, kind: 'zstd', chunkSize: chunkSize ?? CHUNK_SIZE, params: {} }
    }
    default:
      throw unknown(extension, at)
  }
}

function unknown(extension: TypedExtensionConfig, at: ParseContext): ConfigError {
  return new ConfigError(
    at.path,
    `library ${extension.name} (${extension.typedConfig?.typeUrl ?? 'no type'}) is not known to this proxy: it has gzip, brotli and zstd`,
  )
}

export function createCompressor({ kind, chunkSize, gzip, params }: CompressionLibrary): ZlibStream {
  if (kind === 'gzip') return createGzip({ chunkSize, ...gzip })
  if (kind === 'brotli') return createBrotliCompress({ chunkSize, params })
  return createZstdCompress({ chunkSize, params })
}

/** A body that is cut off gives what there is of it. */
export function createDecompressor({ kind, chunkSize, gzip, params }: CompressionLibrary): ZlibStream {
  if (kind === 'gzip')
    return createGunzip({ chunkSize, windowBits: gzip.windowBits, finishFlush: constants.Z_SYNC_FLUSH })
  if (kind === 'brotli')
    return createBrotliDecompress({ chunkSize, params, finishFlush: constants.BROTLI_OPERATION_FLUSH })
  return createZstdDecompress({ chunkSize, params, finishFlush: constants.ZSTD_e_flush })
}

/** What makes a compressor give out what it has. */
export function flushKind(kind: CompressionLibrary['kind']): number {
  if (kind === 'gzip') return constants.Z_SYNC_FLUSH
  return kind === 'brotli' ? constants.BROTLI_OPERATION_FLUSH : constants.ZSTD_e_flush
}
