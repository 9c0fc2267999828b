// What the connection manager, the router and filters see of a chosen route. The choice itself is pure: route-table.ts.

import type { HeaderMap } from '../http/header-map.ts'
import type { RouteTracingData } from '../observe/tracing/config.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HedgePolicyData, InternalRedirectData, RateLimitData, RouteActionData } from './config.ts'
import type { HashPolicy } from './hash-policy.ts'
import type { HeaderMutations } from './header-mutation.ts'
import type { RetryPolicy } from './retry-policy.ts'

/** A route table in a worker, compiled from its configuration. */
export interface RouteTable {
  readonly name: string
  /** Request headers that only internal clients may send (lower case). */
  readonly internalOnlyHeaders: readonly string[]
  /**
   * The route of a request, first match in order; null = 404 NR. Pure: same inputs, same answer.
   * `random` decides runtime fractions and weights.
   */
  route(headers: HeaderMap, info: StreamInfo, random: number): Route | null
}

/** What a route has from its virtual host. */
export interface VirtualHost {
  readonly name: string
  readonly includeRequestAttemptCount: boolean
  readonly includeAttemptCountInResponse: boolean
  readonly includeIsTimeoutRetryHeader: boolean
  readonly rateLimits: readonly RateLimitData[]
  readonly hasVirtualClusters: boolean
}

/** One chosen route: the matched entry with the weighted cluster already drawn. */
export interface Route {
  readonly name: string
  readonly virtualHost: VirtualHost
  readonly virtualHostName: string
  readonly routeConfigName: string
  readonly action: 'route' | 'redirect' | 'direct_response' | 'non_forwarding_action'
  /** `filter_metadata` of the route. */
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> | null
  /** Operation name and whether it is propagated. */
  readonly decorator: { readonly operation: string; readonly propagate: boolean } | null
  /** HCM's stream idle timeout is replaced by this when not null; 0 = off. */
  readonly idleTimeoutMs: number | null
  /** How long a response may wait for the client's window; null = as the connection manager says. */
  readonly flushTimeoutMs: number | null
  /** Upgrade type (lower case) → enabled, where the route says so. */
  readonly upgradeTypes: ReadonlyMap<string, boolean> | null
  readonly maxRequestBufferBytes: number | null
  readonly statPrefix: string
  /** Set when action is `route`. */
  readonly forward: ForwardAction | null
  /** Set when action is `redirect` or `direct_response`: the router answers with it. */
  readonly direct: DirectAction | null
  /** Name of the cluster for these headers; '' when a cluster header is missing. */
  clusterName(headers: HeaderMap): string
  /** Name of the virtual cluster that the request belongs to; '' = the catch-all, or none configured. */
  virtualClusterName(headers: HeaderMap): string
  /** typed_per_filter_config of the most specific level, already parsed; undefined = none. */
  perFilterConfig(filterName: string): unknown
  /** The same of every level that has one, least specific first: for filters that merge them. */
  perFilterConfigs(filterName: string): readonly unknown[]
  /** `disabled: true` in a FilterConfig wrapper, or enabled again: undefined = as the chain says. */
  filterDisabled(filterName: string): boolean | undefined
  /** Header mutations, host and path rewrites before the request leaves; `keepOriginals`: x-envoy-original-* tell of them. */
  finalizeRequestHeaders(headers: HeaderMap, info: StreamInfo, keepOriginals: boolean): void
  finalizeResponseHeaders(headers: HeaderMap, info: StreamInfo, requestHeaders: HeaderMap): void
  /** Tracing overrides in millionths, or null. */
  readonly tracing: RouteTracingData | null
}

/** How a `route` action forwards. Times are milliseconds; 0 = none, null = not configured. */
export interface ForwardAction {
  readonly timeoutMs: number
  readonly maxGrpcTimeoutMs: number | null
  readonly grpcTimeoutOffsetMs: number | null
  /** max_stream_duration is there, if empty: `timeout` and max_grpc_timeout do not apply then. */
  readonly hasMaxStreamDuration: boolean
  readonly maxStreamDurationMs: number | null
  readonly grpcTimeoutHeaderMaxMs: number | null
  readonly grpcTimeoutHeaderOffsetMs: number | null
  readonly clusterNotFoundStatus: number
  readonly priority: 'DEFAULT' | 'HIGH'
  /** `envoy.lb` criteria, the weighted cluster's merged in. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | null
  readonly hashPolicy: HashPolicy | null
  readonly retryPolicy: RetryPolicy | null
  readonly hedgePolicy: HedgePolicyData | null
  readonly mirrors: readonly Mirror[]
  readonly rateLimits: readonly RateLimitData[]
  readonly includeVhRateLimits: boolean
  readonly internalRedirect: InternalRedirectData | null
  readonly connectTerminates: RouteActionData['connectTerminates']
  /** The host is rewritten to the chosen upstream host's name. */
  readonly autoHostRewrite: boolean
  readonly appendXForwardedHost: boolean
}

export interface Mirror {
  readonly cluster: string
  readonly clusterHeader: string
  readonly disableHostSuffix: boolean
  /** null = the copy's span is sampled as the request's. */
  readonly traceSampled: boolean | null
  /** Changes of the copy's headers, one after the other. */
  readonly headers: readonly HeaderMutations[]
  /** '' = the request's host, with a suffix. */
  readonly hostRewrite: string
  /** Whether this request is mirrored. */
  selects(random: number): boolean
}

/** A local answer that a route configures. */
export interface DirectAction {
  readonly status: number
  /** The body, byte string. */
  text(headers: HeaderMap, info: StreamInfo): string
  /** '' = plain text. */
  readonly contentType: string
  /** '' = none. Rewrites the path of `headers` first, where the redirect does. */
  location(headers: HeaderMap, info: StreamInfo, insertOriginalPath: boolean): string
}
