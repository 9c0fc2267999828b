// /clusters and /listeners.

import { create, type MessageInitShape, toJson } from '@bufbuild/protobuf'
import { RE2JS } from 're2js'
import { ClustersSchema, type HostStatusSchema } from '../../api/gen/envoy/admin/v3/clusters_pb.js'
import { ListenersSchema } from '../../api/gen/envoy/admin/v3/listeners_pb.js'
import { SimpleMetric_Type } from '../../api/gen/envoy/admin/v3/metrics_pb.js'
import type { AddressSchema } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import { RoutingPriority } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { HealthStatus } from '../../api/gen/envoy/config/core/v3/health_check_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import type { Address } from '../network/connection.ts'
import { type AdminRequest, type AdminResponse, json, text } from './response.ts'
import {
  type AdminSource,
  type ClusterStatusData,
  HEALTH_FLAGS,
  type HostCounts,
  type HostStatusData,
  type Thresholds,
} from './source.ts'

const JSON_OPTIONS = { registry: typeRegistry, useProtoFieldName: true }

/** `?format=json`, `?filter=regex` on cluster names. */
export async function clusters(request: AdminRequest, source: AdminSource): Promise<AdminResponse> {
  let all = await source.clusters()
  const filter = request.query.get('filter')
  if (filter) {
    let regex: RE2JS
    try {
      regex = RE2JS.compile(filter)
    } catch {
      return text(`Invalid re2 regex: ${filter}`, 400)
    }
    all = all.filter((cluster) => regex.matcher(cluster.name).find())
  }
  if (request.query.get('format') !== 'json') return text(all.map(clusterText).join(''))
  const message = create(ClustersSchema, { clusterStatuses: all.map(clusterMessage) })
  return json(toJson(ClustersSchema, message, JSON_OPTIONS))
}

function clusterText(cluster: ClusterStatusData): string {
  const { name, outlier, thresholds } = cluster
  let out = `${name}::observability_name::${cluster.observabilityName}\n`
  if (outlier) {
    out += `${name}::outlier::success_rate_average::${outlier.successRateAverage}\n`
    out += `${name}::outlier::success_rate_ejection_threshold::${outlier.successRateEjectionThreshold}\n`
    out += `${name}::outlier::local_origin_success_rate_average::${outlier.localOriginSuccessRateAverage}\n`
    out += `${name}::outlier::local_origin_success_rate_ejection_threshold::${outlier.localOriginSuccessRateEjectionThreshold}\n`
  }
  out += thresholdsText(name, 'default', thresholds.default) + thresholdsText(name, 'high', thresholds.high)
  out += `${name}::added_via_api::${cluster.addedViaApi}\n`
  if (cluster.edsServiceName) out += `${name}::eds_service_name::${cluster.edsServiceName}\n`
  for (const host of cluster.hosts) out += hostText(name, host)
  return out
}

function thresholdsText(cluster: string, priority: string, t: Thresholds): string {
  const at = `${cluster}::${priority}_priority::`
  return `${at}max_connections::${t.maxConnections}\n${at}max_pending_requests::${t.maxPendingRequests}\n${at}max_requests::${t.maxRequests}\n${at}max_retries::${t.maxRetries}\n`
}

const COUNT_ORDER: readonly (keyof HostCounts)[] = [
  'cx_active',
  'cx_connect_fail',
  'cx_total',
  'rq_active',
  'rq_error',
  'rq_pending_active',
  'rq_success',
  'rq_timeout',
  'rq_total',
]

function hostText(cluster: string, host: HostStatusData): string {
  const at = `${cluster}::${host.address.text}::`
  let out = ''
  for (const name of COUNT_ORDER) out += `${at}${name}::${host.counts[name]}\n`
  const flags = HEALTH_FLAGS.filter((flag) => host.healthFlags.includes(flag)).map((flag) => `/${flag}`)
  const facts = {
    hostname: host.hostname,
    health_flags: flags.join('') || 'healthy',
    weight: host.weight,
    region: host.locality.region,
    zone: host.locality.zone,
    sub_zone: host.locality.subZone,
    canary: host.canary,
    priority: host.priority,
    success_rate: host.successRate,
    local_origin_success_rate: host.localOriginSuccessRate,
  }
  for (const [key, value] of Object.entries(facts)) out += `${at}${key}::${value}\n`
  return out
}

/** Order of the stats in JSON: counters, then gauges. */
const JSON_COUNTERS: readonly (keyof HostCounts)[] = [
  'cx_connect_fail',
  'cx_total',
  'rq_error',
  'rq_success',
  'rq_timeout',
  'rq_total',
]
const JSON_GAUGES: readonly (keyof HostCounts)[] = ['cx_active', 'rq_active', 'rq_pending_active']

function clusterMessage(cluster: ClusterStatusData) {
  const { outlier, thresholds } = cluster
  const percent = (value: number | undefined) => (value === undefined || value < 0 ? undefined : { value })
  const limits = (
    { maxConnections, maxPendingRequests, maxRequests, maxRetries }: Thresholds,
    priority: RoutingPriority,
  ) => ({
    priority,
    maxConnections,
    maxPendingRequests,
    maxRequests,
    maxRetries,
  })
  return {
    name: cluster.name,
    addedViaApi: cluster.addedViaApi,
    successRateEjectionThreshold: percent(outlier?.successRateEjectionThreshold),
    localOriginSuccessRateEjectionThreshold: percent(outlier?.localOriginSuccessRateEjectionThreshold),
    hostStatuses: cluster.hosts.map(hostMessage),
    circuitBreakers: {
      thresholds: [limits(thresholds.default, RoutingPriority.DEFAULT), limits(thresholds.high, RoutingPriority.HIGH)],
    },
    observabilityName: cluster.observabilityName,
    edsServiceName: cluster.edsServiceName,
  }
}

function hostMessage(host: HostStatusData): MessageInitShape<typeof HostStatusSchema> {
  const metric = (name: keyof HostCounts, type: SimpleMetric_Type) => ({ name, type, value: BigInt(host.counts[name]) })
  const has = (flag: HostStatusData['healthFlags'][number]) => host.healthFlags.includes(flag)
  return {
    address: addressMessage(host.address),
    stats: [
      ...JSON_COUNTERS.map((name) => metric(name, SimpleMetric_Type.COUNTER)),
      ...JSON_GAUGES.map((name) => metric(name, SimpleMetric_Type.GAUGE)),
    ],
    healthStatus: {
      failedActiveHealthCheck: has('failed_active_hc'),
      failedOutlierCheck: has('failed_outlier_check'),
      failedActiveDegradedCheck: has('degraded_active_hc'),
      pendingDynamicRemoval: has('pending_dynamic_removal'),
      pendingActiveHc: has('pending_active_hc'),
      excludedViaImmediateHcFail: has('excluded_via_immediate_hc_fail'),
      activeHcTimeout: has('active_hc_timeout'),
      edsHealthStatus: edsHealth(host),
    },
    successRate: host.successRate < 0 ? undefined : { value: host.successRate },
    localOriginSuccessRate: host.localOriginSuccessRate < 0 ? undefined : { value: host.localOriginSuccessRate },
    weight: host.weight,
    hostname: host.hostname,
    priority: host.priority,
    locality: host.locality,
  }
}

function edsHealth(host: HostStatusData): HealthStatus {
  if (host.healthFlags.includes('eds_status_draining')) return HealthStatus.DRAINING
  if (host.healthFlags.includes('failed_eds_health')) return HealthStatus.UNHEALTHY
  if (host.healthFlags.includes('degraded_eds_health')) return HealthStatus.DEGRADED
  return HealthStatus.HEALTHY
}

export function addressMessage(address: Address): MessageInitShape<typeof AddressSchema> {
  if (address.pipe !== undefined) return { address: { case: 'pipe', value: { path: address.pipe } } }
  return {
    address: {
      case: 'socketAddress',
      value: { address: address.ip, portSpecifier: { case: 'portValue', value: address.port } },
    },
  }
}

/** `?format=json`. */
export function listeners(request: AdminRequest, source: AdminSource): AdminResponse {
  const all = source.listeners()
  if (request.query.get('format') === 'json') {
    const message = create(ListenersSchema, {
      listenerStatuses: all.map((listener) => ({
        name: listener.name,
        localAddress: addressMessage(listener.address),
        additionalLocalAddresses: listener.additionalAddresses.map(addressMessage),
      })),
    })
    return json(toJson(ListenersSchema, message, JSON_OPTIONS))
  }
  let out = ''
  for (const listener of all) {
    for (const address of [listener.address, ...listener.additionalAddresses])
      out += `${listener.name}::${address.text}\n`
  }
  return text(out)
}
