// What the admin pages need to know of, and do to, the running server. The server implements it; the pages only print.

import type { Any } from '@bufbuild/protobuf/wkt'
import type { Certificates } from '../../api/gen/envoy/admin/v3/certs_pb.js'
import type { CommandLineOptions } from '../../api/gen/envoy/admin/v3/server_info_pb.js'
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { Address } from '../network/connection.ts'
import type { EndpointCounts } from '../observe/endpoint-stats.ts'
import type { MergedStats } from '../observe/merged-stats.ts'
import type { BucketBounds } from '../observe/stats-print.ts'
import type { TagExtractor } from '../observe/tag-extraction.ts'
import type { HostDescription, Locality } from '../upstream/host.ts'

export type ServerState = 'LIVE' | 'DRAINING' | 'PRE_INITIALIZING' | 'INITIALIZING'

/** One resource as it was received. */
export interface DumpedResource {
  readonly name: string
  readonly resource: Any
  /** '' for static resources. */
  readonly versionInfo: string
  readonly lastUpdated: Date
  /** The last refused update of this resource, while it stays refused. */
  readonly error?: DumpedError
}

export interface DumpedError {
  readonly details: string
  readonly versionInfo: string
  readonly lastUpdateAttempt: Date
  readonly failedConfiguration?: Any
}

/** A listener of LDS with its states; at least one is set. */
export interface DumpedListener {
  readonly name: string
  readonly active?: DumpedResource
  readonly warming?: DumpedResource
  readonly draining?: DumpedResource
  readonly error?: DumpedError
}

/** Everything /config_dump shows. Secrets come with their keys; printing redacts them. */
export interface ConfigDumpSource {
  bootstrap(): { readonly bootstrap: Bootstrap; readonly lastUpdated: Date }
  clusters(): {
    readonly versionInfo: string
    readonly static: readonly DumpedResource[]
    readonly active: readonly DumpedResource[]
    readonly warming: readonly DumpedResource[]
  }
  endpoints(): Promise<{ readonly static: readonly DumpedResource[]; readonly dynamic: readonly DumpedResource[] }>
  listeners(): {
    readonly versionInfo: string
    readonly static: readonly DumpedResource[]
    readonly dynamic: readonly DumpedListener[]
  }
  routes(): { readonly static: readonly DumpedResource[]; readonly dynamic: readonly DumpedResource[] }
  secrets(): {
    readonly static: readonly DumpedResource[]
    readonly active: readonly DumpedResource[]
    readonly warming: readonly DumpedResource[]
  }
  /** Extension configurations by discovery; null when nothing uses them. */
  ecds(): readonly DumpedResource[] | null
}

/** Health flags in Envoy's order; the text is what `/clusters` prints. */
export const HEALTH_FLAGS = [
  'failed_active_hc',
  'failed_outlier_check',
  'failed_eds_health',
  'degraded_active_hc',
  'degraded_eds_health',
  'pending_dynamic_removal',
  'pending_active_hc',
  'excluded_via_immediate_hc_fail',
  'active_hc_timeout',
  'eds_status_draining',
] as const
export type HealthFlag = (typeof HEALTH_FLAGS)[number]

/** Per-host stats, summed over the workers. */
export interface HostCounts {
  readonly cx_active: number
  readonly cx_connect_fail: number
  readonly cx_total: number
  readonly rq_active: number
  readonly rq_error: number
  readonly rq_pending_active: number
  readonly rq_success: number
  readonly rq_timeout: number
  readonly rq_total: number
}

export interface HostStatusData {
  readonly address: Address
  /** Its name in stats; '' = its address. */
  readonly observabilityName: string
  readonly healthy: boolean
  readonly hostname: string
  readonly counts: HostCounts
  readonly healthFlags: readonly HealthFlag[]
  readonly metadata: HostDescription['metadata']
  /** Of health_check_config; 0 and '' = the endpoint's own. */
  readonly healthCheckPort: number
  readonly healthCheckHostname: string
  /** Of its locality; 0 = there is none. */
  readonly localityWeight: number
  readonly weight: number
  readonly locality: Locality
  readonly canary: boolean
  readonly priority: number
  /** Percent, or -1 when not computed. */
  readonly successRate: number
  readonly localOriginSuccessRate: number
}

export interface Thresholds {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  readonly maxRetries: number
}

export interface ClusterStatusData {
  readonly name: string
  /** per_endpoint_stats. */
  readonly endpointStats: boolean
  readonly observabilityName: string
  readonly addedViaApi: boolean
  readonly edsServiceName: string
  readonly thresholds: { readonly default: Thresholds; readonly high: Thresholds }
  /** Set when outlier detection is configured; -1 where not computed. */
  readonly outlier: {
    readonly successRateAverage: number
    readonly successRateEjectionThreshold: number
    readonly localOriginSuccessRateAverage: number
    readonly localOriginSuccessRateEjectionThreshold: number
  } | null
  readonly hosts: readonly HostStatusData[]
  /** Percent. */
  readonly overprovisioningFactor: number
  /** Its hosts come of names. */
  readonly resolved: boolean
}

export interface ListenerStatusData {
  readonly name: string
  readonly address: Address
  readonly additionalAddresses: readonly Address[]
}

/** Values of the layered runtime, per layer. */
export interface RuntimeDump {
  readonly layers: readonly string[]
  readonly entries: Readonly<Record<string, { readonly layerValues: readonly string[]; readonly finalValue: string }>>
}

/** The server behind the admin pages. */
export interface AdminSource {
  readonly version: string
  state(): ServerState
  readonly startTime: Date
  readonly node: Node
  readonly commandLineOptions: CommandLineOptions
  readonly config: ConfigDumpSource
  clusters(): Promise<readonly ClusterStatusData[]>
  listeners(): readonly ListenerStatusData[]
  /** Stats of all threads, as of now. */
  stats(): Promise<MergedStats>
  /** Of the clusters with per_endpoint_stats. */
  endpointCounts(): Promise<readonly EndpointCounts[]>
  readonly statsTags: TagExtractor
  readonly histogramBuckets: BucketBounds
  certificates(): Certificates
  runtime(): RuntimeDump
  /** False when the runtime has no admin layer. '' removes a value. */
  modifyRuntime(values: ReadonlyMap<string, string>): boolean
  /** Init targets that are not ready, by the manager that waits for them. */
  unreadyTargets(): readonly { readonly name: string; readonly targets: readonly string[] }[]
  /** Logger name → level word. */
  logLevels(): ReadonlyMap<string, string>
  /** `name` null = every logger. The level has been checked; false for an unknown name. */
  setLogLevel(name: string | null, level: string): boolean
  drainListeners(options: { graceful: boolean; inboundOnly: boolean; skipExit: boolean }): void
  /** /healthcheck/fail and ok: makes /ready answer 503 and health check filters fail. */
  setHealthCheckFailing(failing: boolean): void
  reopenLogs(): void
  /** Ends the process, after the answer is written. */
  quit(): void
}
