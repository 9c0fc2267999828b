// envoy.config.cluster.v3.OutlierDetection → plain data with Envoy's defaults (envoy-contract §15).

import type { OutlierDetection } from '../../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { OutlierDetectionSchema } from '../../../api/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import { durationMsOr } from '../../config/duration.ts'
import type { RuntimeSnapshot } from '../../config/extension.ts'
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
  // The default cap never undercuts a longer base.
  const maxEjectionTimeMs = durationMsOr(message.maxEjectionTime, Math.max(300_000, baseEjectionTimeMs))
  if (maxEjectionTimeMs < baseEjectionTimeMs)
    throw new ConfigError(
      `${path}.max_ejection_time`,
      "outlier detector's max_ejection_time cannot be smaller than base_ejection_time",
    )
  return {
    intervalMs: durationMsOr(message.interval, 10_000),
    baseEjectionTimeMs,
    maxEjectionTimeMs,
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

/** Of the numbers in a configuration those that the runtime may override, and under which key below `outlier_detection.`. */
const RUNTIME_KEYS = {
  intervalMs: 'interval_ms',
  baseEjectionTimeMs: 'base_ejection_time_ms',
  maxEjectionTimeMs: 'max_ejection_time_ms',
  maxEjectionTimeJitterMs: 'max_ejection_time_jitter_ms',
  maxEjectionPercent: 'max_ejection_percent',
  consecutive5xx: 'consecutive_5xx',
  enforcingConsecutive5xx: 'enforcing_consecutive_5xx',
  consecutiveGatewayFailure: 'consecutive_gateway_failure',
  enforcingConsecutiveGatewayFailure: 'enforcing_consecutive_gateway_failure',
  consecutiveLocalOriginFailure: 'consecutive_local_origin_failure',
  enforcingConsecutiveLocalOriginFailure: 'enforcing_consecutive_local_origin_failure',
  successRateMinimumHosts: 'success_rate_minimum_hosts',
  successRateRequestVolume: 'success_rate_request_volume',
  successRateStdevFactor: 'success_rate_stdev_factor',
  enforcingSuccessRate: 'enforcing_success_rate',
  enforcingLocalOriginSuccessRate: 'enforcing_local_origin_success_rate',
  failurePercentageThreshold: 'failure_percentage_threshold',
  failurePercentageMinimumHosts: 'failure_percentage_minimum_hosts',
  failurePercentageRequestVolume: 'failure_percentage_request_volume',
  enforcingFailurePercentage: 'enforcing_failure_percentage',
  enforcingFailurePercentageLocalOrigin: 'enforcing_failure_percentage_local_origin',
} as const satisfies { readonly [field in keyof OutlierConfig]?: string }

/** The configuration as it is at the moment: each reading asks the runtime. */
export function underRuntime(config: OutlierConfig, runtime: RuntimeSnapshot): OutlierConfig {
  const fields = Object.entries(RUNTIME_KEYS) as [keyof typeof RUNTIME_KEYS, string][]
  const readings = fields.map(([field, key]): [string, PropertyDescriptor] => [
    field,
    { enumerable: true, get: () => runtime.number(`outlier_detection.${key}`, config[field]) },
  ])
  return Object.defineProperties({ ...config }, Object.fromEntries(readings))
}
