// HealthCheck → plain data.

import { type HeaderValueOption, RequestMethod } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import type {
  HealthCheck,
  HealthCheck_HttpHealthCheck,
  HealthCheck_Payload,
} from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import { HealthCheckEventFileSinkSchema } from '../../api/gen/envoy/extensions/health_check/event_sinks/file/v3/file_pb.js'
import { CodecClientType } from '../../api/gen/envoy/type/v3/http_pb.js'
import type { Int64Range } from '../../api/gen/envoy/type/v3/range_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { durationMsOr } from '../config/duration.ts'
import type { ParseContext } from '../config/extension.ts'
import { parseAlpnProtocols } from '../network/tls/tls-config.ts'
import { parseHeaderToAdd } from '../route/parse-common.ts'
import { parseStringMatcher } from '../route/string-matcher.ts'
import type { HealthCheckData, HealthCheckerData } from './config.ts'

const DEFAULT_NO_TRAFFIC_MS = 60_000
const DEFAULT_RESPONSE_BUFFER = 1024

export function parseHealthCheck(check: HealthCheck, context: ParseContext): HealthCheckData {
  if (check.eventService !== undefined)
    throw new ConfigError(
      context.at('event_service').path,
      'not supported by this proxy; write events to a file with event_logger',
    )
  if (check.altPort !== undefined)
    throw new ConfigError(
      context.at('alt_port').path,
      'has no effect, in Envoy neither; set health_check_config.port_value of the endpoints',
    )
  const intervalMs = durationMsOr(check.interval, 0)
  const noTrafficIntervalMs = durationMsOr(check.noTrafficInterval, DEFAULT_NO_TRAFFIC_MS)
  const alpnProtocols = parseAlpnProtocols(
    check.tlsOptions?.alpnProtocols ?? [],
    context.at('tls_options.alpn_protocols').path,
  )
  const unhealthyIntervalMs = durationMsOr(check.unhealthyInterval, intervalMs)
  return {
    timeoutMs: durationMsOr(check.timeout, 0),
    intervalMs,
    initialJitterMs: durationMsOr(check.initialJitter, 0),
    intervalJitterMs: durationMsOr(check.intervalJitter, 0),
    intervalJitterPercent: check.intervalJitterPercent,
    unhealthyThreshold: check.unhealthyThreshold ?? 1,
    healthyThreshold: check.healthyThreshold ?? 1,
    reuseConnection: check.reuseConnection ?? true,
    noTrafficIntervalMs,
    noTrafficHealthyIntervalMs: durationMsOr(check.noTrafficHealthyInterval, noTrafficIntervalMs),
    unhealthyIntervalMs,
    unhealthyEdgeIntervalMs: durationMsOr(check.unhealthyEdgeInterval, unhealthyIntervalMs),
    healthyEdgeIntervalMs: durationMsOr(check.healthyEdgeInterval, intervalMs),
    alwaysLogFailures: check.alwaysLogHealthCheckFailures,
    alwaysLogSuccess: check.alwaysLogHealthCheckSuccess,
    eventLogs: [
      ...(check.eventLogPath === '' ? [] : [check.eventLogPath]),
      ...check.eventLogger.map((sink, i) => parseEventSink(sink, context.at(`event_logger[${i}]`))),
    ],
    alpnProtocols: alpnProtocols.length > 0 ? alpnProtocols : null,
    transportSocketMatch: check.transportSocketMatchCriteria ?? null,
    checker: parseChecker(check, context),
  }
}

/** Path of the file that a sink writes. */
function parseEventSink(sink: TypedExtensionConfig, context: ParseContext): string {
  const any = sink.typedConfig
  if (any === undefined || typeNameOf(any.typeUrl) !== HealthCheckEventFileSinkSchema.typeName)
    throw new ConfigError(
      context.path,
      `no health check event sink '${sink.name}'; this proxy has envoy.health_check.event_sink.file`,
    )
  return context.at('typed_config').unpack(any, HealthCheckEventFileSinkSchema).eventLogPath
}

function parseChecker(check: HealthCheck, context: ParseContext): HealthCheckerData {
  const checker = check.healthChecker
  switch (checker.case) {
    case 'httpHealthCheck':
      return parseHttp(checker.value, context.at('http_health_check'))
    case 'tcpHealthCheck':
      if (checker.value.proxyProtocolConfig) {
        throw new ConfigError(
          context.at('tcp_health_check.proxy_protocol_config').path,
          'not supported by this proxy; remove the field',
        )
      }
      return {
        kind: 'tcp',
        send: payload(checker.value.send, context.at('tcp_health_check.send')),
        receive: checker.value.receive.map((part, i) => payload(part, context.at(`tcp_health_check.receive[${i}]`))!),
      }
    case 'grpcHealthCheck':
      return {
        kind: 'grpc',
        serviceName: checker.value.serviceName,
        authority: checker.value.authority,
        headers: headersOf(checker.value.initialMetadata, context, 'grpc_health_check.initial_metadata'),
      }
    default:
      throw new ConfigError(context.path, 'one of http_health_check, tcp_health_check, grpc_health_check is required')
  }
}

/** Half-open ranges of HTTP statuses. */
function parseStatuses(ranges: readonly Int64Range[], path: string): (readonly [number, number])[] {
  return ranges.map(({ start, end }, i) => {
    if (start >= end)
      throw new ConfigError(`${path}[${i}]`, `expecting start < end, but found start=${start} and end=${end}`)
    if (start < 100n || end > 600n) throw new ConfigError(`${path}[${i}]`, `must lie within 100 to 600`)
    return [Number(start), Number(end)] as const
  })
}

function parseHttp(check: HealthCheck_HttpHealthCheck, context: ParseContext): HealthCheckerData {
  return {
    kind: 'http',
    host: check.host,
    path: check.path,
    method: check.method === RequestMethod.METHOD_UNSPECIFIED ? 'GET' : (RequestMethod[check.method] ?? 'GET'),
    protocol: check.codecClientType === CodecClientType.HTTP2 ? 'http2' : 'http1',
    expected:
      check.expectedStatuses.length > 0
        ? parseStatuses(check.expectedStatuses, context.at('expected_statuses').path)
        : [[200, 201]],
    retriable: parseStatuses(check.retriableStatuses, context.at('retriable_statuses').path),
    headersToAdd: headersOf(check.requestHeadersToAdd, context, 'request_headers_to_add'),
    headersToRemove: check.requestHeadersToRemove.map((name) => name.toLowerCase()),
    send: payload(check.send, context.at('send')),
    receive: check.receive.map((part, i) => payload(part, context.at(`receive[${i}]`))!),
    responseBufferSize: Number(check.responseBufferSize ?? DEFAULT_RESPONSE_BUFFER),
    serviceName: check.serviceNameMatcher
      ? parseStringMatcher(check.serviceNameMatcher, context.at('service_name_matcher').path)
      : null,
  }
}

function headersOf(
  options: readonly HeaderValueOption[],
  context: ParseContext,
  field: string,
): { name: string; value: string }[] {
  return options.map((option, i) => {
    const { name, value } = parseHeaderToAdd(option, context.at(`${field}[${i}]`))
    return { name, value }
  })
}

/** `text` is hexadecimal. */
function payload(message: HealthCheck_Payload | undefined, context: ParseContext): Uint8Array | null {
  const value = message?.payload
  if (value?.case === 'binary') return value.value
  if (value?.case !== 'text') return null
  if (value.value.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(value.value)) {
    throw new ConfigError(context.at('text').path, `invalid hex string '${value.value}'`)
  }
  return Buffer.from(value.value, 'hex')
}
