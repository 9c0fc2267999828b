// How extensions are made: parse once on the main thread, create in every worker.
//
// parse: protobuf message → plain data that structured clone can carry (no class instance, function or regex).
//        Throws ConfigError with the field path for anything unsupported. The only place that validates.
// create: plain data → what runs, in the worker. Never fails for data that parse returned.

import type { DescMessage, Message, MessageShape } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import type { Tracing_Http } from '../../api/gen/envoy/config/trace/v3/http_tracer_pb.js'
import type { Logger } from '../../base/logger.ts'
import type { HttpFilterFactory } from '../http/filter.ts'
import type { NetworkFilter, ReadFilterCallbacks } from '../network/filter.ts'
import type { OverloadState } from '../network/overload-state.ts'
import type { AccessLog } from '../observe/access-log.ts'
import type { Scope } from '../observe/stats.ts'
import type { RouteTable } from '../route/route.ts'
import type { ClusterManager } from '../upstream/cluster-manager.ts'
import type { DiscoveryNeed } from './discovery.ts'

/** An extension's parsed configuration, ready for structured clone. */
export interface ParsedExtension<C = unknown> {
  /** Instance name in the configuration, e.g. `envoy.filters.http.router`. */
  readonly name: string
  /** Without the `type.googleapis.com/` prefix; key of the factory. */
  readonly typeUrl: string
  readonly config: C
}

/** A route configuration that comes by RDS. */
export interface RouteNeed {
  /** rds.config_source. */
  readonly source: ConfigSource | undefined
  /** Of the connection manager: `http.<stat_prefix>.rds.<name>` counts the subscription. */
  readonly statPrefix: string
}

/** Helps parse functions: nested extensions, and which resources the configuration waits for. */
export interface ParseContext {
  /** Field path of the message being parsed, for errors. */
  readonly path: string
  /** The bootstrap's `tracing.http`: of connection managers that trace and name no provider. */
  readonly defaultTracer: Tracing_Http | undefined
  at(field: string): ParseContext
  /** Parses a nested `typed_config` by the registered factory of `category`; an unknown type URL is refused by name. */
  parseAny(category: ExtensionCategory, any: Any | undefined, name: string): ParsedExtension
  /** Decodes an Any as `desc` (TypedStruct is converted too) after validate.rules; refuses other types. */
  unpack<Desc extends DescMessage>(any: Any, desc: Desc): MessageShape<Desc>
  /** Named by the configuration and must be there before it may serve (warming). */
  needsRoute(name: string, need: RouteNeed): void
  /** A configuration that comes by itself (ECDS). */
  needsExtension(name: string, need: DiscoveryNeed): void
  /** True when this build has an extension of that configuration type. */
  knowsExtension(category: ExtensionCategory, typeName: string): boolean
  /** `source`: its sds_config; absent for a static secret. Returns the key (secret-key.ts) under which a worker knows it. */
  needsSecret(name: string, source?: ConfigSource): string
  /** A cluster that must be known now. `field`: the path for the error. */
  needsCluster(name: string, field: string): void
}

export type ExtensionCategory =
  | 'listener_filter'
  | 'network_filter'
  | 'http_filter'
  | 'upstream_http_filter'
  | 'http_route_filter'
  | 'transport_socket'
  | 'access_logger'
  | 'upstream_options'
  | 'cluster_type'
  | 'load_balancing_policy'
  | 'retry_host_predicate'
  | 'retry_priority'
  | 'request_id'
  | 'other'

/** What creation in a worker may use. */
export interface WorkerContext {
  readonly workerIndex: number
  /** How many workers there are. */
  readonly concurrency: number
  readonly clusters: ClusterManager
  readonly stats: Scope
  readonly log: Logger
  readonly node: NodeInfo
  /** The current route table of an RDS name; null until the first one is there. */
  routeTable(name: string): RouteTable | null
  /** The newest configuration of an ECDS name; null until the first one is there. The same object until it changes. */
  discovered(name: string): ParsedExtension | null
  readonly runtime: RuntimeSnapshot
  createAccessLog(parsed: ParsedExtension): AccessLog
  /** Makes the http_filters of a connection manager or of an upgrade. */
  createHttpFilter(parsed: ParsedExtension, statPrefix: string): HttpFilterFactory
  readonly drain: DrainState
  /** What the overload manager has decided; absent or null = there is none. */
  readonly overload?: OverloadState | null
  /** The listener whose filter chain is being made; null outside listeners. */
  readonly listener: ListenerFacts | null
}

/** What filters may know of their listener. */
export interface ListenerFacts {
  readonly name: string
  readonly trafficDirection: 'UNSPECIFIED' | 'INBOUND' | 'OUTBOUND'
  /** `listener.<address>`; HCM counts `http.<stat_prefix>.downstream_rq_2xx` and so on below it. */
  readonly stats: Scope
  readonly bufferLimitBytes: number
  readonly metadata: Readonly<Record<string, unknown>>
}

/** Drain decision of the listener or server (envoy-contract §4.5). */
export interface DrainState {
  /** True when the next response should close its connection. */
  drainClose(): boolean
  /** /healthcheck/fail was called. */
  readonly healthCheckFailed: boolean
}

/** Layered runtime (envoy-contract §21). */
export interface RuntimeSnapshot {
  number(key: string, fallback: number): number
  bool(key: string, fallback: boolean): boolean
  /** Millionths. */
  fraction(key: string, fallbackMillionths: number): number
}

export interface NodeInfo {
  readonly id: string
  readonly cluster: string
  readonly zone: string
  /** Absent = unknown. */
  readonly region?: string
  readonly subZone?: string
  readonly metadata: Readonly<Record<string, unknown>>
}

export interface HttpFilterExtension<C = unknown, R = unknown> {
  readonly name: string
  readonly desc: DescMessage
  parse(message: Message, context: ParseContext): C
  /** typed_per_filter_config of this filter. */
  readonly routeDesc?: DescMessage
  parseRoute?(message: Message, context: ParseContext): R
  create(config: C, context: WorkerContext, statPrefix: string): HttpFilterFactory
  readonly terminal?: boolean
  /** It may stand between the router and the upstream codec, too. */
  readonly upstream?: boolean
}

export interface NetworkFilterExtension<C = unknown> {
  readonly name: string
  readonly desc: DescMessage
  parse(message: Message, context: ParseContext): C
  create(config: C, context: WorkerContext): (callbacks: ReadFilterCallbacks) => NetworkFilter
  readonly terminal?: boolean
  /** On a cluster: the filter does nothing on connections that do not offer this protocol, and is left out there. */
  upstreamAlpn?(config: C): string
}
