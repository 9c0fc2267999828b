// envoy.filters.network.tcp_proxy's configuration → plain data (envoy-contract §9.1).

import {
  type TcpProxy,
  TcpProxy_TcpAccessLogOptionsSchema,
  type TcpProxy_TunnelingConfig,
  TcpProxySchema,
} from '../../../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { HashPolicySchema } from '../../../../api/gen/envoy/type/v3/hash_policy_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { ParseContext, ParsedExtension } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { parseAccessLog } from '../../../observe/access-log-config.ts'
import type { HeaderToAddData } from '../../../route/config.ts'
import { checkHeaderFormat } from '../../../route/header-mutation.ts'
import { parseHeaderToAdd, parseLbMetadata } from '../../../route/parse-common.ts'

export interface TcpClusterConfig {
  readonly name: string
  readonly weight: number
  /** Under `envoy.lb`, merged over the filter's. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | null
}

/** tunneling_config. */
export interface TunnelingConfig {
  /** A substitution format for :authority. */
  readonly hostname: string
  readonly usePost: boolean
  readonly postPath: string
  readonly headersToAdd: readonly HeaderToAddData[]
  readonly propagateResponseHeaders: boolean
  readonly propagateResponseTrailers: boolean
}

export interface TcpProxyConfig {
  readonly statPrefix: string
  /** One entry, or several that are drawn by weight. */
  readonly clusters: readonly TcpClusterConfig[]
  readonly totalWeight: number
  readonly hashPolicy: { readonly kind: 'source_ip' } | { readonly kind: 'filter_state'; readonly key: string } | null
  /** 0 = never. */
  readonly idleTimeoutMs: number
  readonly maxConnectAttempts: number
  /** Waits between attempts; null = none. */
  readonly backoff: { readonly baseMs: number; readonly maxMs: number } | null
  /** null = no limit. */
  readonly maxConnectionDurationMs: number | null
  /** Percent of it that chance adds. */
  readonly maxDurationJitterPercent: number
  readonly accessLogs: readonly ParsedExtension[]
  readonly logOnConnected: boolean
  readonly logOnStart: boolean
  /** 0 = only at the end. */
  readonly logIntervalMs: number
  /** null = raw TCP. */
  readonly tunneling: TunnelingConfig | null
}

const FIELDS = new Set([
  'stat_prefix',
  'cluster',
  'weighted_clusters',
  'metadata_match',
  'idle_timeout',
  'access_log',
  'max_connect_attempts',
  'hash_policy',
  'max_downstream_connection_duration',
  'max_downstream_connection_duration_jitter_percentage',
  'backoff_options',
  'tunneling_config',
  'access_log_flush_interval',
  'flush_access_log_on_connected',
  'access_log_options',
])
const DEFAULT_IDLE_TIMEOUT_MS = 3_600_000

/** Throws ConfigError; on-demand clusters are refused. */
export function parseTcpProxy(message: TcpProxy, context: ParseContext): TcpProxyConfig {
  refuseUnsupported(TcpProxySchema, message, FIELDS, context.path)
  const metadataMatch = parseLbMetadata(message.metadataMatch)
  const clusters = parseClusters(message, metadataMatch, context)
  const options = message.accessLogOptions
  if (options)
    refuseUnsupported(
      TcpProxy_TcpAccessLogOptionsSchema,
      options,
      new Set(['access_log_flush_interval', 'flush_access_log_on_connected', 'flush_access_log_on_start']),
      context.at('access_log_options').path,
    )
  return {
    statPrefix: message.statPrefix,
    clusters,
    totalWeight: clusters.reduce((sum, cluster) => sum + cluster.weight, 0),
    hashPolicy: parseHashPolicy(message, context),
    idleTimeoutMs: durationMsOr(message.idleTimeout, DEFAULT_IDLE_TIMEOUT_MS),
    maxConnectAttempts: message.maxConnectAttempts ?? 1,
    backoff: parseBackoff(message),
    maxConnectionDurationMs: durationMsOr(message.maxDownstreamConnectionDuration, null),
    accessLogs: message.accessLog.map((log, i) => parseAccessLog(log, context.at(`access_log[${i}]`))),
    maxDurationJitterPercent: message.maxDownstreamConnectionDurationJitterPercentage?.value ?? 0,
    logOnStart: options?.flushAccessLogOnStart ?? false,
    logOnConnected: options?.flushAccessLogOnConnected ?? message.flushAccessLogOnConnected,
    logIntervalMs: durationMsOr(options?.accessLogFlushInterval ?? message.accessLogFlushInterval, 0),
    tunneling: message.tunnelingConfig ? parseTunneling(message.tunnelingConfig, context.at('tunneling_config')) : null,
  }
}

/** The largest wait is ten times the first unless given. */
function parseBackoff(message: TcpProxy): TcpProxyConfig['backoff'] {
  const options = message.backoffOptions
  if (!options) return null
  const baseMs = durationMsOr(options.baseInterval, 0)
  return { baseMs, maxMs: durationMsOr(options.maxInterval, baseMs * 10) }
}

function parseTunneling(message: TcpProxy_TunnelingConfig, context: ParseContext): TunnelingConfig {
  if (message.postPath !== '' && !message.usePost)
    throw new ConfigError(context.at('post_path').path, "Can't set a post path when POST method isn't used")
  if (message.postPath !== '' && !message.postPath.startsWith('/'))
    throw new ConfigError(context.at('post_path').path, 'must begin with /')
  checkHeaderFormat(message.hostname, context.at('hostname').path)
  return {
    hostname: message.hostname,
    usePost: message.usePost,
    postPath: message.postPath || '/',
    headersToAdd: message.headersToAdd.map((option, i) => parseHeaderToAdd(option, context.at(`headers_to_add[${i}]`))),
    propagateResponseHeaders: message.propagateResponseHeaders,
    propagateResponseTrailers: message.propagateResponseTrailers,
  }
}

function parseClusters(
  message: TcpProxy,
  metadataMatch: TcpClusterConfig['metadataMatch'],
  context: ParseContext,
): TcpClusterConfig[] {
  const specifier = message.clusterSpecifier
  if (specifier.case === 'cluster') return [{ name: specifier.value, weight: 1, metadataMatch }]
  if (specifier.case !== 'weightedClusters') throw new ConfigError(context.path, 'needs cluster or weighted_clusters')
  return specifier.value.clusters.map((cluster) => {
    const own = parseLbMetadata(cluster.metadataMatch)
    return {
      name: cluster.name,
      weight: cluster.weight,
      metadataMatch: own ? { ...metadataMatch, ...own } : metadataMatch,
    }
  })
}

function parseHashPolicy(message: TcpProxy, context: ParseContext): TcpProxyConfig['hashPolicy'] {
  const policy = message.hashPolicy[0]
  if (!policy) return null
  const at = context.at('hash_policy[0]').path
  refuseUnsupported(HashPolicySchema, policy, new Set(['source_ip', 'filter_state']), at)
  if (policy.policySpecifier.case === 'filterState')
    return { kind: 'filter_state', key: policy.policySpecifier.value.key }
  if (policy.policySpecifier.case === 'sourceIp') return { kind: 'source_ip' }
  throw new ConfigError(at, 'needs source_ip or filter_state')
}
