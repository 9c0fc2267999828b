// envoy.config.cluster.v3.OutlierDetection → plain data with Envoy's defaults (envoy-contract §15).

import type { OutlierDetection } from '../../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { OutlierDetectionSchema } from '../../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { durationMsOr } from '../../config/duration.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'

/** Milliseconds, percents (0–100) and counts. */
export interface OutlierConfig {
  readonly intervalMs: number
  readonly baseEjectionTimeMs: number
  readonly maxEjectionTimeMs: number
  readonly maxEjectionTimeJitterMs: number
  readonly maxEjectionPercent: number
  readonly alwaysEjectOneHost: boolean
  readonly consecutive5xx: number
  readonly enforcingConsecutive5xx: number
  readonly consecutiveGatewayFailure: number
  readonly enforcingConsecutiveGatewayFailure: number
  readonly splitExternalLocalOriginErrors: boolean
  readonly consecutiveLocalOriginFailure: number
  readonly enforcingConsecutiveLocalOriginFailure: number
  readonly successRateMinimumHosts: number
  readonly successRateRequestVolume: number
  /** Thousandths of a standard deviation. */
  readonly successRateStdevFactor: number
  readonly enforcingSuccessRate: number
  readonly enforcingLocalOriginSuccessRate: number
  readonly failurePercentageThreshold: number
  readonly failurePercentageMinimumHosts: number
  readonly failurePercentageRequestVolume: number
  readonly enforcingFailurePercentage: number
  readonly enforcingFailurePercentageLocalOrigin: number
  readonly successfulActiveHealthCheckUnejectHost: boolean
}

const SUPPORTED = new Set([
  'consecutive_5xx',
  'interval',
  'base_ejection_time',
  'max_ejection_percent',
  'enforcing_consecutive_5xx',
  'enforcing_success_rate',
  'success_rate_minimum_hosts',
  'success_rate_request_volume',
  'success_rate_stdev_factor',
  'consecutive_gateway_failure',
  'enforcing_consecutive_gateway_failure',
  'split_external_local_origin_errors',
  'consecutive_local_origin_failure',
  'enforcing_consecutive_local_origin_failure',
  'enforcing_local_origin_success_rate',
  'failure_percentage_threshold',
  'enforcing_failure_percentage',
  'enforcing_failure_percentage_local_origin',
  'failure_percentage_minimum_hosts',
  'failure_percentage_request_volume',
  'max_ejection_time',
  'max_ejection_time_jitter',
  'successful_active_health_check_uneject_host',
  'always_eject_one_host',
])

export function parseOutlierDetection(message: OutlierDetection, path: string): OutlierConfig {
  refuseUnsupported(OutlierDetectionSchema, message, SUPPORTED, path)
  const baseEjectionTimeMs = durationMsOr(message.baseEjectionTime, 30_000)
  return {
    intervalMs: durationMsOr(message.interval, 10_000),
    baseEjectionTimeMs,
    // The default cap never undercuts a longer base.
    maxEjectionTimeMs: durationMsOr(message.maxEjectionTime, Math.max(300_000, baseEjectionTimeMs)),
    maxEjectionTimeJitterMs: durationMsOr(message.maxEjectionTimeJitter, 0),
    maxEjectionPercent: message.maxEjectionPercent ?? 10,
    alwaysEjectOneHost: message.alwaysEjectOneHost ?? false,
    consecutive5xx: message.consecutive5xx ?? 5,
    enforcingConsecutive5xx: message.enforcingConsecutive5xx ?? 100,
    consecutiveGatewayFailure: message.consecutiveGatewayFailure ?? 5,
    enforcingConsecutiveGatewayFailure: message.enforcingConsecutiveGatewayFailure ?? 0,
    splitExternalLocalOriginErrors: message.splitExternalLocalOriginErrors,
    consecutiveLocalOriginFailure: message.consecutiveLocalOriginFailure ?? 5,
    enforcingConsecutiveLocalOriginFailure: message.enforcingConsecutiveLocalOriginFailure ?? 100,
    successRateMinimumHosts: message.successRateMinimumHosts ?? 5,
    successRateRequestVolume: message.successRateRequestVolume ?? 100,
    successRateStdevFactor: message.successRateStdevFactor ?? 1900,
    enforcingSuccessRate: message.enforcingSuccessRate ?? 100,
    enforcingLocalOriginSuccessRate: message.enforcingLocalOriginSuccessRate ?? 100,
    failurePercentageThreshold: message.failurePercentageThreshold ?? 85,
    failurePercentageMinimumHosts: message.failurePercentageMinimumHosts ?? 5,
    failurePercentageRequestVolume: message.failurePercentageRequestVolume ?? 50,
    enforcingFailurePercentage: message.enforcingFailurePercentage ?? 0,
    enforcingFailurePercentageLocalOrigin: message.enforcingFailurePercentageLocalOrigin ?? 0,
    successfulActiveHealthCheckUnejectHost: message.successfulActiveHealthCheckUnejectHost ?? true,
  }
}
