// The seam between routing (router, tcp_proxy, mirrors, gRPC services) and upstream connections, per worker.

import type { Protocol, RequestEncoder, ResponseDecoder, StreamResetReason } from '../http/codec.ts'
import type { ChainEntry } from '../http/connection-manager/shared.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { Connection, ConnectionInfo } from '../network/connection.ts'
import type { DynamicMetadata, FilterState } from '../network/filter.ts'
import type { ResourceManager } from './circuit-breakers.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { ClusterData } from './config.ts'
import type { DnsCacheData } from './dynamic-forward-proxy/config.ts'
import type { DnsCache } from './dynamic-forward-proxy/dns-cache.ts'
import type { HostDescription } from './host.ts'
import type { PreviousPriorities } from './lb/previous-priorities.ts'
import type { OverrideHost } from './override-host.ts'

/** Makes the hash of a request. */
export interface HashSource {
  hash(): bigint | null
}

/** What a host choice may depend on (Envoy's LoadBalancerContext): plain data, made once per request. */
export interface LoadBalancerContext {
  /** 64-bit hash as unsigned BigInt, or null for none (then hashing balancers choose at random, or ask `hashSource`). */
  hash: bigint | null
  /** Makes the hash when a hashing balancer asks, and only then: it may set a cookie. null = it was asked, or there is none. */
  hashSource: HashSource | null
  /** Route metadata_match under `envoy.lb`, merged with the weighted cluster's and with dynamic metadata. */
  metadataMatch: Readonly<Record<string, unknown>> | null
  downstream: ConnectionInfo | null
  /** Filter state and dynamic metadata of the stream or connection, where there are any. */
  downstreamState?: FilterState | null
  dynamicMetadata?: DynamicMetadata | null
  headers: HeaderMap | null
  /** True for a host that must not be chosen (retry predicates); tried at most `hostSelectionRetryCount` times more. */
  shouldSelectAnotherHost: ((host: HostDescription) => boolean) | null
  hostSelectionRetryCount: number
  /** Of a retry: the priorities tried before, which are left alone while others can serve; null = that does not matter. */
  retryPriority?: PreviousPriorities | null
  /** Looks for another host than the first one so far, counted by the balancer (ring hash and maglev offset by it). */
  attempt: number
  /** What a stateful session asks for. */
  overrideHost: OverrideHost | null
  /** Per-request transport choices: ALPN override of istio.alpn, SNI override; part of the pool key. */
  alpnOverride: readonly string[] | null
  sniOverride: string | null
}

/** Why a pool could not give a stream. */
export const PoolFailureReason = {
  Overflow: 0,
  LocalConnectionFailure: 1,
  RemoteConnectionFailure: 2,
  Timeout: 3,
  /** No host came of waiting for one (dynamic forward proxy); the text is the response code details. */
  NoHost: 4,
} as const
export type PoolFailureReason = (typeof PoolFailureReason)[keyof typeof PoolFailureReason]

export interface HttpPoolCallbacks {
  onPoolReady(encoder: RequestEncoder, host: HostDescription, connection: Connection, protocol: Protocol): void
  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void
}

export interface TcpPoolCallbacks {
  onPoolReady(connection: Connection, host: HostDescription): void
  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void
}

/** Takes back a request that waits in a pool. */
export interface Cancellable {
  cancel(): void
}

export interface HttpConnPool {
  readonly host: HostDescription
  /** Calls back at once or later; null = it already called back. */
  newStream(decoder: ResponseDecoder, callbacks: HttpPoolCallbacks): Cancellable | null
}

export interface TcpConnPool {
  readonly host: HostDescription
  newConnection(callbacks: TcpPoolCallbacks): Cancellable | null
}

/** A cluster as one worker sees it. */
export interface ThreadLocalCluster {
  readonly name: string
  /** alt_stat_name, else the name. */
  readonly statName: string
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** Runtime key of its maintenance mode, made once: it is looked up for every request. */
  readonly maintenanceKey: string
  readonly data: ClusterData
  readonly stats: ClusterStats
  /** Upstream HTTP filters; null = those of the router. */
  readonly httpFilters: readonly ChainEntry[] | null
  /** Millionths of requests that the assignment's drop_overload asks to refuse. */
  readonly dropMillionths: number
  /** The protocol a request of `downstream` protocol will use. */
  upstreamProtocol(downstream: Protocol | ''): Protocol
  /** null: no host. */
  httpPool(priority: 'DEFAULT' | 'HIGH', downstream: Protocol | '', context: LoadBalancerContext): HttpConnPool | null
  tcpPool(priority: 'DEFAULT' | 'HIGH', context: LoadBalancerContext): TcpConnPool | null
  /** Circuit breakers: retries are counted by who makes them. */
  resources(priority: 'DEFAULT' | 'HIGH'): ResourceManager
  /** For outlier detection and the host's counts: the answer of one upstream attempt. */
  onResponse(host: HostDescription, status: number): void
  onReset(host: HostDescription | null, reason: StreamResetReason): void
  /** A request or connection has its upstream connection; `final`: no answer will tell more of the host (TCP). */
  onConnected(host: HostDescription, final: boolean): void
  /** A connection of raw bytes could not be made. */
  onConnectFailure(host: HostDescription, timedOut: boolean): void
  /** An attempt, or the whole request, took too long at this host. */
  onTimeout(host: HostDescription): void
  /** A response says that its host must not be used any more (x-envoy-immediate-health-check-fail). */
  onImmediateHealthCheckFail(host: HostDescription): void
}

export interface ClusterManager {
  get(name: string): ThreadLocalCluster | undefined
  /** The DNS cache of this name. Throws ConfigError when it is in use with other settings. */
  dnsCache(data: DnsCacheData): DnsCache
}
