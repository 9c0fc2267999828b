// Access logs that leave the proxy over gRPC: Envoy's access log service and OpenTelemetry collectors.
import { create, type JsonObject, type JsonValue, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  type AccessLog,
  type AccessLogFilter,
  AccessLogSchema,
} from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { ApiVersion } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type CommonGrpcAccessLogConfigSchema,
  HttpGrpcAccessLogConfigSchema,
  TcpGrpcAccessLogConfigSchema,
} from '../../api/gen/envoy/extensions/access_loggers/grpc/v3/als_pb.js'
import { OpenTelemetryAccessLogConfigSchema } from '../../api/gen/envoy/extensions/access_loggers/open_telemetry/v3/logs_service_pb.js'
import { type AnyValue, AnyValueSchema } from '../../api/gen/opentelemetry/proto/common/v1/common_pb.js'
import type { ExtensionProvider } from '../../config/index.ts'
import { type ProxyNode, runsExtension } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { outboundClusterName } from '../xds/names.ts'

/** Who the peers are, as metadata exchange learned it; the older names beside the newer ones. */
const PEERS = ['upstream_peer', 'downstream_peer']
const ALL_PEERS = [
  ...PEERS,
  'wasm.upstream_peer',
  'wasm.upstream_peer_id',
  'wasm.downstream_peer',
  'wasm.downstream_peer_id',
]
/** Static cluster that the agent's bootstrap makes from ProxyConfig.envoyAccessLogService. */
const SERVICE_CLUSTER = 'envoy_accesslog_service'

const HTTP = 'envoy.access_loggers.http_grpc'
const TCP = 'envoy.access_loggers.tcp_grpc'
/** istiod's name for it; Envoy goes by the type. */
const TCP_NAME = 'envoy.tcp_grpc_access_log'
const OPEN_TELEMETRY = 'envoy.access_loggers.open_telemetry'

type Common = MessageInitShape<typeof CommonGrpcAccessLogConfigSchema>

function common(
  logName: string,
  clusterName: string,
  authority: string,
  filterStateObjectsToLog: readonly string[],
): Common {
  return {
    logName,
    transportApiVersion: ApiVersion.V3,
    grpcService: { targetSpecifier: { case: 'envoyGrpc', value: { clusterName, authority } } },
    filterStateObjectsToLog: [...filterStateObjectsToLog],
  }
}

function httpLog(
  commonConfig: Common,
  provider: ExtensionProvider['envoyHttpAls'],
  filter?: AccessLogFilter,
): AccessLog {
  const config = create(HttpGrpcAccessLogConfigSchema, {
    commonConfig,
    additionalRequestHeadersToLog: [...(provider?.additionalRequestHeadersToLog ?? [])],
    additionalResponseHeadersToLog: [...(provider?.additionalResponseHeadersToLog ?? [])],
    additionalResponseTrailersToLog: [...(provider?.additionalResponseTrailersToLog ?? [])],
  })
  return create(AccessLogSchema, {
    name: HTTP,
    filter,
    configType: { case: 'typedConfig', value: anyPack(HttpGrpcAccessLogConfigSchema, config) },
  })
}

function tcpLog(commonConfig: Common, filter?: AccessLogFilter): AccessLog {
  const config = create(TcpGrpcAccessLogConfigSchema, { commonConfig })
  return create(AccessLogSchema, {
    name: TCP_NAME,
    filter,
    configType: { case: 'typedConfig', value: anyPack(TcpGrpcAccessLogConfigSchema, config) },
  })
}

/** MeshConfig.enableEnvoyAccessLogService: to the service that the bootstrap names. */
export function accessLogService(place: 'http' | 'tcp' | 'listener', filter?: AccessLogFilter): AccessLog {
  if (place === 'http')
    return httpLog(common('http_envoy_accesslog', SERVICE_CLUSTER, '', ALL_PEERS), undefined, filter)
  const name = place === 'listener' ? 'listener_envoy_accesslog' : 'tcp_envoy_accesslog'
  return tcpLog(common(name, SERVICE_CLUSTER, '', ALL_PEERS), filter)
}

/**
 * The log of a provider, in whatever place; null for providers of other kinds, for services that nobody knows, and for
 * proxies that cannot write it.
 */
export function grpcProviderLog(
  push: Pick<PushContext, 'services'>,
  proxy: ProxyNode,
  provider: ExtensionProvider,
  textFormat: string,
  filter?: AccessLogFilter,
): AccessLog | null {
  const { envoyHttpAls: http, envoyTcpAls: tcp, envoyOtelAls: otel } = provider
  const target = http ?? tcp ?? otel
  if (!target) return null
  if (!runsExtension(proxy, http ? HTTP : tcp ? TCP : OPEN_TELEMETRY)) return null
  const host = providerHost(push, target.service)
  if (host === null) return null
  const cluster = outboundClusterName(target.port, '', host)
  if (otel) return openTelemetryLog(otel, cluster, host, textFormat, filter)
  const named = (http ?? tcp)!
  const objects = named.filterStateObjectsToLog?.length ? named.filterStateObjectsToLog : PEERS
  return http
    ? httpLog(common(http.logName || 'http_envoy_accesslog', cluster, host, objects), http, filter)
    : tcpLog(common(named.logName || 'tcp_envoy_accesslog', cluster, host, objects), filter)
}

function openTelemetryLog(
  provider: NonNullable<ExtensionProvider['envoyOtelAls']>,
  cluster: string,
  host: string,
  textFormat: string,
  filter?: AccessLogFilter,
): AccessLog {
  const { text, labels } = provider.logFormat ?? {}
  const attributes = Object.entries((labels as JsonObject | undefined) ?? {})
  const config = create(OpenTelemetryAccessLogConfigSchema, {
    commonConfig: common(provider.logName || 'otel_envoy_accesslog', cluster, host, ALL_PEERS),
    disableBuiltinLabels: true,
    body: anyValue(text || textFormat),
    attributes:
      attributes.length > 0
        ? { values: attributes.map(([key, value]) => ({ key, value: anyValue(value) })) }
        : undefined,
  })
  return create(AccessLogSchema, {
    name: OPEN_TELEMETRY,
    filter,
    configType: { case: 'typedConfig', value: anyPack(OpenTelemetryAccessLogConfigSchema, config) },
  })
}

/** Attributes are texts for the proxy's formatter; lists and objects keep their form. */
function anyValue(value: JsonValue): AnyValue {
  const of = (init: MessageInitShape<typeof AnyValueSchema>): AnyValue => create(AnyValueSchema, init)
  if (Array.isArray(value)) return of({ value: { case: 'arrayValue', value: { values: value.map(anyValue) } } })
  switch (typeof value) {
    case 'string':
      return of({ value: { case: 'stringValue', value } })
    case 'boolean':
      return of({ value: { case: 'boolValue', value } })
    case 'number':
      return of({ value: { case: 'doubleValue', value } })
    default: {
      const values = Object.entries(value ?? {}).map(([key, inner]) => ({ key, value: anyValue(inner) }))
      return of({ value: { case: 'kvlistValue', value: { values } } })
    }
  }
}
