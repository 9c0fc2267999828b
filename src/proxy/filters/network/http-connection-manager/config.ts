// envoy.filters.network.http_connection_manager: its message → the connection manager's plain data.

import type { CidrRange } from '../../../../api/gen/envoy/config/core/v3/address_pb.js'
import type { SubstitutionFormatString } from '../../../../api/gen/envoy/config/core/v3/substitution_format_string_pb.js'
import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManager_ForwardClientCertDetails as ForwardClientCert,
  type HttpConnectionManager,
  type HttpConnectionManager_ProxyStatusConfig,
  HttpConnectionManagerSchema,
  type HttpFilter,
  type LocalReplyConfig as LocalReplyMessage,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
} from '../../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { UuidRequestIdConfigSchema } from '../../../../api/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js'
import { type Cidr, parseCidr } from '../../../../base/cidr.ts'
import { ConfigError } from '../../../../base/errors.ts'
import { readDataSource } from '../../../config/data-source.ts'
import { parseDiscovery } from '../../../config/discovery.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import type {
  BodyFormat,
  HcmConfig,
  HttpFilterConfig,
  LocalReplyConfig,
  ProxyStatusConfig,
  UpgradeConfig,
} from '../../../http/connection-manager/config.ts'
import { parseCommonHttpOptions, parseHttp1Options, parseHttp2Options } from '../../../http/parse-options.ts'
import { parseAccessLog } from '../../../observe/access-log-config.ts'
import { parseLogFilter } from '../../../observe/access-log-filter.ts'
import { parseTracing } from '../../../observe/tracing/parse.ts'
import { parseRouteConfiguration } from '../../../route/parse.ts'
import { parseHeaderMutations } from '../../../route/parse-common.ts'
import { parseLogFormat } from '../../access-loggers/log-format.ts'
import { parseEarlyHeaderMutations, parseIpDetection } from './request-extensions.ts'

const FIELDS = new Set([
  'codec_type', 'stat_prefix', 'rds', 'route_config', 'http_filters', 'add_user_agent', 'tracing',
  'common_http_protocol_options', 'http_protocol_options', 'http2_protocol_options', 'server_name',
  'server_header_transformation', 'scheme_header_transformation', 'max_request_headers_kb', 'stream_idle_timeout', 'stream_flush_timeout',
  'request_timeout', 'request_headers_timeout', 'drain_timeout', 'delayed_close_timeout', 'access_log',
  'access_log_flush_interval', 'flush_access_log_on_new_request', 'access_log_options', 'use_remote_address',
  'xff_num_trusted_hops', 'internal_address_config', 'skip_xff_append', 'via', 'generate_request_id',
  'preserve_external_request_id', 'always_set_request_id_in_response', 'forward_client_cert_details',
  'set_current_client_cert_details', 'proxy_100_continue', 'represent_ipv4_remote_address_as_ipv4_mapped_ipv6',
  'upgrade_configs', 'normalize_path', 'merge_slashes', 'path_with_escaped_slashes_action', 'request_id_extension',
  'local_reply_config', 'strip_matching_host_port', 'strip_any_host_port', 'stream_error_on_invalid_http_message',
  'strip_trailing_host_dot', 'append_x_forwarded_port', 'original_ip_detection_extensions',
  'early_header_mutation_extensions', 'proxy_status_config', 'append_local_overload',
  'add_proxy_protocol_connection_state', 'http1_safe_max_connection_duration', 'drain_timeout_jitter',
]) // biome-ignore format: one list

const MINUTE_MS = 60_000

/** Throws ConfigError naming the field for anything Envoy refuses or this proxy cannot do. */
export function parseHttpConnectionManager(message: HttpConnectionManager, context: ParseContext): HcmConfig {
  refuseUnsupported(HttpConnectionManagerSchema, message, FIELDS, context.path)
  if (message.addProxyProtocolConnectionState === false)
    throw new ConfigError(
      context.at('add_proxy_protocol_connection_state').path,
      'false is not supported by this proxy: PROXY headers to upstreams tell of the client; remove the field',
    )
  if (message.commonHttpProtocolOptions?.maxResponseHeadersKb !== undefined)
    throw new ConfigError(
      context.at('common_http_protocol_options.max_response_headers_kb').path,
      "cannot be set on a connection manager: responses are the clusters' matter; remove the field",
    )
  if ((message.http2ProtocolOptions?.maxHeaderFieldSizeKb ?? 0) > (message.maxRequestHeadersKb ?? 60))
    throw new ConfigError(
      context.at('http2_protocol_options.max_header_field_size_kb').path,
      'max_header_field_size_kb must not exceed max_request_headers_kb',
    )
  const log = message.accessLogOptions
  return {
    statPrefix: message.statPrefix,
    codecType: parseCodecType(message.codecType, context),
    ...parseRoutes(message, context),
    filters: parseHttpFilters(message.httpFilters, context, 'http_filters'),
    upgrades: parseUpgrades(message, context),
    accessLogs: message.accessLog.map((entry, i) => parseAccessLog(entry, context.at(`access_log[${i}]`))),
    accessLogOnNewRequest: log?.flushAccessLogOnNewRequest || message.flushAccessLogOnNewRequest,
    accessLogIntervalMs: durationMsOr(log?.accessLogFlushInterval ?? message.accessLogFlushInterval, 0),
    accessLogOnTunnel: log?.flushLogOnTunnelSuccessfullyEstablished ?? false,
    common: parseCommonHttpOptions(message.commonHttpProtocolOptions),
    http1: parseHttp1Options(message.httpProtocolOptions, context.at('http_protocol_options').path),
    http2: parseHttp2Options(message.http2ProtocolOptions),
    serverName: message.serverName || 'envoy',
    serverHeader:
      message.serverHeaderTransformation === ServerHeader.PASS_THROUGH
        ? 'PASS_THROUGH'
        : message.serverHeaderTransformation === ServerHeader.APPEND_IF_ABSENT
          ? 'APPEND_IF_ABSENT'
          : 'OVERWRITE',
    schemeOverwrite:
      message.schemeHeaderTransformation?.transformation.case === 'schemeToOverwrite'
        ? message.schemeHeaderTransformation.transformation.value
        : '',
    schemeMatchUpstream: message.schemeHeaderTransformation?.matchUpstream ?? false,
    proxyStatus: message.proxyStatusConfig ? parseProxyStatus(message.proxyStatusConfig) : null,
    appendLocalOverload: message.appendLocalOverload,
    http1SafeMaxConnectionDuration: message.http1SafeMaxConnectionDuration,
    maxRequestHeadersKb: message.maxRequestHeadersKb ?? 60,
    streamIdleTimeoutMs: durationMsOr(message.streamIdleTimeout, 5 * MINUTE_MS),
    streamFlushTimeoutMs: durationMsOr(message.streamFlushTimeout ?? message.streamIdleTimeout, 5 * MINUTE_MS),
    requestTimeoutMs: durationMsOr(message.requestTimeout, 0),
    requestHeadersTimeoutMs: durationMsOr(message.requestHeadersTimeout, 0),
    drainTimeoutMs: durationMsOr(message.drainTimeout, 5000),
    drainTimeoutJitterPercent: message.drainTimeoutJitter?.value ?? 0,
    delayedCloseTimeoutMs: durationMsOr(message.delayedCloseTimeout, 1000),
    useRemoteAddress: message.useRemoteAddress ?? false,
    xffTrustedHops: message.xffNumTrustedHops,
    skipXffAppend: message.skipXffAppend,
    ipDetection: parseIpDetection(message, context),
    earlyHeaderMutations: parseEarlyHeaderMutations(message, context),
    internalAddresses: message.internalAddressConfig
      ? {
          ranges: parseRanges(message.internalAddressConfig.cidrRanges, context),
          unixSockets: message.internalAddressConfig.unixSockets,
        }
      : null,
    via: message.via,
    addUserAgent: message.addUserAgent ?? false,
    generateRequestId: message.generateRequestId ?? true,
    preserveExternalRequestId: message.preserveExternalRequestId,
    alwaysSetRequestIdInResponse: message.alwaysSetRequestIdInResponse,
    ...parseRequestId(message, context),
    forwardClientCert: FORWARD[message.forwardClientCertDetails],
    clientCertDetails: {
      subject: message.setCurrentClientCertDetails?.subject ?? false,
      cert: message.setCurrentClientCertDetails?.cert ?? false,
      chain: message.setCurrentClientCertDetails?.chain ?? false,
      dns: message.setCurrentClientCertDetails?.dns ?? false,
      uri: message.setCurrentClientCertDetails?.uri ?? false,
    },
    proxy100Continue: message.proxy100Continue,
    path: {
      normalize: message.normalizePath ?? false,
      mergeSlashes: message.mergeSlashes,
      escapedSlashes: ESCAPED[message.pathWithEscapedSlashesAction],
    },
    stripPort: message.stripMatchingHostPort ? 'matching' : message.stripPortMode.value ? 'any' : 'none',
    stripTrailingHostDot: message.stripTrailingHostDot,
    streamErrorOnInvalidMessage: message.streamErrorOnInvalidHttpMessage ?? false,
    appendXForwardedPort: message.appendXForwardedPort,
    ipv4MappedIpv6: message.representIpv4RemoteAddressAsIpv4MappedIpv6,
    localReply: message.localReplyConfig
      ? parseLocalReply(message.localReplyConfig, context.at('local_reply_config'))
      : null,
    tracing: message.tracing ? parseTracing(message.tracing, context.at('tracing')) : null,
  }
}

const FORWARD = {
  [ForwardClientCert.SANITIZE]: 'SANITIZE',
  [ForwardClientCert.FORWARD_ONLY]: 'FORWARD_ONLY',
  [ForwardClientCert.APPEND_FORWARD]: 'APPEND_FORWARD',
  [ForwardClientCert.SANITIZE_SET]: 'SANITIZE_SET',
  [ForwardClientCert.ALWAYS_FORWARD_ONLY]: 'ALWAYS_FORWARD_ONLY',
} as const

const ESCAPED = {
  [EscapedSlashes.IMPLEMENTATION_SPECIFIC_DEFAULT]: 'KEEP_UNCHANGED',
  [EscapedSlashes.KEEP_UNCHANGED]: 'KEEP_UNCHANGED',
  [EscapedSlashes.REJECT_REQUEST]: 'REJECT_REQUEST',
  [EscapedSlashes.UNESCAPE_AND_REDIRECT]: 'UNESCAPE_AND_REDIRECT',
  [EscapedSlashes.UNESCAPE_AND_FORWARD]: 'UNESCAPE_AND_FORWARD',
} as const

function parseCodecType(type: CodecType, context: ParseContext): HcmConfig['codecType'] {
  switch (type) {
    case CodecType.HTTP1:
      return 'HTTP1'
    case CodecType.HTTP2:
      return 'HTTP2'
    case CodecType.HTTP3:
      throw new ConfigError(context.at('codec_type').path, 'HTTP3 is not supported by this proxy')
    default:
      return 'AUTO'
  }
}

function parseRoutes(
  message: HttpConnectionManager,
  context: ParseContext,
): Pick<HcmConfig, 'rdsName' | 'routeConfig'> {
  const routes = message.routeSpecifier
  if (routes.case === 'rds') {
    if (routes.value.routeConfigName === '')
      throw new ConfigError(context.at('rds.route_config_name').path, 'is required')
    context.needsRoute(routes.value.routeConfigName, {
      source: routes.value.configSource,
      statPrefix: message.statPrefix,
    })
    return { rdsName: routes.value.routeConfigName, routeConfig: null }
  }
  if (routes.case !== 'routeConfig') throw new ConfigError(context.path, 'one of rds, route_config is required')
  const routeConfig = parseRouteConfiguration(routes.value, context.at('route_config'))
  // Routes within a listener name clusters that are there, unless they say otherwise; those of RDS may be early.
  if (routeConfig.validateClusters ?? true)
    for (const name of routeConfig.clusters) context.needsCluster(name, context.at('route_config').path)
  return { rdsName: null, routeConfig }
}

/** One chain: the last filter, and only that, must be terminal. */
function parseHttpFilters(filters: readonly HttpFilter[], context: ParseContext, field: string): HttpFilterConfig[] {
  const parsed = filters.map((filter, i): HttpFilterConfig => {
    const at = context.at(`${field}[${i}]`)
    const { name, disabled, configType } = filter
    if (configType.case === 'configDiscovery') {
      const fallback = parseDiscovery('http_filter', configType.value, name, at.at('config_discovery'))
      return { name, filter: fallback, discovered: true, disabled }
    }
    const parsed = at.at('typed_config').parseAny('http_filter', configType.value, name)
    return { name, filter: parsed, discovered: false, disabled }
  })
  const last = parsed.findIndex(({ filter, discovered }) => !discovered && filter?.typeUrl === ROUTER)
  if (parsed.length === 0 || last < 0) {
    const name = parsed.at(-1)?.name ?? ''
    throw new ConfigError(
      context.at(field).path,
      `the last filter must be terminal (envoy.filters.http.router)${name ? `, not ${name}` : ''}`,
    )
  }
  if (last !== parsed.length - 1)
    throw new ConfigError(context.at(`${field}[${last}]`).path, 'a terminal filter must be the last one')
  return parsed
}

const ROUTER = 'envoy.extensions.filters.http.router.v3.Router'

function parseUpgrades(message: HttpConnectionManager, context: ParseContext): UpgradeConfig[] {
  const types = message.upgradeConfigs.map((upgrade) => upgrade.upgradeType.toLowerCase())
  const twice = types.find((type, i) => types.indexOf(type) !== i)
  if (twice !== undefined)
    throw new ConfigError(
      context.at('upgrade_configs').path,
      `Error: multiple upgrade configs with the same name: '${twice}'`,
    )
  return message.upgradeConfigs.map((upgrade, i) => ({
    type: upgrade.upgradeType.toLowerCase(),
    enabled: upgrade.enabled ?? true,
    filters:
      upgrade.filters.length > 0 ? parseHttpFilters(upgrade.filters, context, `upgrade_configs[${i}].filters`) : null,
  }))
}

function parseRanges(ranges: readonly CidrRange[], context: ParseContext): Cidr[] {
  // The message without ranges means the private ones.
  const list = ranges.length > 0 ? ranges : [...PRIVATE]
  return list.map((range, i) => {
    const parsed = parseCidr(range.addressPrefix, range.prefixLen ?? 0)
    if (!parsed)
      throw new ConfigError(context.at(`internal_address_config.cidr_ranges[${i}]`).path, 'malformed IP range')
    return parsed
  })
}

/** RFC 1918, RFC 4193 and loopback. */
const PRIVATE = [
  { addressPrefix: '10.0.0.0', prefixLen: 8 },
  { addressPrefix: '172.16.0.0', prefixLen: 12 },
  { addressPrefix: '192.168.0.0', prefixLen: 16 },
  { addressPrefix: '127.0.0.1', prefixLen: 32 },
  { addressPrefix: 'fd00::', prefixLen: 8 },
  { addressPrefix: '::1', prefixLen: 128 },
] as const

function parseRequestId(
  message: HttpConnectionManager,
  context: ParseContext,
): Pick<HcmConfig, 'packTraceReason' | 'useRequestIdForTraceSampling'> {
  const any = message.requestIdExtension?.typedConfig
  const uuid = any ? context.at('request_id_extension.typed_config').unpack(any, UuidRequestIdConfigSchema) : undefined
  return {
    packTraceReason: uuid?.packTraceReason ?? true,
    useRequestIdForTraceSampling: uuid?.useRequestIdForTraceSampling ?? true,
  }
}

function parseProxyStatus(message: HttpConnectionManager_ProxyStatusConfig): ProxyStatusConfig {
  const { proxyName } = message
  const literal = proxyName.case === 'literalProxyName' ? proxyName.value : 'envoy'
  return {
    name: proxyName.case === 'useNodeId' && proxyName.value ? '' : literal,
    details: !message.removeDetails,
    connectionTerminationDetails: !message.removeConnectionTerminationDetails,
    responseFlags: !message.removeResponseFlags,
    setRecommendedResponseCode: message.setRecommendedResponseCode,
  }
}

function parseLocalReply(message: LocalReplyMessage, context: ParseContext): LocalReplyConfig {
  return {
    bodyFormat: message.bodyFormat ? parseBodyFormat(message.bodyFormat, context.at('body_format').path) : null,
    mappers: message.mappers.map((mapper, i) => {
      const at = context.at(`mappers[${i}]`)
      return {
        filter: parseLogFilter(mapper.filter!, at.at('filter')),
        status: mapper.statusCode ?? 0,
        body: mapper.body ? readDataSource(mapper.body, at.at('body').path).toString('latin1') : null,
        bodyFormat: mapper.bodyFormatOverride
          ? parseBodyFormat(mapper.bodyFormatOverride, at.at('body_format_override').path)
          : null,
        headersToAdd: parseHeaderMutations(mapper.headersToAdd, [], 'response', at) ?? { add: [], remove: [] },
      }
    }),
  }
}

function parseBodyFormat(format: SubstitutionFormatString, path: string): BodyFormat {
  return { format: parseLogFormat(format, path), contentType: format.contentType }
}
