// Clusters and endpoints as plain data: made by parse on the main thread, carried to the workers by structured clone.
// Times are milliseconds; null = not configured.

import type { ParsedExtension } from '../config/extension.ts'
import type { CommonHttpOptions, Http1Options, Http2Options } from '../http/connection-manager/config.ts'
import type { TcpKeepalive } from '../network/connect.ts'
import type { Address } from '../network/connection.ts'
import type { FamilyOrder } from '../network/happy-eyeballs.ts'
import type { SocketOption } from '../network/socket-options.ts'
import type { StringMatcherData } from '../route/string-matcher.ts'
import type { DnsLookupFamily, DnsResolverData } from './dns/config.ts'
import type { DynamicForwardProxyData } from './dynamic-forward-proxy/config.ts'
import type { Locality } from './host.ts'
import type { OutlierConfig } from './outlier/config.ts'

export type MetadataData = Readonly<Record<string, Readonly<Record<string, unknown>>>>

/** A host's health as EDS states it. */
export const HealthStatus = { Healthy: 0, Degraded: 1, Unhealthy: 2, Draining: 3, Timeout: 4, Unknown: 5 } as const
export type HealthStatus = (typeof HealthStatus)[keyof typeof HealthStatus]

export interface EndpointData {
  readonly address: Address
  /** Tried after `address`, one beside the other (happy eyeballs). */
  readonly additionalAddresses: readonly Address[]
  readonly hostname: string
  /** In place of its address in the names of stats; '' = none. */
  readonly observabilityName: string
  readonly healthStatus: HealthStatus
  readonly weight: number
  readonly metadata: MetadataData
  readonly healthCheckPort: number
  readonly healthCheckHostname: string
  readonly healthCheckAddress: Address | null
  readonly disableActiveHealthCheck: boolean
}

export interface LocalityEndpointsData {
  readonly locality: Locality
  readonly priority: number
  /** 0 = none: no traffic under locality weighting. */
  readonly weight: number
  readonly metadata: MetadataData
  readonly endpoints: readonly EndpointData[]
}

/** A ClusterLoadAssignment. */
export interface EndpointsData {
  readonly clusterName: string
  readonly localities: readonly LocalityEndpointsData[]
  /** Percent, 140 unless set. */
  readonly overprovisioningFactor: number
  readonly weightedPriorityHealth: boolean
  /** Millionths of requests to drop, or 0. */
  readonly dropMillionths: number
}

export interface SlowStartData {
  readonly windowMs: number
  readonly aggression: number
  readonly aggressionRuntimeKey: string
  readonly minWeightPercent: number
}

export interface ConsistentHashingData {
  readonly useHostnameForHashing: boolean
  /** Percent, 0 = no bounded load. */
  readonly hashBalanceFactor: number
}

export type LbPolicyData =
  | { readonly kind: 'round_robin'; readonly slowStart: SlowStartData | null }
  | {
      readonly kind: 'least_request'
      readonly choiceCount: number
      readonly activeRequestBias: number
      readonly activeRequestBiasRuntimeKey: string
      readonly fullScan: boolean
      readonly slowStart: SlowStartData | null
    }
  | { readonly kind: 'random' }
  | ({
      readonly kind: 'ring_hash'
      readonly minimumRingSize: number
      readonly maximumRingSize: number
      readonly hashFunction: 'XX_HASH' | 'MURMUR_HASH_2'
    } & ConsistentHashingData)
  | ({ readonly kind: 'maglev'; readonly tableSize: number } & ConsistentHashingData)
  | { readonly kind: 'cluster_provided' }

export interface SubsetSelectorData {
  /** Sorted. */
  readonly keys: readonly string[]
  readonly singleHostPerSubset: boolean
  readonly fallbackPolicy: 'NOT_DEFINED' | 'NO_FALLBACK' | 'ANY_ENDPOINT' | 'DEFAULT_SUBSET' | 'KEYS_SUBSET'
  readonly fallbackKeys: readonly string[]
}

export interface SubsetData {
  readonly fallbackPolicy: 'NO_FALLBACK' | 'ANY_ENDPOINT' | 'DEFAULT_SUBSET'
  readonly defaultSubset: Readonly<Record<string, unknown>>
  readonly selectors: readonly SubsetSelectorData[]
  /** Keys that the selector found does not have are no hindrance. */
  readonly allowRedundantKeys: boolean
  readonly localityWeightAware: boolean
  readonly scaleLocalityWeight: boolean
  readonly panicModeAny: boolean
  readonly listAsAny: boolean
  readonly metadataFallback: 'METADATA_NO_FALLBACK' | 'FALLBACK_LIST'
}

export type LocalityLbData =
  | { readonly kind: 'none' }
  | { readonly kind: 'weighted' }
  | {
      readonly kind: 'zone_aware'
      /** Percent. */
      readonly routingEnabled: number
      readonly minClusterSize: number
      readonly failTrafficOnPanic: boolean
    }

export interface ThresholdsData {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  readonly maxRetries: number
  readonly maxConnectionPools: number
  readonly retryBudget: { readonly percent: number; readonly minConcurrency: number } | null
  readonly trackRemaining: boolean
}

export interface CircuitBreakersData {
  readonly default: ThresholdsData
  readonly high: ThresholdsData
  /** Per host; null = unlimited. */
  readonly perHostMaxConnections: number | null
  /** Counts of all workers: see circuit-breakers.ts. */
  readonly shared: SharedArrayBuffer
}

/** An upstream HTTP filter ahead of the codec. */
export interface UpstreamHttpFilterData {
  readonly name: string
  readonly filter: ParsedExtension
  /** Off unless a route turns it on. */
  readonly disabled: boolean
}

/** HttpProtocolOptions of the cluster, defaults filled in. */
export interface HttpProtocolData {
  readonly selection: 'http1' | 'http2' | 'use_downstream' | 'auto'
  readonly http1: Http1Options
  readonly http2: Http2Options
  readonly common: CommonHttpOptions
  readonly autoSni: boolean
  readonly autoSanValidation: boolean
  readonly overrideAutoSniHeader: string
  /** Upstream HTTP filters, in place of the router's; null = the router's. */
  readonly filters: readonly UpstreamHttpFilterData[] | null
}

export interface HealthCheckData {
  readonly timeoutMs: number
  readonly intervalMs: number
  readonly initialJitterMs: number
  readonly intervalJitterMs: number
  readonly intervalJitterPercent: number
  readonly unhealthyThreshold: number
  readonly healthyThreshold: number
  readonly reuseConnection: boolean
  readonly noTrafficIntervalMs: number
  readonly noTrafficHealthyIntervalMs: number
  readonly unhealthyIntervalMs: number
  readonly unhealthyEdgeIntervalMs: number
  readonly healthyEdgeIntervalMs: number
  readonly alwaysLogFailures: boolean
  readonly alwaysLogSuccess: boolean
  /** Files that events are written to. */
  readonly eventLogs: readonly string[]
  /** ALPN list of its connections; null = the transport socket's. */
  readonly alpnProtocols: readonly string[] | null
  /** Chooses the transport socket in place of the endpoint's metadata; null = as for requests. */
  readonly transportSocketMatch: Readonly<Record<string, unknown>> | null
  readonly checker: HealthCheckerData
}

interface HeaderData {
  readonly name: string
  readonly value: string
}

/** [start, end). */
export type StatusRange = readonly [number, number]

export type HealthCheckerData =
  | {
      readonly kind: 'http'
      /** '' = the cluster's name. */
      readonly host: string
      readonly path: string
      readonly method: string
      readonly protocol: 'http1' | 'http2'
      readonly expected: readonly StatusRange[]
      readonly retriable: readonly StatusRange[]
      readonly headersToAdd: readonly HeaderData[]
      readonly headersToRemove: readonly string[]
      readonly send: Uint8Array | null
      readonly receive: readonly Uint8Array[]
      readonly responseBufferSize: number
      readonly serviceName: StringMatcherData | null
    }
  | { readonly kind: 'tcp'; readonly send: Uint8Array | null; readonly receive: readonly Uint8Array[] }
  | {
      readonly kind: 'grpc'
      readonly serviceName: string
      readonly authority: string
      readonly headers: readonly HeaderData[]
    }

export interface TransportSocketMatchData {
  readonly name: string
  readonly match: Readonly<Record<string, unknown>>
  readonly socket: ParsedExtension
}

export interface DnsData {
  readonly refreshMs: number
  readonly jitterMs: number
  readonly respectTtl: boolean
  readonly failureBaseMs: number
  readonly failureMaxMs: number
  readonly family: DnsLookupFamily
  readonly resolver: DnsResolverData
}

export interface OriginalDstData {
  readonly useHttpHeader: boolean
  readonly headerName: string
  /** 0 = the destination's own. */
  readonly portOverride: number
  readonly metadataKey: { readonly key: string; readonly path: readonly string[] } | null
  readonly cleanupIntervalMs: number
}

/** track_cluster_stats. */
export interface TrackedStatsData {
  /** Counts of each host, in /stats too. */
  readonly endpoints: boolean
  readonly timeoutBudgets: boolean
  readonly sizes: boolean
}

export interface ClusterData {
  readonly name: string
  /** What the workers of a process know this version of the cluster by; 0 = it is one worker's own, which shares nothing. */
  readonly id: number
  readonly statName: string
  readonly type:
    | 'STATIC'
    | 'STRICT_DNS'
    | 'LOGICAL_DNS'
    | 'EDS'
    | 'ORIGINAL_DST'
    | 'AGGREGATE'
    | 'DYNAMIC_FORWARD_PROXY'
  /** For EDS: name of the assignment to subscribe to. */
  readonly edsServiceName: string
  /** Endpoints in the cluster itself (STATIC, DNS). */
  readonly endpoints: EndpointsData | null
  /** Clusters of an aggregate, in order. */
  readonly aggregateClusters: readonly string[]
  readonly dynamicForwardProxy: DynamicForwardProxyData | null
  readonly connectTimeoutMs: number
  readonly bufferLimitBytes: number
  readonly lbPolicy: LbPolicyData
  readonly subset: SubsetData | null
  readonly localityLb: LocalityLbData
  /** Percent. */
  readonly healthyPanicThreshold: number
  readonly ignoreNewHostsUntilFirstHc: boolean
  readonly closeConnectionsOnHostSetChange: boolean
  readonly closeConnectionsOnHostHealthFailure: boolean
  readonly ignoreHealthOnHostRemoval: boolean
  /** A host that a request asks for must have one of these. */
  readonly overrideHostStatuses: readonly HealthStatus[]
  readonly circuitBreakers: CircuitBreakersData
  readonly outlierDetection: OutlierConfig | null
  readonly healthChecks: readonly HealthCheckData[]
  readonly http: HttpProtocolData
  /** Idle time of pooled raw TCP connections; 0 = never. */
  readonly tcpIdleTimeoutMs: number
  readonly dns: DnsData
  readonly originalDst: OriginalDstData
  readonly waitForWarmOnInit: boolean
  readonly bindSource: Address | null
  readonly socketOptions: readonly SocketOption[]
  readonly keepalive: TcpKeepalive | null
  /** happy_eyeballs_config. */
  readonly families: FamilyOrder
  readonly transportSocket: ParsedExtension | null
  readonly transportSocketMatches: readonly TransportSocketMatchData[]
  readonly upstreamFilters: readonly ParsedExtension[]
  readonly metadata: MetadataData
  readonly preconnectRatio: number
  readonly trackedStats: TrackedStatsData
  /** Connections are not shared between downstream connections. */
  readonly connectionPoolPerDownstreamConnection: boolean
}
