// The seam between routing (router, tcp_proxy, mirrors, gRPC services) and upstream connections, per worker.

import type { RequestEncoder, ResponseDecoder, Protocol, StreamResetReason } from '../http/codec.ts'
import type { HeaderMap } from '../http/header-map.ts'
import type { Connection, ConnectionInfo } from '../network/connection.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HostDescription } from './host.ts'

/** What a host choice may depend on (Envoy's LoadBalancerContext): plain data, made once per request. */
export interface LoadBalancerContext {
  /** 64-bit hash as unsigned BigInt, or null for none (then hashing balancers choose at random). */
  hash: bigint | null
  /** Route metadata_match under `envoy.lb`, merged with the weighted cluster's. */
  metadataMatch: Readonly<Record<string, unknown>> | null
  downstream: ConnectionInfo | null
  headers: HeaderMap | null
  /** True for a host that must not be chosen (retry predicates); tried at most `hostSelectionRetryCount` times more. */
  shouldSelectAnotherHost: ((host: HostDescription) => boolean) | null
  hostSelectionRetryCount: number
  /** Retry attempt number, 0 for the first (ring hash and maglev offset by it). */
  attempt: number
  /** `ip:port` that a stateful session asks for. */
  overrideHost: string | null
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

/** A cluster as one worker sees it. `stats`, circuit breakers and the like are its own matter. */
export interface ThreadLocalCluster {
  readonly name: string
  /** alt_stat_name, else the name. */
  readonly statName: string
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** The protocol a request of `downstream` protocol will use. */
  upstreamProtocol(downstream: Protocol | ''): Protocol
  /** null: no host. */
  httpPool(priority: 'DEFAULT' | 'HIGH', downstream: Protocol | '', context: LoadBalancerContext): HttpConnPool | null
  tcpPool(priority: 'DEFAULT' | 'HIGH', context: LoadBalancerContext): TcpConnPool | null
  /** Told by the router for outlier detection and stats: the final answer of one upstream attempt. */
  onResponse(host: HostDescription, status: number, info: StreamInfo): void
  onReset(host: HostDescription | null, reason: StreamResetReason, info: StreamInfo): void
}

export interface ClusterManager {
  get(name: string): ThreadLocalCluster | undefined
}
