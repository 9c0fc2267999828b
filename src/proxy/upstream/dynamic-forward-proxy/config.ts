// DnsCacheConfig and the dynamic forward proxy cluster → plain data. Times are milliseconds.

import { Cluster_LbPolicy } from '../../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { SocketAddress } from '../../../api/gen/envoy/config/core/v3/address_pb.js'
import {
  type ClusterConfig,
  ClusterConfigSchema,
  type SubClustersConfig,
} from '../../../api/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js'
import {
  type DnsCacheConfig,
  DnsCacheConfigSchema,
} from '../../../api/gen/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import { durationMsOr } from '../../config/duration.ts'
import type { ParseContext } from '../../config/extension.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import type { DnsLookupFamily, DnsResolverData } from '../dns/config.ts'
import { lookupFamilyOf, parseDnsResolver } from '../dns/parse-resolver.ts'

/** A DNS cache; clusters and filters that give the same name share it, and must give the same settings. */
export interface DnsCacheData {
  readonly name: string
  readonly family: DnsLookupFamily
  readonly refreshMs: number
  readonly minRefreshMs: number
  readonly hostTtlMs: number
  readonly maxHosts: number
  readonly failureBaseMs: number
  readonly failureMaxMs: number
  readonly maxPendingRequests: number
  readonly queryTimeoutMs: number
  /** A name that does not resolve is forgotten instead of asked for again. */
  readonly forgetFailures: boolean
  /** `host:port`. */
  readonly preresolve: readonly string[]
  readonly resolver: DnsResolverData
}

export interface SubClustersData {
  readonly lbPolicy: 'round_robin' | 'least_request' | 'random'
  readonly maxSubClusters: number
  readonly ttlMs: number
  /** `host:port`. */
  readonly preresolve: readonly string[]
}

export type DynamicForwardProxyData =
  | { readonly kind: 'dns_cache'; readonly dnsCache: DnsCacheData }
  | { readonly kind: 'sub_clusters'; readonly subClusters: SubClustersData }

const CACHE_FIELDS = new Set([
  'name',
  'dns_lookup_family',
  'dns_refresh_rate',
  'dns_min_refresh_rate',
  'host_ttl',
  'max_hosts',
  'disable_dns_refresh_on_failure',
  'dns_failure_refresh_rate',
  'dns_cache_circuit_breaker',
  'dns_resolution_config',
  'typed_dns_resolver_config',
  'preresolve_hostnames',
  'dns_query_timeout',
])

const MINUTE_MS = 60_000
const DEFAULT_MIN_REFRESH_MS = 5000
const DEFAULT_QUERY_TIMEOUT_MS = 5000
const DEFAULT_LIMIT = 1024

/** Throws ConfigError for what this proxy cannot do (key_value_config, DNS over TCP). */
export function parseDnsCache(config: DnsCacheConfig, context: ParseContext): DnsCacheData {
  refuseUnsupported(DnsCacheConfigSchema, config, CACHE_FIELDS, context.path)
  const refreshMs = durationMsOr(config.dnsRefreshRate, MINUTE_MS)
  const failureBaseMs = durationMsOr(config.dnsFailureRefreshRate?.baseInterval, refreshMs)
  return {
    name: config.name,
    family: lookupFamilyOf(config.dnsLookupFamily),
    refreshMs,
    minRefreshMs: durationMsOr(config.dnsMinRefreshRate, DEFAULT_MIN_REFRESH_MS),
    hostTtlMs: durationMsOr(config.hostTtl, 5 * MINUTE_MS),
    maxHosts: config.maxHosts ?? DEFAULT_LIMIT,
    failureBaseMs,
    failureMaxMs: durationMsOr(config.dnsFailureRefreshRate?.maxInterval, failureBaseMs * 10),
    maxPendingRequests: config.dnsCacheCircuitBreaker?.maxPendingRequests ?? DEFAULT_LIMIT,
    queryTimeoutMs: durationMsOr(config.dnsQueryTimeout, DEFAULT_QUERY_TIMEOUT_MS),
    forgetFailures: config.disableDnsRefreshOnFailure,
    preresolve: config.preresolveHostnames.map((host, i) =>
      hostAndPort(host, context.at(`preresolve_hostnames[${i}]`)),
    ),
    resolver: parseDnsResolver(config, context),
  }
}

/** The cluster's own settings. Throws ConfigError. */
export function parseDynamicForwardProxy(config: ClusterConfig, context: ParseContext): DynamicForwardProxyData {
  refuseUnsupported(
    ClusterConfigSchema,
    config,
    new Set(['dns_cache_config', 'sub_clusters_config', 'allow_insecure_cluster_options']),
    context.path,
  )
  const choice = config.clusterImplementationSpecifier
  switch (choice.case) {
    case 'dnsCacheConfig':
      return { kind: 'dns_cache', dnsCache: parseDnsCache(choice.value, context.at('dns_cache_config')) }
    case 'subClustersConfig':
      return { kind: 'sub_clusters', subClusters: parseSubClusters(choice.value, context.at('sub_clusters_config')) }
    default:
      throw new ConfigError(context.path, 'one of dns_cache_config, sub_clusters_config is required')
  }
}

const SUB_CLUSTER_POLICIES = {
  [Cluster_LbPolicy.ROUND_ROBIN]: 'round_robin',
  [Cluster_LbPolicy.LEAST_REQUEST]: 'least_request',
  [Cluster_LbPolicy.RANDOM]: 'random',
} as const

function parseSubClusters(config: SubClustersConfig, context: ParseContext): SubClustersData {
  const lbPolicy = SUB_CLUSTER_POLICIES[config.lbPolicy as keyof typeof SUB_CLUSTER_POLICIES]
  if (lbPolicy === undefined) {
    throw new ConfigError(
      context.at('lb_policy').path,
      'only ROUND_ROBIN, LEAST_REQUEST and RANDOM are supported for sub clusters by this proxy',
    )
  }
  return {
    lbPolicy,
    maxSubClusters: config.maxSubClusters ?? DEFAULT_LIMIT,
    ttlMs: durationMsOr(config.subClusterTtl, 5 * MINUTE_MS),
    preresolve: config.preresolveClusters.map((host, i) => hostAndPort(host, context.at(`preresolve_clusters[${i}]`))),
  }
}

function hostAndPort(host: SocketAddress, context: ParseContext): string {
  if (host.portSpecifier.case === 'namedPort')
    throw new ConfigError(context.at('named_port').path, 'is not supported: give the number in port_value')
  return `${host.address}:${host.portSpecifier.value ?? 0}`
}
