// The commands by name. What Envoy has and this build lacks is refused by name, never printed as `-`.

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { byteString } from '../../../base/byte-string.ts'
import { ConfigError } from '../../../base/errors.ts'
import { wantHeaderBytes } from '../../http/header-bytes.ts'
import { checkExpression, compileExpressionText, compileExpressionValue } from '../cel-filter.ts'
import { coalesce } from './coalesce.ts'
import {
  grpcStatus,
  grpcStatusNumber,
  pathOperator,
  queryParameter,
  queryParameters,
  request,
  requestHeadersBytes,
  response,
  responseHeadersBytes,
  responseTrailersBytes,
  text,
  trailer,
} from './header-operators.ts'
import { filterState, metadata, metadataOf, upstreamFilterState } from './metadata-operators.ts'
import { type Operator, TextOperator, ValueOperator } from './operator.ts'
import {
  CERTIFICATE_TIMES,
  certificateTime,
  commonDuration,
  maskedAddress,
  requestedServerName,
  responseCodeDetails,
  STREAM_OPERATORS,
} from './stream-operators.ts'
import { compileTime } from './time-format.ts'
import type { Token } from './tokenizer.ts'

type Command = Extract<Token, { kind: 'command' }>
type Compile = (args: string, maxLength: number | null, path: string) => Operator
type CompileOptional = (args: string | null, maxLength: number | null, path: string) => Operator

function constant(value: string, maxLength: number | null): Operator {
  return text(() => value, maxLength)
}

function startTime(local: boolean): CompileOptional {
  return (args, _maxLength, path) => {
    const format = compileTime(args, local, path)
    return new TextOperator((context) => format(context.info.startTimeMs))
  }
}

function emitTime(local: boolean): CompileOptional {
  return (args, _maxLength, path) => {
    const format = compileTime(args, local, path)
    return new TextOperator(() => format(Date.now()))
  }
}

/** Take neither arguments nor length. */
const PLAIN: Record<string, Operator> = {
  ...STREAM_OPERATORS,
  // An empty body is printed as nothing, not as `-`.
  LOCAL_REPLY_BODY: new TextOperator((context) => context.localReplyBody),
  HOSTNAME: constant(hostname(), null),
  // Flags that filters may set by a name of their own; none of ours does.
  CUSTOM_FLAGS: new TextOperator(() => null),
  ACCESS_LOG_TYPE: new TextOperator((context) => context.type),
  // Of internal addresses, of which there are none.
  DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID: new TextOperator(() => ''),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID: new TextOperator(() => ''),
  UNIQUE_ID: new TextOperator(() => randomUUID()),
  GRPC_STATUS_NUMBER: grpcStatusNumber,
  REQUEST_HEADERS_BYTES: requestHeadersBytes,
  RESPONSE_HEADERS_BYTES: responseHeadersBytes,
  RESPONSE_TRAILERS_BYTES: responseTrailersBytes,
}

/** Need arguments. */
const WITH_ARGUMENTS: Record<string, Compile> = {
  REQ: request,
  RESP: response,
  TRAILER: trailer,
  QUERY_PARAM: queryParameter,
  METADATA: metadata,
  DYNAMIC_METADATA: (args, maxLength) => metadataOf('DYNAMIC', args, maxLength),
  CLUSTER_METADATA: (args) => metadataOf('CLUSTER', args, null),
  UPSTREAM_METADATA: (args) => metadataOf('UPSTREAM_HOST', args, null),
  FILTER_STATE: filterState,
  UPSTREAM_FILTER_STATE: upstreamFilterState,
  ENVIRONMENT: (args, maxLength) => constant(byteString(process.env[args] || '-'), maxLength),
  COMMON_DURATION: (args, _maxLength, path) => commonDuration(args, path),
  COALESCE: (args, maxLength, path) => coalesce(args, maxLength, path, compileCommand),
  CEL: (args, maxLength, path) => celOperator(args, maxLength, path, true),
  TYPED_CEL: (args, maxLength, path) => celOperator(args, maxLength, path, false),
}

/** `%CEL(expr)%` prints a string, `%TYPED_CEL(expr)%` keeps the value's type in JSON. */
function celOperator(expression: string, maxLength: number | null, path: string, asText: boolean): Operator {
  checkExpression(expression, path)
  return new ValueOperator(asText ? compileExpressionText(expression) : compileExpressionValue(expression), maxLength)
}

/** May have arguments. */
const OPTIONAL_ARGUMENTS: Record<string, CompileOptional> = {
  START_TIME: startTime(false),
  START_TIME_LOCAL: startTime(true),
  EMIT_TIME: emitTime(false),
  EMIT_TIME_LOCAL: emitTime(true),
  PATH: pathOperator,
  QUERY_PARAMS: queryParameters,
  GRPC_STATUS: (args, _maxLength, path) => grpcStatus(args, path),
  RESPONSE_CODE_DETAILS: responseCodeDetails,
  REQUESTED_SERVER_NAME: (args, _maxLength, path) => requestedServerName(args, path),
}

/** Of the commands with arguments, those that no length may follow. */
const NO_LENGTH = new Set([
  'START_TIME',
  'START_TIME_LOCAL',
  'EMIT_TIME',
  'EMIT_TIME_LOCAL',
  'GRPC_STATUS',
  'RESPONSE_CODE_DETAILS',
  'REQUESTED_SERVER_NAME',
  'COMMON_DURATION',
  'CLUSTER_METADATA',
  'UPSTREAM_METADATA',
  ...Object.keys(CERTIFICATE_TIMES),
])

/** Compiles a command of a header value: those of the log, and one older name. */
export function compileHeaderCommand(command: Command, path: string): Operator {
  return compileCommand(command.name === 'PER_REQUEST_STATE' ? { ...command, name: 'FILTER_STATE' } : command, path)
}

/** Throws ConfigError in Envoy's words for unknown names and wrong arguments. */
export function compileCommand(command: Command, path: string): Operator {
  const { name, args, maxLength } = command
  if (name.includes('HEADER_BYTES_')) wantHeaderBytes()
  const plain = PLAIN[name]
  if (plain) {
    // Envoy takes empty parentheses for none.
    if (args || maxLength !== null) {
      throw new ConfigError(path, `${name} does not take any parameters or length`)
    }
    return plain
  }
  if (maxLength !== null && NO_LENGTH.has(name))
    throw new ConfigError(path, `${name} does not allow length to be specified.`)
  const needing = WITH_ARGUMENTS[name]
  if (needing) {
    if (args === null || (args === '' && !name.endsWith('FILTER_STATE')))
      throw new ConfigError(path, `${name} requires parameters`)
    return needing(args, maxLength, path)
  }
  const optional = OPTIONAL_ARGUMENTS[name]
  if (optional) return optional(args, maxLength, path)
  const masked = maskedAddress(name, args)
  if (masked) {
    if (maxLength !== null) throw new ConfigError(path, `${name} does not allow length to be specified.`)
    return masked
  }
  const time = CERTIFICATE_TIMES[name]
  if (time) return certificateTime(time, args, path)
  throw new ConfigError(path, `Not supported field in StreamInfo: ${name}`)
}
