// envoy.filters.http.admission_control: configuration.

import type { RuntimeDouble, RuntimePercent } from '../../../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type AdmissionControl,
  AdmissionControlSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/admission_control/v3/admission_control_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { createAdmissionControlFilter } from './filter.ts'

/** A number that runtime may replace; '' = it may not. */
export interface RuntimeNumber {
  readonly key: string
  readonly value: number
}

export interface AdmissionControlConfig {
  readonly enabled: RuntimeFlag
  /** Whole seconds. */
  readonly windowS: number
  readonly aggression: RuntimeNumber
  /** Percent of requests that have to succeed. */
  readonly successThreshold: RuntimeNumber
  /** Requests per second below which nothing is rejected. */
  readonly rpsThreshold: RuntimeNumber
  /** Percent. */
  readonly maxRejection: RuntimeNumber
  /** Statuses that are successes, from `from` to below `to`. */
  readonly httpSuccess: readonly { readonly from: number; readonly to: number }[]
  readonly grpcSuccess: readonly number[]
}

const DEFAULT_WINDOW_MS = 30_000
const DEFAULT_SUCCESS_PERCENT = 95
const DEFAULT_MAX_REJECTION_PERCENT = 80
const HIGHEST_GRPC_STATUS = 16
/** Deadlines, exhaustion, aborts, internal errors, unavailability, loss of data (Envoy 1.40, whose documentation leaves out aborts). */
const FAILURES_OF_GRPC: ReadonlySet<number> = new Set([4, 8, 10, 13, 14, 15])
const DEFAULT_GRPC_SUCCESS = Array.from({ length: HIGHEST_GRPC_STATUS + 1 }, (_, status) => status).filter(
  (status) => !FAILURES_OF_GRPC.has(status),
)
const DEFAULT_HTTP_SUCCESS = [{ from: 100, to: 500 }]

export const admissionControlFilter: HttpFilterExtension<AdmissionControlConfig> = {
  name: 'envoy.filters.http.admission_control',
  upstream: true,
  desc: AdmissionControlSchema,
  parse: (message, context) => parse(message as AdmissionControl, context),
  create: createAdmissionControlFilter,
}

function parse(message: AdmissionControl, context: ParseContext): AdmissionControlConfig {
  const threshold = message.srThreshold?.defaultValue?.value
  if (threshold !== undefined && threshold < 1)
    throw new ConfigError(context.at('sr_threshold').path, 'Success rate threshold cannot be less than 1.0%.')
  const { evaluationCriteria: by } = message
  const criteria = by.case === 'successCriteria' ? by.value : undefined
  const at = context.at('success_criteria')
  return {
    enabled: runtimeFlag(message.enabled),
    windowS: Math.floor(durationMsOr(message.samplingWindow, DEFAULT_WINDOW_MS) / 1000),
    aggression: numberOf(message.aggression, 1),
    successThreshold: percentOf(message.srThreshold, DEFAULT_SUCCESS_PERCENT),
    rpsThreshold: { key: message.rpsThreshold?.runtimeKey ?? '', value: message.rpsThreshold?.defaultValue ?? 0 },
    maxRejection: percentOf(message.maxRejectionProbability, DEFAULT_MAX_REJECTION_PERCENT),
    httpSuccess:
      criteria?.httpCriteria?.httpSuccessStatus.map(({ start, end }, i) => {
        if (start < 100 || end > 600 || start >= end)
          throw new ConfigError(
            at.at(`http_criteria.http_success_status[${i}]`).path,
            'invalid HTTP range: it must be within 100 and 600, and end after its start',
          )
        return { from: start, to: end }
      }) ?? DEFAULT_HTTP_SUCCESS,
    grpcSuccess:
      criteria?.grpcCriteria?.grpcSuccessStatus.map((status, i) => {
        if (status > HIGHEST_GRPC_STATUS)
          throw new ConfigError(at.at(`grpc_criteria.grpc_success_status[${i}]`).path, `invalid gRPC code ${status}`)
        return status
      }) ?? DEFAULT_GRPC_SUCCESS,
  }
}

function numberOf(message: RuntimeDouble | undefined, fallback: number): RuntimeNumber {
  return { key: message?.runtimeKey ?? '', value: message?.defaultValue ?? fallback }
}

function percentOf(message: RuntimePercent | undefined, fallback: number): RuntimeNumber {
  return { key: message?.runtimeKey ?? '', value: message?.defaultValue?.value ?? fallback }
}
