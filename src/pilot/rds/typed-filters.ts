// Per-route filter configuration: faults and CORS.

import { create } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { CorsPolicySchema } from '../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../api/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import {
  type FractionalPercent,
  FractionalPercent_DenominatorType,
  FractionalPercentSchema,
} from '../../api/gen/envoy/type/v3/percent_pb.js'
import { GRPC_STATUS_NAMES } from '../../base/grpc-status.ts'
import type { CorsPolicy, HttpFaultInjection, Percent } from '../../config/index.ts'
import { durationOf } from '../xds/messages.ts'
import { stringMatcher } from './match.ts'

/** Millionths, as Istio writes percentages. */
export function millionths(percent: Percent): FractionalPercent {
  return create(FractionalPercentSchema, {
    numerator: Math.trunc((percent.value ?? 0) * 10_000),
    denominator: FractionalPercent_DenominatorType.MILLION,
  })
}

export const HUNDRED_PERCENT = create(FractionalPercentSchema, { numerator: 100 })

/** null: nothing in it says what to do. */
export function faultConfig(fault: HttpFaultInjection): Any | null {
  const delay = fault.delay?.fixedDelay === undefined ? undefined : fault.delay
  const abort = fault.abort?.httpStatus === undefined && fault.abort?.grpcStatus === undefined ? undefined : fault.abort
  if (!delay && !abort) return null
  return anyPack(
    HTTPFaultSchema,
    create(HTTPFaultSchema, {
      delay: delay && {
        faultDelaySecifier: { case: 'fixedDelay', value: durationOf(delay.fixedDelay ?? 0) },
        percentage: delay.percentage
          ? millionths(delay.percentage)
          : create(FractionalPercentSchema, { numerator: delay.percent ?? 0 }),
      },
      abort: abort && {
        errorType:
          abort.grpcStatus !== undefined
            ? { case: 'grpcStatus', value: GRPC_STATUS_NAMES.indexOf(abort.grpcStatus) }
            : { case: 'httpStatus', value: abort.httpStatus ?? 0 },
        percentage: abort.percentage && millionths(abort.percentage),
      },
    }),
  )
}

export function corsConfig(cors: CorsPolicy): Any {
  const origins = cors.allowOrigins ?? cors.allowOrigin?.map((exact) => ({ exact })) ?? []
  return anyPack(
    CorsPolicySchema,
    create(CorsPolicySchema, {
      allowOriginStringMatch: origins.map(stringMatcher),
      allowMethods: cors.allowMethods?.join(','),
      allowHeaders: cors.allowHeaders?.join(','),
      exposeHeaders: cors.exposeHeaders?.join(','),
      maxAge: cors.maxAge === undefined ? undefined : String(Math.trunc(cors.maxAge / 1000)),
      allowCredentials: cors.allowCredentials,
      filterEnabled: { defaultValue: HUNDRED_PERCENT },
      forwardNotMatchingPreflights: cors.unmatchedPreflights !== 'IGNORE',
    }),
  )
}
