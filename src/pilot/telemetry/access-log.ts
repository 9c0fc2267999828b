// Access logs of listeners, HTTP connection managers and TCP proxies.
import { create, type JsonObject } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  type AccessLog,
  type AccessLogFilter,
  AccessLogFilterSchema,
  AccessLogSchema,
} from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import type { SubstitutionFormatString } from '../../api/gen/envoy/config/core/v3/substitution_format_string_pb.js'
import { SubstitutionFormatStringSchema } from '../../api/gen/envoy/config/core/v3/substitution_format_string_pb.js'
import { FileAccessLogSchema } from '../../api/gen/envoy/extensions/access_loggers/file/v3/file_pb.js'
import { ExpressionFilterSchema } from '../../api/gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js'
import type { ExtensionProvider, MeshConfig } from '../../config/index.ts'
import { type ProxyNode, runsExtension } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { accessLogService, grpcProviderLog } from './grpc-access-log.ts'
import type { SideTelemetry } from './telemetry.ts'

/** Istio's text line. */
const TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'

const JSON_FORMAT: JsonObject = {
  start_time: '%START_TIME%',
  route_name: '%ROUTE_NAME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  connection_termination_details: '%CONNECTION_TERMINATION_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
}

/** `listener` logs only connections that no filter chain took. */
export type LogPlace = 'http' | 'tcp' | 'listener'

/** The access logs of one place: what Telemetry says, else what MeshConfig says. */
export function buildAccessLogs(
  push: Pick<PushContext, 'mesh' | 'services'>,
  proxy: ProxyNode,
  side: SideTelemetry,
  place: LogPlace,
): AccessLog[] {
  const { mesh } = push
  if (place === 'listener' && mesh.disableEnvoyListenerLog) return []
  // Where Telemetry names nothing that could log, on or off, MeshConfig decides.
  const told = side.accessLogs?.filter(({ provider }) => canLog(push, provider)) ?? []
  if (told.length > 0) {
    const logs: AccessLog[] = []
    for (const { provider, filter, disabled } of told) {
      if (disabled) continue
      const log = providerLog(push, proxy, provider, logFilter(place, filter))
      if (log) logs.push(log)
    }
    return logs
  }
  const logs: AccessLog[] = []
  const filter = logFilter(place, '')
  if (mesh.accessLogFile !== '') logs.push(fileLog(mesh.accessLogFile, meshFormat(mesh), filter))
  if (mesh.enableEnvoyAccessLogService && runsExtension(proxy, 'envoy.access_loggers.http_grpc')) {
    logs.push(accessLogService(place, filter))
  }
  return logs
}

/** A provider of access logs whose service, when it has one, is known. */
function canLog(push: Pick<PushContext, 'services'>, provider: ExtensionProvider): boolean {
  const service = provider.envoyHttpAls ?? provider.envoyTcpAls ?? provider.envoyOtelAls
  return service ? providerHost(push, service.service) !== null : provider.envoyFileAccessLog !== undefined
}

const formats = new WeakMap<MeshConfig, SubstitutionFormatString>()

function meshFormat(mesh: MeshConfig): SubstitutionFormatString {
  let format = formats.get(mesh)
  if (!format) {
    const { accessLogFormat } = mesh
    format =
      mesh.accessLogEncoding === 'JSON'
        ? jsonFormat(accessLogFormat === '' ? JSON_FORMAT : (JSON.parse(accessLogFormat) as JsonObject))
        : textFormat(accessLogFormat)
    formats.set(mesh, format)
  }
  return format
}

const NO_ROUTE_ONLY: AccessLogFilter = create(AccessLogFilterSchema, {
  filterSpecifier: { case: 'responseFlagFilter', value: { flags: ['NR'] } },
})

/** What is logged: listeners only what no chain took, and in any place only what the CEL expression holds for. */
function logFilter(place: LogPlace, expression: string): AccessLogFilter | undefined {
  const cel = expression === '' ? null : celFilter(expression)
  if (place !== 'listener') return cel ?? undefined
  if (!cel) return NO_ROUTE_ONLY
  return create(AccessLogFilterSchema, {
    filterSpecifier: { case: 'andFilter', value: { filters: [NO_ROUTE_ONLY, cel] } },
  })
}

function celFilter(expression: string): AccessLogFilter {
  return create(AccessLogFilterSchema, {
    filterSpecifier: {
      case: 'extensionFilter',
      value: {
        name: 'envoy.access_loggers.extension_filters.cel',
        configType: {
          case: 'typedConfig',
          value: anyPack(ExpressionFilterSchema, create(ExpressionFilterSchema, { expression })),
        },
      },
    },
  })
}

function textFormat(text: string): SubstitutionFormatString {
  const line = text === '' ? TEXT_FORMAT : text.endsWith('\n') ? text : `${text}\n`
  return create(SubstitutionFormatStringSchema, {
    format: { case: 'textFormatSource', value: { specifier: { case: 'inlineString', value: line } } },
  })
}

function jsonFormat(labels: JsonObject): SubstitutionFormatString {
  return create(SubstitutionFormatStringSchema, {
    format: { case: 'jsonFormat', value: labels },
    jsonFormatOptions: { sortProperties: false },
  })
}

function fileLog(path: string, logFormat: SubstitutionFormatString, filter: AccessLogFilter | undefined): AccessLog {
  const config = create(FileAccessLogSchema, { path, accessLogFormat: { case: 'logFormat', value: logFormat } })
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.file',
    filter,
    configType: { case: 'typedConfig', value: anyPack(FileAccessLogSchema, config) },
  })
}

/** The provider that every mesh has; without a format of its own it writes the mesh's. */
const BUILT_IN = 'envoy'

function providerLog(
  push: Pick<PushContext, 'mesh' | 'services'>,
  proxy: ProxyNode,
  provider: ExtensionProvider,
  filter: AccessLogFilter | undefined,
): AccessLog | null {
  const file = provider.envoyFileAccessLog
  if (file) {
    if (provider.name === BUILT_IN && !file.logFormat && !file.omitEmptyValues) {
      return fileLog(file.path || '/dev/stdout', meshFormat(push.mesh), filter)
    }
    const labels = file.logFormat?.labels
    const format = labels ? jsonFormat(labels as JsonObject) : textFormat(file.logFormat?.text ?? '')
    if (file.omitEmptyValues) format.omitEmptyValues = true
    return fileLog(file.path || '/dev/stdout', format, filter)
  }
  return grpcProviderLog(push, proxy, provider, TEXT_FORMAT, filter)
}
