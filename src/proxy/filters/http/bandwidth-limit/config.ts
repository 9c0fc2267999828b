// envoy.filters.http.bandwidth_limit: configuration; a route's takes the place of the filter's.

import {
  type BandwidthLimit,
  BandwidthLimitSchema,
  BandwidthLimit_EnableMode as EnableMode,
} from '../../../../api/gen/envoy/extensions/filters/http/bandwidth_limit/v3/bandwidth_limit_pb.js'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { type RuntimeFlag, runtimeFlag } from '../../../config/runtime-flag.ts'
import { createTokenMemory, DEFAULT_FILL_INTERVAL_MS } from '../stream-rate-limiter.ts'
import { createBandwidthLimitFilter } from './filter.ts'

export interface BandwidthLimitConfig {
  readonly statPrefix: string
  readonly request: boolean
  readonly response: boolean
  /** 0: it limits nothing. */
  readonly kibPerSecond: number
  /** Its tokens, which all workers take from. */
  readonly memory: SharedArrayBuffer
  readonly fillIntervalMs: number
  readonly enabled: RuntimeFlag
  /** How long the bodies took is told in trailers of the response. */
  readonly responseTrailers: boolean
  readonly trailerPrefix: string
}

export const bandwidthLimitFilter: HttpFilterExtension<BandwidthLimitConfig, BandwidthLimitConfig> = {
  name: 'envoy.filters.http.bandwidth_limit',
  desc: BandwidthLimitSchema,
  parse: (message, context) => parse(message as BandwidthLimit, context),
  routeDesc: BandwidthLimitSchema,
  parseRoute: (message, context) => {
    if ((message as BandwidthLimit).limitKbps === undefined)
      throw new ConfigError(context.at('limit_kbps').path, 'is required in the configuration of a route')
    return parse(message as BandwidthLimit, context)
  },
  create: createBandwidthLimitFilter,
}

function parse(message: BandwidthLimit, context: ParseContext): BandwidthLimitConfig {
  const { enableMode } = message
  if (enableMode !== EnableMode.DISABLED && message.limitKbps === undefined)
    throw new ConfigError(context.at('limit_kbps').path, 'is required unless enable_mode is DISABLED')
  const kibPerSecond = Number(message.limitKbps ?? 0n)
  const fillIntervalMs = durationMsOr(message.fillInterval, DEFAULT_FILL_INTERVAL_MS)
  return {
    statPrefix: message.statPrefix,
    request: enableMode === EnableMode.REQUEST || enableMode === EnableMode.REQUEST_AND_RESPONSE,
    response: enableMode === EnableMode.RESPONSE || enableMode === EnableMode.REQUEST_AND_RESPONSE,
    kibPerSecond,
    fillIntervalMs,
    memory: createTokenMemory(Math.max(1, kibPerSecond), fillIntervalMs),
    enabled: runtimeFlag(message.runtimeEnabled),
    responseTrailers: message.enableResponseTrailers,
    trailerPrefix: message.responseTrailerPrefix === '' ? '' : `${message.responseTrailerPrefix.toLowerCase()}-`,
  }
}
