// A compiled text format: access log lines, local reply bodies, header values.

import { byteString } from '../../../base/byte-string.ts'
import { fieldValue } from '../../../base/bytes.ts'
import type { HeaderMap } from '../../http/header-map.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { AccessLogType, LogContext } from '../access-log.ts'
import { compileCommand, compileHeaderCommand } from './commands.ts'
import type { LineBuffer } from './line-buffer.ts'
import type { Operator } from './operator.ts'
import { tokenize } from './tokenizer.ts'

/** Envoy's format for access logs that configure none. */
export const DEFAULT_LOG_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'

/** Literals and operators of a format string, in order. */
export function compileSegments(format: string, path: string, compile = compileCommand): (string | Operator)[] {
  return tokenize(format, path).map((token) =>
    token.kind === 'literal' ? byteString(token.text) : compile(token, path),
  )
}

/** Renders format strings. */
export class TextFormat {
  private readonly segments: readonly (string | Operator)[]
  private readonly absent: string

  /** `omitEmptyValues`: what is absent prints as nothing instead of `-`. Throws ConfigError. */
  constructor(format: string, omitEmptyValues: boolean, path: string) {
    this.segments = compileSegments(format, path)
    this.absent = omitEmptyValues ? '' : '-'
  }

  write(context: LogContext, out: LineBuffer): void {
    const { segments, absent } = this
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i]!
      out.put(typeof segment === 'string' ? segment : (segment.text(context) ?? absent))
    }
  }

  /** The line as a byte string (one char per byte). */
  format(context: LogContext): string {
    const { segments, absent } = this
    let line = ''
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i]!
      line += typeof segment === 'string' ? segment : (segment.text(context) ?? absent)
    }
    return line
  }
}

/** The one context of header formatting; a format runs to its end before the next begins. */
class HeaderContext implements LogContext {
  info!: StreamInfo
  requestHeaders: HeaderMap | null = null
  responseHeaders: HeaderMap | null = null
  readonly responseTrailers = null
  readonly localReplyBody = ''
  readonly type: AccessLogType = 'NotSet'
}
const headerContext = new HeaderContext()

/** Value of a header to add: what is absent adds nothing, so a value of absent parts only is ''. */
export class HeaderFormat {
  /** The value when no part of it depends on the request, else null. */
  readonly constant: string | null
  private readonly segments: readonly (string | Operator)[]

  constructor(segments: readonly (string | Operator)[]) {
    this.segments = segments
    this.constant = segments.every((segment) => typeof segment === 'string') ? segments.join('') : null
  }

  format(requestHeaders: HeaderMap | null, responseHeaders: HeaderMap | null, info: StreamInfo): string {
    if (this.constant !== null) return this.constant
    headerContext.info = info
    headerContext.requestHeaders = requestHeaders
    headerContext.responseHeaders = responseHeaders
    const segments = this.segments
    let value = ''
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i]!
      value += typeof segment === 'string' ? segment : (segment.text(headerContext) ?? '')
    }
    headerContext.requestHeaders = null
    headerContext.responseHeaders = null
    return fieldValue(value)
  }
}

/** Compiles the value of a header mutation. Throws ConfigError with Envoy's message. */
export function compileHeaderFormat(format: string, path: string): HeaderFormat {
  return new HeaderFormat(compileSegments(format, path, compileHeaderCommand))
}
