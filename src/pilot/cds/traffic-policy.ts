// Applies a traffic policy's blocks to a cluster: connection pool, outlier detection, load balancer.
import { create } from '@bufbuild/protobuf'
import {
  type CircuitBreakers,
  CircuitBreakersSchema,
} from '../../api/gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import {
  type Cluster,
  Cluster_CommonLbConfig_LocalityWeightedLbConfigSchema,
  Cluster_CommonLbConfig_ZoneAwareLbConfigSchema,
  Cluster_CommonLbConfigSchema,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  Cluster_SlowStartConfigSchema,
  UpstreamConnectionOptionsSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { OutlierDetectionSchema } from '../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import type {
  ConnectionPool,
  LoadBalancer,
  LocalityLbSetting,
  MeshConfig,
  OutlierDetection,
  TcpKeepalive,
  ZoneAwareLbSetting,
} from '../../config/index.ts'
import type { Service } from '../model/service.ts'
import { durationOf } from '../xds/messages.ts'
import type { HttpOptions } from './http-options.ts'
import type { ClusterPolicy } from './policy.ts'

/** Istio's "no limit": Envoy's own defaults (1024) would break large meshes. */
const NO_LIMIT = 4294967295

/** Fresh thresholds without limits. */
export function unlimitedCircuitBreakers(): CircuitBreakers {
  return create(CircuitBreakersSchema, {
    thresholds: [
      {
        maxConnections: NO_LIMIT,
        maxPendingRequests: NO_LIMIT,
        maxRequests: NO_LIMIT,
        maxRetries: NO_LIMIT,
      },
    ],
  })
}

/** connectionPool, with the mesh's TCP keep-alive as baseline; HTTP parts go into `http`. */
export function applyConnectionPool(
  cluster: Cluster,
  http: HttpOptions,
  pool: ConnectionPool | undefined,
  mesh: MeshConfig,
): void {
  const thresholds = cluster.circuitBreakers!.thresholds[0]!
  const h = pool?.http
  if (h) {
    if (h.http1MaxPendingRequests) thresholds.maxPendingRequests = h.http1MaxPendingRequests
    if (h.http2MaxRequests) thresholds.maxRequests = h.http2MaxRequests
    if (h.maxRetries) thresholds.maxRetries = h.maxRetries
    if (h.maxRequestsPerConnection) http.maxRequestsPerConnection = h.maxRequestsPerConnection
    if (h.idleTimeout !== undefined) http.idleTimeoutMs = h.idleTimeout
    if (h.maxConcurrentStreams) http.maxConcurrentStreams = h.maxConcurrentStreams
    if (h.http2KeepAlive)
      http.keepAlive = { intervalMs: h.http2KeepAlive.interval, timeoutMs: h.http2KeepAlive.timeout }
  }
  const t = pool?.tcp
  if (t) {
    if (t.connectTimeout !== undefined) cluster.connectTimeout = durationOf(t.connectTimeout)
    if (t.maxConnections) thresholds.maxConnections = t.maxConnections
    if (t.maxConnectionDuration !== undefined) http.maxConnectionDurationMs = t.maxConnectionDuration
    if (t.idleTimeout !== undefined) http.idleTimeoutMs ??= t.idleTimeout
  }
  applyKeepalive(cluster, t?.tcpKeepalive, mesh.tcpKeepalive)
}

function applyKeepalive(cluster: Cluster, own: TcpKeepalive | undefined, mesh: TcpKeepalive | undefined): void {
  const keepalive = own ?? mesh
  if (!keepalive) return
  // As unsigned as the socket option is.
  const seconds = (ms: number | undefined) =>
    ms === undefined ? undefined : Math.min(Math.max(Math.trunc(ms / 1000), 0), 2 ** 32 - 1)
  cluster.upstreamConnectionOptions = create(UpstreamConnectionOptionsSchema, {
    tcpKeepalive: {
      keepaliveProbes: keepalive.probes ? keepalive.probes : undefined,
      keepaliveTime: seconds(keepalive.time),
      keepaliveInterval: seconds(keepalive.interval),
    },
  })
}

/** outlierDetection: success-rate ejection stays off, what the rule names is enforced fully, a zero switches it off. */
export function applyOutlierDetection(
  cluster: Cluster,
  http: HttpOptions,
  outlier: OutlierDetection | undefined,
  service: Pick<Service, 'attributes'>,
): void {
  if (!outlier) return
  const out = create(OutlierDetectionSchema, {
    enforcingSuccessRate: 0,
    interval: outlier.interval === undefined ? undefined : durationOf(outlier.interval),
    baseEjectionTime: outlier.baseEjectionTime === undefined ? undefined : durationOf(outlier.baseEjectionTime),
    maxEjectionPercent: outlier.maxEjectionPercent ? outlier.maxEjectionPercent : undefined,
  })
  const errors = outlier.consecutive5xxErrors
  if (errors !== undefined) {
    out.consecutive5xx = errors
    out.enforcingConsecutive5xx = errors > 0 ? 100 : 0
  }
  if (outlier.consecutiveGatewayErrors !== undefined) {
    out.consecutiveGatewayFailure = outlier.consecutiveGatewayErrors
    out.enforcingConsecutiveGatewayFailure = outlier.consecutiveGatewayErrors > 0 ? 100 : 0
  }
  if (outlier.splitExternalLocalOriginErrors) {
    out.splitExternalLocalOriginErrors = true
    if (outlier.consecutiveLocalOriginFailures) {
      out.consecutiveLocalOriginFailure = outlier.consecutiveLocalOriginFailures
      out.enforcingConsecutiveLocalOriginFailure = 100
    }
    out.enforcingLocalOriginSuccessRate = 0
  }
  cluster.outlierDetection = out
  // Where places are preferred unhealthy endpoints are sent, and a panic would send requests to them.
  if (outlier.minHealthPercent && service.attributes.trafficDistribution === '') {
    cluster.commonLbConfig ??= create(Cluster_CommonLbConfigSchema)
    cluster.commonLbConfig.healthyPanicThreshold = {
      $typeName: 'envoy.type.v3.Percent',
      value: outlier.minHealthPercent,
    }
  }
  if (outlier.outlierDetectionHttpErrorCodes?.length) http.errorCodes = outlier.outlierDetectionHttpErrorCodes
}

/** The locality settings that hold: the rule's, else the mesh's; null when switched off. */
export function localitySetting(lb: LoadBalancer | undefined, mesh: MeshConfig): LocalityLbSetting | null {
  const setting = lb?.localityLbSetting ?? mesh.localityLbSetting
  return setting && setting.enabled !== false ? setting : null
}

/** The zone-aware setting that holds: the rule's, else the mesh's where neither rule nor service says otherwise. */
export function zoneAwareSetting(
  lb: LoadBalancer | undefined,
  service: Pick<Service, 'attributes'>,
  mesh: MeshConfig,
): ZoneAwareLbSetting | null {
  if (lb?.zoneAwareLbSetting) return lb.zoneAwareLbSetting
  if (lb?.localityLbSetting || service.attributes.trafficDistribution !== '') return null
  return mesh.zoneAwareLbSetting ?? null
}

/** loadBalancer: policy, hashing, warm-up and locality weighting. */
export function applyLoadBalancer(
  cluster: Cluster,
  policy: ClusterPolicy,
  service: Pick<Service, 'attributes'>,
  mesh: MeshConfig,
): void {
  const lb = policy.loadBalancer
  const zoneAware = zoneAwareSetting(lb, service, mesh)
  if (zoneAware) applyZoneAware(cluster, zoneAware)
  const preferred = !lb?.localityLbSetting && service.attributes.trafficDistribution !== ''
  const locality = zoneAware ? null : localitySetting(lb, mesh)
  if (!zoneAware && (preferred || locality)) {
    const weighted =
      preferred ||
      (locality?.distribute?.length ?? 0) > 0 ||
      (policy.outlierDetection !== undefined &&
        ((locality?.failover?.length ?? 0) > 0 || (locality?.failoverPriority?.length ?? 0) > 0))
    if (weighted) {
      cluster.commonLbConfig!.localityConfigSpecifier = {
        case: 'localityWeightedLbConfig',
        value: create(Cluster_CommonLbConfig_LocalityWeightedLbConfigSchema),
      }
    }
  }
  const type = cluster.clusterDiscoveryType
  if (type.case === 'type' && type.value === Cluster_DiscoveryType.ORIGINAL_DST) {
    cluster.lbPolicy = Cluster_LbPolicy.CLUSTER_PROVIDED
    return
  }
  // A ring of no size of its own keeps the warm-up, as in istiod.
  applySimple(cluster, lb)
  if (lb?.consistentHash) applyHash(cluster, lb)
}

/** A setting that is off must be said, too: Envoy prefers its own zone by itself. */
function applyZoneAware(cluster: Cluster, { enabled, minClusterSize }: ZoneAwareLbSetting): void {
  cluster.commonLbConfig!.localityConfigSpecifier = {
    case: 'zoneAwareLbConfig',
    value: create(Cluster_CommonLbConfig_ZoneAwareLbConfigSchema, {
      routingEnabled: enabled === false ? { value: 0 } : undefined,
      minClusterSize: minClusterSize === undefined ? undefined : BigInt(minClusterSize),
    }),
  }
}

function applySimple(cluster: Cluster, lb: LoadBalancer | undefined): void {
  switch (lb?.simple) {
    case 'RANDOM':
      cluster.lbPolicy = Cluster_LbPolicy.RANDOM
      return
    case 'ROUND_ROBIN': {
      cluster.lbPolicy = Cluster_LbPolicy.ROUND_ROBIN
      const slowStartConfig = slowStart(lb)
      if (slowStartConfig) {
        cluster.lbConfig = {
          case: 'roundRobinLbConfig',
          value: { $typeName: 'envoy.config.cluster.v3.Cluster.RoundRobinLbConfig', slowStartConfig },
        }
      }
      return
    }
    case 'PASSTHROUGH':
      cluster.lbPolicy = Cluster_LbPolicy.CLUSTER_PROVIDED
      cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST }
      cluster.edsClusterConfig = undefined
      cluster.loadAssignment = undefined
      return
    default: {
      cluster.lbPolicy = Cluster_LbPolicy.LEAST_REQUEST
      const slowStartConfig = slowStart(lb)
      if (slowStartConfig) {
        cluster.lbConfig = {
          case: 'leastRequestLbConfig',
          value: { $typeName: 'envoy.config.cluster.v3.Cluster.LeastRequestLbConfig', slowStartConfig },
        }
      }
    }
  }
}

function slowStart(lb: LoadBalancer | undefined) {
  const warmup = lb?.warmup
  if (warmup) {
    return create(Cluster_SlowStartConfigSchema, {
      slowStartWindow: durationOf(warmup.duration),
      // istiod writes this key; Envoy takes any text, and an equal configuration is what clients compare.
      aggression: { defaultValue: warmup.aggression ?? 1, runtimeKey: '(' },
      minWeightPercent: { value: warmup.minimumPercent ?? 10 },
    })
  }
  if (lb?.warmupDurationSecs === undefined) return undefined
  return create(Cluster_SlowStartConfigSchema, { slowStartWindow: durationOf(lb.warmupDurationSecs) })
}

/** Ring size of a hash policy that names no algorithm. */
const DEFAULT_RING_SIZE = 1024

/** The hashing balancer of a policy that has `consistentHash`. */
export function applyHash(cluster: Cluster, lb: LoadBalancer): void {
  const hash = lb.consistentHash!
  if (hash.maglev) {
    cluster.lbPolicy = Cluster_LbPolicy.MAGLEV
    if (hash.maglev.tableSize) {
      cluster.lbConfig = {
        case: 'maglevLbConfig',
        value: {
          $typeName: 'envoy.config.cluster.v3.Cluster.MaglevLbConfig',
          tableSize: BigInt(hash.maglev.tableSize),
        },
      }
    }
    return
  }
  cluster.lbPolicy = Cluster_LbPolicy.RING_HASH
  const size = hash.ringHash ? hash.ringHash.minimumRingSize : hash.minimumRingSize || DEFAULT_RING_SIZE
  if (!size) return
  cluster.lbConfig = {
    case: 'ringHashLbConfig',
    value: {
      $typeName: 'envoy.config.cluster.v3.Cluster.RingHashLbConfig',
      minimumRingSize: BigInt(size),
      hashFunction: 0,
    },
  }
}
