// One direction of a compressor: what of it is compressed, and its counters.

import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter, Scope } from '../../../observe/stats.ts'
import { compileStringMatcher, type StringMatch } from '../../../route/string-matcher.ts'
import type { TransformStats } from '../body-transform.ts'
import type { CompressedDirection } from './config.ts'

export class Direction {
  readonly compressed: Counter
  readonly notCompressed: Counter
  readonly tooSmall: Counter
  readonly transform: TransformStats
  private readonly minContentLength: number
  private readonly contentTypes: ReadonlySet<string>
  private readonly matchers: readonly StringMatch[]

  constructor(data: CompressedDirection, scope: Scope) {
    this.minContentLength = data.minContentLength
    this.contentTypes = new Set(data.contentTypes)
    this.matchers = data.contentTypeMatchers.map(compileStringMatcher)
    this.compressed = scope.counter('compressed')
    this.notCompressed = scope.counter('not_compressed')
    this.tooSmall = scope.counter('content_length_too_small')
    this.transform = {
      bytesIn: scope.counter('total_uncompressed_bytes'),
      bytesOut: scope.counter('total_compressed_bytes'),
    }
  }

  /** A body of unknown length is long enough. */
  longEnough(headers: HeaderMap): boolean {
    const length = headers.get('content-length')
    if (length === undefined || Number(length) >= this.minContentLength) return true
    this.tooSmall.inc()
    return false
  }

  /** A body without a type may be compressed. */
  typeAllowed(headers: HeaderMap): boolean {
    const header = headers.get('content-type')
    return header === undefined || this.allows(mediaType(header))
  }

  allows(type: string): boolean {
    if (this.matchers.length === 0) return this.contentTypes.has(type.toLowerCase())
    for (let i = 0; i < this.matchers.length; i++) if (this.matchers[i]!(type)) return true
    return false
  }
}

/** Without parameters. */
export function mediaType(header: string): string {
  const semicolon = header.indexOf(';')
  return (semicolon < 0 ? header : header.slice(0, semicolon)).trim()
}
