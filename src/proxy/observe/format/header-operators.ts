// Commands that read headers and trailers: REQ, RESP, TRAILER, PATH, QUERY_PARAM(S), GRPC_STATUS, *_HEADERS_BYTES.

import { ConfigError } from '../../../base/errors.ts'
import { GRPC_STATUS_NAMES } from '../../../base/grpc-status.ts'
import { intern } from '../../../base/intern.ts'
import type { HeaderMap } from '../../http/header-map.ts'
import { grpcStatusOfHttp, isGrpcContentType } from '../../http/local-reply.ts'
import type { LogContext } from '../access-log.ts'
import { NumberOperator, type Operator, TextOperator, TruncatedOperator } from './operator.ts'

type Block = (context: LogContext) => HeaderMap | null
type Text = (context: LogContext) => string | null

const requestHeaders: Block = (context) => context.requestHeaders
const responseHeaders: Block = (context) => context.responseHeaders
const responseTrailers: Block = (context) => context.responseTrailers

/** Truncates when a length was given. */
export function text(get: Text, maxLength: number | null): Operator {
  return maxLength === null ? new TextOperator(get) : new TruncatedOperator(get, maxLength)
}

const NAME = /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]*$/

/** `MAIN?ALTERNATIVE` header names. */
function headerText(block: Block, args: string, path: string): Text {
  const names = args.toLowerCase().split('?').map(intern)
  if (names.length > 2) throw new ConfigError(path, `More than 1 alternative header specified in token: ${args}`)
  for (const name of names) {
    if (!NAME.test(name)) {
      throw new ConfigError(path, 'Invalid header configuration. Format string contains invalid characters.')
    }
  }
  const [main, alternative] = names as [string, string | undefined]
  if (alternative === undefined) return (context) => block(context)?.get(main) ?? null
  return (context) => {
    const headers = block(context)
    return headers === null ? null : (headers.get(main) ?? headers.get(alternative) ?? null)
  }
}

export function request(args: string, maxLength: number | null, path: string): Operator {
  return text(headerText(requestHeaders, args.replaceAll(HOST, ':authority'), path), maxLength)
}

/** Of a request it is the same header as :authority. */
const HOST = /(?<=^|\?)host(?=$|\?)/gi

export function response(args: string, maxLength: number | null, path: string): Operator {
  return text(headerText(responseHeaders, args, path), maxLength)
}

export function trailer(args: string, maxLength: number | null, path: string): Operator {
  return text(headerText(responseTrailers, args, path), maxLength)
}

/** `%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)%`: with or without query; original path, current path, or the first there is. */
export function pathOperator(args: string | null, maxLength: number | null, path: string): Operator {
  const [query = '', source = ''] = (args ?? '').split(':', 2)
  if (!['', 'WQ', 'NQ'].includes(query)) {
    throw new ConfigError(path, `Invalid PATH option: '${query}', only 'WQ'/'NQ' are allowed`)
  }
  if (!['', 'ORIG', 'PATH', 'ORIG_OR_PATH'].includes(source)) {
    throw new ConfigError(path, `Invalid PATH option: '${source}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed`)
  }
  const whole: Text = (context) => {
    const headers = context.requestHeaders
    if (headers === null) return null
    if (source === 'PATH') return headers.path || null
    const original = headers.get('x-envoy-original-path')
    if (original !== undefined || source === 'ORIG') return original ?? null
    return headers.path || null
  }
  if (query !== 'NQ') return text(whole, maxLength)
  return text((context) => {
    const value = whole(context)
    const end = value === null ? -1 : value.indexOf('?')
    return end < 0 ? value : value!.slice(0, end)
  }, maxLength)
}

function queryOf(headers: HeaderMap | null): string | null {
  if (headers === null) return null
  const start = headers.path.indexOf('?')
  if (start < 0) return null
  const end = headers.path.indexOf('#', start)
  return headers.path.slice(start + 1, end < 0 ? undefined : end)
}

/** Percent-decoding that leaves what is no escape alone. */
function decodePercent(value: string): string {
  if (!value.includes('%')) return value
  return value.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** `%QUERY_PARAM(name)%`: the decoded value of the first parameter of that name. */
export function queryParameter(args: string, maxLength: number | null): Operator {
  return text((context) => {
    const query = queryOf(context.requestHeaders)
    if (query === null) return null
    for (const pair of query.split('&')) {
      const equals = pair.indexOf('=')
      const name = equals < 0 ? pair : pair.slice(0, equals)
      if (decodePercent(name) === args) return equals < 0 ? '' : decodePercent(pair.slice(equals + 1))
    }
    return null
  }, maxLength)
}

/** `%QUERY_PARAMS(ORIG|DECODED)%`: the whole query string. */
export function queryParameters(args: string | null, maxLength: number | null, path: string): Operator {
  if (args !== null && !['', 'ORIG', 'DECODED'].includes(args)) {
    throw new ConfigError(path, `Invalid QUERY_PARAMS option: '${args}', only 'ORIG'/'DECODED' are allowed`)
  }
  return text((context) => {
    const query = queryOf(context.requestHeaders)
    return query !== null && args === 'DECODED' ? decodePercent(query) : query
  }, maxLength)
}

/** Bytes of names and values of a block, pseudo-headers included. */
export function headerBlockBytes(headers: HeaderMap | null): number {
  if (headers === null) return 0
  let bytes = 0
  for (const part of headers.list) bytes += part.length
  if (headers.method) bytes += 7 + headers.method.length
  if (headers.path) bytes += 5 + headers.path.length
  if (headers.authority) bytes += 10 + headers.authority.length
  if (headers.scheme) bytes += 7 + headers.scheme.length
  if (headers.protocol) bytes += 9 + headers.protocol.length
  if (headers.status) bytes += 7 + 3
  return bytes
}

export const requestHeadersBytes: Operator = new NumberOperator((context) => headerBlockBytes(context.requestHeaders))
export const responseHeadersBytes: Operator = new NumberOperator((context) => headerBlockBytes(context.responseHeaders))
export const responseTrailersBytes: Operator = new NumberOperator((context) =>
  headerBlockBytes(context.responseTrailers),
)

/** What Envoy calls a status that is no number. */
const INVALID_GRPC_STATUS = -1

/** The gRPC status of an answer: trailers, else headers, else what its HTTP status means; null without any. */
export function grpcStatusOfAnswer(context: LogContext): number | null {
  const given = context.responseTrailers?.get('grpc-status') || context.responseHeaders?.get('grpc-status')
  if (given) return /^\d+$/.test(given) ? Number(given) : INVALID_GRPC_STATUS
  return context.info.responseCode === 0 ? null : grpcStatusOfHttp(context.info.responseCode)
}

function grpcStatusOf(context: LogContext): number | null {
  const request = context.requestHeaders
  // CONNECT has no path and is never gRPC.
  if (request === null || request.path === '') return null
  return isGrpcContentType(request.get('content-type')) ? grpcStatusOfAnswer(context) : null
}

function camelName(snake: string): string {
  if (snake === 'OK') return 'OK'
  return snake
    .split('_')
    .map((word) => word[0] + word.slice(1).toLowerCase())
    .join('')
}
const CAMEL_NAMES = GRPC_STATUS_NAMES.map(camelName)

/** `%GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)%`. */
export function grpcStatus(args: string | null, path: string): Operator {
  const style = args || 'CAMEL_STRING'
  if (style === 'NUMBER') return grpcStatusNumber
  if (style !== 'CAMEL_STRING' && style !== 'SNAKE_STRING') {
    throw new ConfigError(path, 'GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER.')
  }
  const names = style === 'SNAKE_STRING' ? GRPC_STATUS_NAMES : CAMEL_NAMES
  return new TextOperator((context) => {
    const status = grpcStatusOf(context)
    return status === null ? null : (names[status] ?? String(status))
  })
}

export const grpcStatusNumber: Operator = new NumberOperator(grpcStatusOf)
