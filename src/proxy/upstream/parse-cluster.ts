// Cluster → plain data: the one place that validates clusters.

import {
  type CircuitBreakers_Thresholds,
  CircuitBreakers_ThresholdsSchema,
  CircuitBreakers_Thresholds_RetryBudgetSchema as RetryBudgetSchema,
} from '../../api/gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import {
  type Cluster,
  Cluster_DiscoveryType,
  ClusterSchema,
  UpstreamConnectionOptions_FirstAddressFamilyVersion as FirstFamily,
  UpstreamConnectionOptionsSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { BindConfig } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import { RoutingPriority } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ClusterConfigSchema as AggregateConfigSchema } from '../../api/gen/envoy/extensions/clusters/aggregate/v3/cluster_pb.js'
import { ClusterConfigSchema as ForwardProxyConfigSchema } from '../../api/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js'
import { TcpProtocolOptionsSchema } from '../../api/gen/envoy/extensions/upstreams/tcp/v3/tcp_protocol_options_pb.js'
import { typeNameOf } from '../../api/registry.ts'
import { ConfigError } from '../../base/errors.ts'
import { durationMs, durationMsOr } from '../config/duration.ts'
import type { ParseContext, ParsedExtension } from '../config/extension.ts'
import { metadataPath } from '../config/metadata-key.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { ipAddress } from '../network/address.ts'
import type { Address } from '../network/connection.ts'
import { ANY_FAMILY, type FamilyOrder } from '../network/happy-eyeballs.ts'
import type { SocketOption } from '../network/socket-options.ts'
import { createSharedCounts, DEFAULT_BUDGET_PERCENT, DEFAULT_MIN_CONCURRENCY } from './circuit-breakers.ts'
import {
  type CircuitBreakersData,
  type ClusterData,
  type DnsData,
  type HealthCheckData,
  HealthStatus,
  type HttpProtocolData,
  type OriginalDstData,
  type ThresholdsData,
  type TransportSocketMatchData,
} from './config.ts'
import { lookupFamilyOf, parseDnsResolver } from './dns/parse-resolver.ts'
import { type DynamicForwardProxyData, parseDynamicForwardProxy } from './dynamic-forward-proxy/config.ts'
import { parseOutlierDetection } from './outlier/config.ts'
import { healthStatusOf, metadataOf, parseEndpoints } from './parse-endpoints.ts'
import { parseHealthCheck } from './parse-health-check.ts'
import { HTTP_PROTOCOL_OPTIONS, parseHttpProtocol, upstreamHttpOptions } from './parse-http-options.ts'
import { parseLoadBalancing } from './parse-lb.ts'

const SUPPORTED: ReadonlySet<string> = new Set([
  'transport_socket_matches', 'name', 'alt_stat_name', 'type', 'cluster_type', 'eds_cluster_config', 'connect_timeout',
  'per_connection_buffer_limit_bytes', 'lb_policy', 'load_assignment', 'health_checks', 'max_requests_per_connection',
  'circuit_breakers', 'upstream_http_protocol_options', 'common_http_protocol_options', 'http_protocol_options', 'http2_protocol_options',
  'typed_extension_protocol_options', 'dns_refresh_rate', 'dns_failure_refresh_rate', 'respect_dns_ttl', 'dns_lookup_family',
  'dns_resolvers', 'dns_resolution_config', 'typed_dns_resolver_config', 'dns_jitter', 'wait_for_warm_on_init',
  'outlier_detection', 'cleanup_interval', 'upstream_bind_config', 'lb_subset_config', 'ring_hash_lb_config',
  'maglev_lb_config', 'original_dst_lb_config', 'least_request_lb_config', 'round_robin_lb_config', 'common_lb_config',
  'transport_socket', 'metadata', 'protocol_selection', 'upstream_connection_options',
  'close_connections_on_host_health_failure', 'ignore_health_on_host_removal', 'filters', 'load_balancing_policy',
  'preconnect_policy', 'track_cluster_stats', 'track_timeout_budgets', 'connection_pool_per_downstream_connection',
]) // biome-ignore format: one list

const TCP_PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions'
const ANY_BUT_UNHEALTHY = [HealthStatus.Unknown, HealthStatus.Healthy, HealthStatus.Degraded] as const
const DEFAULT_CONNECT_TIMEOUT_MS = 5000
const DEFAULT_BUFFER_LIMIT = 1024 * 1024
const DEFAULT_TCP_IDLE_MS = 600_000
const DEFAULT_DNS_REFRESH_MS = 5000
const DEFAULT_CLEANUP_MS = 5000
const DEFAULT_PANIC_THRESHOLD = 50
/** Longest delay a Node timer can hold; longer intervals never come to pass anyway. */
const MAX_TIMER_MS = 0x7fffffff

const TYPES = {
  [Cluster_DiscoveryType.STATIC]: 'STATIC',
  [Cluster_DiscoveryType.STRICT_DNS]: 'STRICT_DNS',
  [Cluster_DiscoveryType.LOGICAL_DNS]: 'LOGICAL_DNS',
  [Cluster_DiscoveryType.EDS]: 'EDS',
  [Cluster_DiscoveryType.ORIGINAL_DST]: 'ORIGINAL_DST',
} as const

function parseHealthChecks(
  cluster: Cluster,
  selection: HttpProtocolData['selection'],
  context: ParseContext,
): HealthCheckData[] {
  return cluster.healthChecks.map((check, i) => {
    const at = context.at(`health_checks[${i}]`)
    if (check.healthChecker.case === 'grpcHealthCheck' && selection === 'http1')
      throw new ConfigError(at.path, `${cluster.name} cluster must support HTTP/2 for gRPC healthchecking`)
    return parseHealthCheck(check, at)
  })
}

/** Throws ConfigError naming the field for anything Envoy refuses or this proxy cannot do. validate.rules are checked before. */
export function parseCluster(cluster: Cluster, context: ParseContext): ClusterData {
  refuseUnsupported(ClusterSchema, cluster, SUPPORTED, context.path)
  const { type, aggregateClusters, dynamicForwardProxy } = parseType(cluster, context)
  const lb = parseLoadBalancing(cluster, context)
  checkLbPolicy(cluster.name, type, lb.policy.kind, context)
  const common = cluster.commonLbConfig
  const dns = type === 'STRICT_DNS' || type === 'LOGICAL_DNS'
  const endpoints = cluster.loadAssignment
    ? parseEndpoints(cluster.loadAssignment, dns, context.at('load_assignment'))
    : null
  if (type === 'LOGICAL_DNS' && endpoints?.localities.reduce((n, group) => n + group.endpoints.length, 0) !== 1) {
    throw new ConfigError(
      context.at('load_assignment').path,
      'LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint',
    )
  }
  if (endpoints && (type === 'EDS' || type === 'ORIGINAL_DST')) {
    throw new ConfigError(context.at('load_assignment').path, `${type} clusters take no load_assignment`)
  }
  const http = parseHttpProtocol(cluster, context, dynamicForwardProxy !== null)
  return {
    name: cluster.name,
    id: 0,
    statName: cluster.altStatName || cluster.name,
    type,
    edsServiceName: type === 'EDS' ? cluster.edsClusterConfig?.serviceName || cluster.name : '',
    endpoints,
    aggregateClusters,
    dynamicForwardProxy,
    connectTimeoutMs: durationMsOr(cluster.connectTimeout, DEFAULT_CONNECT_TIMEOUT_MS),
    bufferLimitBytes: cluster.perConnectionBufferLimitBytes ?? DEFAULT_BUFFER_LIMIT,
    lbPolicy: lb.policy,
    subset: lb.subset,
    localityLb: lb.locality,
    healthyPanicThreshold: common?.healthyPanicThreshold ? common.healthyPanicThreshold.value : DEFAULT_PANIC_THRESHOLD,
    ignoreNewHostsUntilFirstHc: common?.ignoreNewHostsUntilFirstHc ?? false,
    closeConnectionsOnHostSetChange: common?.closeConnectionsOnHostSetChange ?? false,
    closeConnectionsOnHostHealthFailure: cluster.closeConnectionsOnHostHealthFailure,
    ignoreHealthOnHostRemoval: cluster.ignoreHealthOnHostRemoval,
    overrideHostStatuses: common?.overrideHostStatus?.statuses.map(healthStatusOf) ?? ANY_BUT_UNHEALTHY,
    circuitBreakers: parseCircuitBreakers(cluster, context),
    outlierDetection: cluster.outlierDetection
      ? parseOutlierDetection(cluster.outlierDetection, context.at('outlier_detection').path)
      : null,
    healthChecks: parseHealthChecks(cluster, http.selection, context),
    http,
    tcpIdleTimeoutMs: parseTcpIdle(cluster, context),
    dns: parseDns(cluster, context),
    originalDst: parseOriginalDst(cluster),
    waitForWarmOnInit: cluster.waitForWarmOnInit ?? true,
    ...parseBind(cluster.upstreamBindConfig, context.at('upstream_bind_config')),
    keepalive: parseKeepalive(cluster, context.at('upstream_connection_options')),
    families: parseFamilies(cluster, context.at('upstream_connection_options.happy_eyeballs_config')),
    transportSocket: parseTransportSocket(cluster, context),
    transportSocketMatches: parseSocketMatches(cluster, context),
    upstreamFilters: cluster.filters.map((filter, i) =>
      context.at(`filters[${i}]`).parseAny('network_filter', filter.typedConfig, filter.name),
    ),
    metadata: metadataOf(cluster.metadata),
    connectionPoolPerDownstreamConnection: cluster.connectionPoolPerDownstreamConnection,
    trackedStats: parseTrackedStats(cluster),
    preconnectRatio: cluster.preconnectPolicy?.perUpstreamPreconnectRatio ?? 1,
  }
}

interface ClusterType {
  readonly type: ClusterData['type']
  readonly aggregateClusters: readonly string[]
  readonly dynamicForwardProxy: DynamicForwardProxyData | null
}

function parseType(cluster: Cluster, context: ParseContext): ClusterType {
  const discovery = cluster.clusterDiscoveryType
  const none = { aggregateClusters: [], dynamicForwardProxy: null }
  if (discovery.case !== 'clusterType') {
    return { ...none, type: TYPES[discovery.value ?? Cluster_DiscoveryType.STATIC] ?? 'STATIC' }
  }
  const any = discovery.value.typedConfig
  const at = context.at('cluster_type.typed_config')
  const typeName = typeNameOf(any?.typeUrl ?? '')
  if (any && typeName === AggregateConfigSchema.typeName) {
    return { ...none, type: 'AGGREGATE', aggregateClusters: at.unpack(any, AggregateConfigSchema).clusters }
  }
  if (any && typeName === ForwardProxyConfigSchema.typeName) {
    const config = at.unpack(any, ForwardProxyConfigSchema)
    if (!config.allowInsecureClusterOptions) checkSecureOptions(cluster, context)
    return { ...none, type: 'DYNAMIC_FORWARD_PROXY', dynamicForwardProxy: parseDynamicForwardProxy(config, at) }
  }
  throw new ConfigError(
    at.path,
    `Didn't find a registered cluster factory implementation for name: '${discovery.value.name}'`,
  )
}

/** Names come from requests, so certificates must be checked against them. */
function checkSecureOptions(cluster: Cluster, context: ParseContext): void {
  const options = upstreamHttpOptions(cluster, context)
  if (options === undefined || (options.autoSni && options.autoSanValidation)) return
  throw new ConfigError(
    context.path,
    'dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless allow_insecure_cluster_options is set.',
  )
}

function checkLbPolicy(name: string, type: ClusterData['type'], policy: string, context: ParseContext): void {
  const provides = type === 'ORIGINAL_DST' || type === 'AGGREGATE' || type === 'DYNAMIC_FORWARD_PROXY'
  if (provides === (policy === 'cluster_provided')) return
  throw new ConfigError(
    context.at('lb_policy').path,
    provides
      ? `cluster: LB policy ${policy} is not valid for cluster ${name} of type ${type}. Only 'CLUSTER_PROVIDED' is allowed`
      : `cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_config or a cluster of type ${type}`,
  )
}

const DEFAULT_LIMIT = 1024
const UNLIMITED = 0xffffffff
const DEFAULT_MAX_RETRIES = 3

function parseThresholds(thresholds: CircuitBreakers_Thresholds | undefined): ThresholdsData {
  return {
    maxConnections: thresholds?.maxConnections ?? DEFAULT_LIMIT,
    maxPendingRequests: thresholds?.maxPendingRequests ?? DEFAULT_LIMIT,
    maxRequests: thresholds?.maxRequests ?? DEFAULT_LIMIT,
    maxRetries: thresholds?.maxRetries ?? DEFAULT_MAX_RETRIES,
    maxConnectionPools: thresholds?.maxConnectionPools ?? UNLIMITED,
    retryBudget: thresholds?.retryBudget
      ? {
          percent: thresholds.retryBudget.budgetPercent?.value ?? DEFAULT_BUDGET_PERCENT,
          minConcurrency: thresholds.retryBudget.minRetryConcurrency ?? DEFAULT_MIN_CONCURRENCY,
        }
      : null,
    trackRemaining: thresholds?.trackRemaining ?? false,
  }
}

const BUDGET_FIELDS: ReadonlySet<string> = new Set(['budget_percent', 'min_retry_concurrency'])
const PER_HOST_FIELDS: ReadonlySet<string> = new Set(['priority', 'max_connections'])

function parseCircuitBreakers(cluster: Cluster, context: ParseContext): CircuitBreakersData {
  const thresholds = cluster.circuitBreakers?.thresholds ?? []
  for (const [i, { retryBudget }] of thresholds.entries()) {
    const path = context.at(`circuit_breakers.thresholds[${i}].retry_budget`).path
    if (retryBudget) refuseUnsupported(RetryBudgetSchema, retryBudget, BUDGET_FIELDS, path)
  }
  const perHost = cluster.circuitBreakers?.perHostThresholds ?? []
  for (const [i, thresholds] of perHost.entries()) {
    const path = context.at(`circuit_breakers.per_host_thresholds[${i}]`).path
    refuseUnsupported(CircuitBreakers_ThresholdsSchema, thresholds, PER_HOST_FIELDS, path)
  }
  const of = (priority: RoutingPriority) => parseThresholds(thresholds.find((entry) => entry.priority === priority))
  return {
    default: of(RoutingPriority.DEFAULT),
    high: of(RoutingPriority.HIGH),
    perHostMaxConnections: perHost.find((entry) => entry.priority === RoutingPriority.DEFAULT)?.maxConnections ?? null,
    shared: createSharedCounts(),
  }
}

function parseTcpIdle(cluster: Cluster, context: ParseContext): number {
  for (const name of Object.keys(cluster.typedExtensionProtocolOptions)) {
    if (name === HTTP_PROTOCOL_OPTIONS || name === TCP_PROTOCOL_OPTIONS) continue
    throw new ConfigError(
      context.at(`typed_extension_protocol_options["${name}"]`).path,
      'no such protocol options in this proxy',
    )
  }
  const any = cluster.typedExtensionProtocolOptions[TCP_PROTOCOL_OPTIONS]
  if (!any) return DEFAULT_TCP_IDLE_MS
  const at = context.at(`typed_extension_protocol_options["${TCP_PROTOCOL_OPTIONS}"]`)
  return durationMsOr(at.unpack(any, TcpProtocolOptionsSchema).idleTimeout, DEFAULT_TCP_IDLE_MS)
}

function parseDns(cluster: Cluster, context: ParseContext): DnsData {
  const refreshMs = durationMsOr(cluster.dnsRefreshRate, DEFAULT_DNS_REFRESH_MS)
  const failureBaseMs = durationMsOr(cluster.dnsFailureRefreshRate?.baseInterval, refreshMs)
  return {
    refreshMs,
    jitterMs: durationMsOr(cluster.dnsJitter, 0),
    respectTtl: cluster.respectDnsTtl,
    failureBaseMs,
    failureMaxMs: durationMsOr(cluster.dnsFailureRefreshRate?.maxInterval, failureBaseMs * 10),
    family: lookupFamilyOf(cluster.dnsLookupFamily),
    resolver: parseDnsResolver(cluster, context),
  }
}

function parseOriginalDst(cluster: Cluster): OriginalDstData {
  const config = cluster.lbConfig.case === 'originalDstLbConfig' ? cluster.lbConfig.value : undefined
  return {
    useHttpHeader: config?.useHttpHeader ?? false,
    headerName: config?.httpHeaderName.toLowerCase() || 'x-envoy-original-dst-host',
    portOverride: config?.upstreamPortOverride ?? 0,
    metadataKey: config?.metadataKey
      ? {
          key: config.metadataKey.key,
          path: metadataPath(config.metadataKey),
        }
      : null,
    cleanupIntervalMs: Math.min(
      cluster.cleanupInterval ? durationMs(cluster.cleanupInterval) : DEFAULT_CLEANUP_MS,
      MAX_TIMER_MS,
    ),
  }
}

function parseBind(
  config: BindConfig | undefined,
  context: ParseContext,
): { bindSource: Address | null; socketOptions: readonly SocketOption[] } {
  if (!config) return { bindSource: null, socketOptions: [] }
  for (const field of ['extraSourceAddresses', 'additionalSourceAddresses'] as const) {
    if (config[field].length > 0)
      throw new ConfigError(context.at(field).path, 'not supported by this proxy; remove the field')
  }
  if (config.localAddressSelector) {
    throw new ConfigError(context.at('local_address_selector').path, 'not supported by this proxy; remove the field')
  }
  if (config.freebind)
    throw new ConfigError(context.at('freebind').path, 'not supported by this proxy; remove the field')
  const source = config.sourceAddress
  return {
    bindSource: source
      ? ipAddress(source.address, source.portSpecifier.case === 'portValue' ? source.portSpecifier.value : 0)
      : null,
    socketOptions: config.socketOptions.map(({ level, name, value }) => ({
      level: Number(level),
      name: Number(name),
      value: value.case === 'intValue' ? Number(value.value) : (value.value ?? 0),
    })),
  }
}

function parseTrackedStats(cluster: Cluster): ClusterData['trackedStats'] {
  const track = cluster.trackClusterStats
  return {
    endpoints: track?.perEndpointStats ?? false,
    timeoutBudgets: track?.timeoutBudgets ?? cluster.trackTimeoutBudgets,
    sizes: track?.requestResponseSizes ?? false,
  }
}

const CONNECTION_OPTIONS = new Set(['tcp_keepalive', 'happy_eyeballs_config'])

const FIRST_FAMILY: Readonly<Partial<Record<FirstFamily, FamilyOrder['first']>>> = {
  [FirstFamily.DEFAULT]: 0,
  [FirstFamily.V4]: 4,
  [FirstFamily.V6]: 6,
}

function parseFamilies(cluster: Cluster, context: ParseContext): FamilyOrder {
  const config = cluster.upstreamConnectionOptions?.happyEyeballsConfig
  if (!config) return ANY_FAMILY
  const first = FIRST_FAMILY[config.firstAddressFamilyVersion]
  if (first === undefined)
    throw new ConfigError(
      context.at('first_address_family_version').path,
      'must be DEFAULT, V4 or V6: others are no IP addresses',
    )
  return { first, count: config.firstAddressFamilyCount ?? 1 }
}

function parseKeepalive(cluster: Cluster, context: ParseContext): ClusterData['keepalive'] {
  const options = cluster.upstreamConnectionOptions
  if (options) refuseUnsupported(UpstreamConnectionOptionsSchema, options, CONNECTION_OPTIONS, context.path)
  const keepalive = options?.tcpKeepalive
  if (!keepalive) return null
  return {
    probes: keepalive.keepaliveProbes ?? 0,
    timeS: keepalive.keepaliveTime ?? 0,
    intervalS: keepalive.keepaliveInterval ?? 0,
  }
}

function parseTransportSocket(cluster: Cluster, context: ParseContext): ParsedExtension | null {
  const socket = cluster.transportSocket
  if (!socket) return null
  return context.at('transport_socket.typed_config').parseAny('transport_socket', socket.configType.value, socket.name)
}

function parseSocketMatches(cluster: Cluster, context: ParseContext): TransportSocketMatchData[] {
  return cluster.transportSocketMatches.map((match, i) => {
    const at = context.at(`transport_socket_matches[${i}].transport_socket.typed_config`)
    const socket = match.transportSocket
    return {
      name: match.name,
      match: (match.match as Record<string, unknown> | undefined) ?? {},
      socket: at.parseAny('transport_socket', socket?.configType.value, socket?.name ?? ''),
    }
  })
}
