// envoy.filters.http.fault: configuration, of the filter and of routes (the same message; a route's replaces the filter's).

import { type HTTPFault, HTTPFaultSchema } from '../../../../api/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import type { FractionalPercent } from '../../../../api/gen/envoy/type/v3/percent_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMs } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'
import { sharedCount } from '../../../network/connection-limits.ts'
import { type HeaderMatcherData, parseHeaderMatchers } from '../../../route/header-matcher.ts'
import { millionths, unitMillionths } from '../../../route/parse-common.ts'
import { createFaultFilter } from './filter.ts'

export interface DelayConfig {
  /** null = the request's x-envoy-fault-delay-request. */
  readonly fixedMs: number | null
  readonly share: Share
}

export interface RateLimitConfig {
  /** null = the request's x-envoy-fault-throughput-response. */
  readonly kibPerSecond: number | null
  readonly share: Share
}

/** A share of requests, and what one unit of a percentage header stands for. */
export interface Share {
  readonly millionths: number
  readonly unitMillionths: number
}

export interface AbortConfig {
  /** 0 = not by HTTP status. */
  readonly httpStatus: number
  readonly grpcStatus: number | null
  /** The request's headers say what. */
  readonly byHeader: boolean
  readonly share: Share
}

export interface FaultConfig {
  readonly delay: DelayConfig | null
  readonly abort: AbortConfig | null
  readonly responseRateLimit: RateLimitConfig | null
  /** '' = any. */
  readonly upstreamCluster: string
  readonly headers: readonly HeaderMatcherData[]
  readonly downstreamNodes: readonly string[]
  /** null = unlimited. */
  readonly maxActiveFaults: number | null
  /** Faults at work, of all workers; routes count at their filter. */
  readonly activeFaults: SharedArrayBuffer
  readonly runtimeKeys: FaultRuntimeKeys
  readonly disableDownstreamClusterStats: boolean
  readonly filterMetadata: Readonly<Record<string, unknown>> | null
}

export interface FaultRuntimeKeys {
  readonly delayPercent: string
  readonly delayDuration: string
  readonly abortPercent: string
  readonly abortHttpStatus: string
  readonly abortGrpcStatus: string
  readonly maxActiveFaults: string
  readonly responseRateLimitPercent: string
}

const SUPPORTED: ReadonlySet<string> = new Set([
  'delay',
  'abort',
  'upstream_cluster',
  'headers',
  'downstream_nodes',
  'max_active_faults',
  'delay_percent_runtime',
  'abort_percent_runtime',
  'delay_duration_runtime',
  'abort_http_status_runtime',
  'abort_grpc_status_runtime',
  'max_active_faults_runtime',
  'response_rate_limit',
  'response_rate_limit_percent_runtime',
  'disable_downstream_cluster_stats',
  'filter_metadata',
])

function parseFault(message: HTTPFault, context: ParseContext): FaultConfig {
  refuseUnsupported(HTTPFaultSchema, message, SUPPORTED, context.path)
  return {
    delay: parseDelay(message, context),
    abort: parseAbort(message, context),
    responseRateLimit: parseRateLimit(message, context),
    upstreamCluster: message.upstreamCluster,
    headers: parseHeaderMatchers(message.headers, context.at('headers').path),
    downstreamNodes: message.downstreamNodes,
    maxActiveFaults: message.maxActiveFaults ?? null,
    activeFaults: sharedCount(),
    runtimeKeys: {
      delayPercent: message.delayPercentRuntime || 'fault.http.delay.fixed_delay_percent',
      delayDuration: message.delayDurationRuntime || 'fault.http.delay.fixed_duration_ms',
      abortPercent: message.abortPercentRuntime || 'fault.http.abort.abort_percent',
      abortHttpStatus: message.abortHttpStatusRuntime || 'fault.http.abort.http_status',
      abortGrpcStatus: message.abortGrpcStatusRuntime || 'fault.http.abort.grpc_status',
      maxActiveFaults: message.maxActiveFaultsRuntime || 'fault.http.max_active_faults',
      responseRateLimitPercent: message.responseRateLimitPercentRuntime || 'fault.http.rate_limit.response_percent',
    },
    disableDownstreamClusterStats: message.disableDownstreamClusterStats,
    filterMetadata: (message.filterMetadata as Record<string, unknown> | undefined) ?? null,
  }
}

function parseDelay({ delay }: HTTPFault, context: ParseContext): DelayConfig | null {
  if (!delay) return null
  const specifier = delay.faultDelaySecifier
  if (specifier.case === undefined) {
    throw new ConfigError(context.at('delay').path, 'one of fixed_delay, header_delay is required')
  }
  return {
    fixedMs: specifier.case === 'fixedDelay' ? durationMs(specifier.value) : null,
    share: parseShare(delay.percentage),
  }
}

function parseAbort({ abort }: HTTPFault, context: ParseContext): AbortConfig | null {
  if (!abort) return null
  const error = abort.errorType
  if (error.case === undefined) {
    throw new ConfigError(context.at('abort').path, 'one of http_status, grpc_status, header_abort is required')
  }
  return {
    httpStatus: error.case === 'httpStatus' ? error.value : 0,
    grpcStatus: error.case === 'grpcStatus' ? error.value : null,
    byHeader: error.case === 'headerAbort',
    share: parseShare(abort.percentage),
  }
}

function parseRateLimit({ responseRateLimit }: HTTPFault, context: ParseContext): RateLimitConfig | null {
  if (!responseRateLimit) return null
  const limit = responseRateLimit.limitType
  if (limit.case === undefined) {
    throw new ConfigError(context.at('response_rate_limit').path, 'one of fixed_limit, header_limit is required')
  }
  return {
    kibPerSecond: limit.case === 'fixedLimit' ? Number(limit.value.limitKbps) : null,
    share: parseShare(responseRateLimit.percentage),
  }
}

function parseShare(percentage: FractionalPercent | undefined): Share {
  return { millionths: millionths(percentage, 0), unitMillionths: unitMillionths(percentage) }
}

export const faultFilter: HttpFilterExtension<FaultConfig, FaultConfig> = {
  name: 'envoy.filters.http.fault',
  desc: HTTPFaultSchema,
  parse: (message, context) => parseFault(message as HTTPFault, context),
  routeDesc: HTTPFaultSchema,
  parseRoute: (message, context) => parseFault(message as HTTPFault, context),
  create: createFaultFilter,
}
