// What the connection manager and filters see of a chosen route. The choice itself is pure: route-table.ts.

import type { HeaderMap } from '../http/header-map.ts'
import type { StreamInfo } from '../stream-info.ts'

/** A route table in a worker, compiled from its configuration. */
export interface RouteTable {
  readonly name: string
  /**
   * The route of a request, first match in order; null = 404 NR. Pure: same inputs, same answer.
   * `random` decides runtime fractions and weights.
   */
  route(headers: HeaderMap, info: StreamInfo, random: number): Route | null
}

/** One chosen route: the matched entry with the weighted cluster already drawn. */
export interface Route {
  readonly name: string
  readonly virtualHostName: string
  readonly routeConfigName: string
  readonly action: 'route' | 'redirect' | 'direct_response' | 'non_forwarding_action'
  /** `filter_metadata` of the route. */
  readonly metadata: Readonly<Record<string, unknown>> | null
  /** Operation name and whether it is propagated. */
  readonly decorator: { readonly operation: string; readonly propagate: boolean } | null
  /** HCM's stream idle timeout is replaced by this when not null; 0 = off. */
  readonly idleTimeoutMs: number | null
  /** Upgrade type (lower case) → enabled, where the route says so. */
  readonly upgradeTypes: ReadonlyMap<string, boolean> | null
  readonly maxRequestBufferBytes: number | null
  /** Runs require_tls before anything else: a redirect Route is returned by the table in that case. */
  clusterName(headers: HeaderMap): string
  /** typed_per_filter_config of the most specific level, already parsed; undefined = none. */
  perFilterConfig(filterName: string): unknown
  /** `disabled: true` in a FilterConfig wrapper, or enabled again: undefined = as the chain says. */
  filterDisabled(filterName: string): boolean | undefined
  /** Header mutations, host and path rewrites before the request leaves. */
  finalizeRequestHeaders(headers: HeaderMap, info: StreamInfo): void
  finalizeResponseHeaders(headers: HeaderMap, info: StreamInfo): void
  /** Tracing overrides in millionths, or null. */
  readonly tracing: { readonly client: number; readonly random: number; readonly overall: number } | null
}
