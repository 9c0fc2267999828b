// Whether a request is traced, written into its request id (envoy-contract §19): made with or without a trace provider,
// because the next hop reads it.

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { Route } from '../../route/route.ts'
import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig, TracingConfig } from './config.ts'
import { requestIdNumber, TraceReason, traceReasonOf, withTraceReason } from './request-id.ts'

const MILLION = 1_000_000

/** True when the request is traced. Rewrites x-request-id unless the configuration keeps ids as they are. */
export function decideTracing(
  headers: HeaderMap,
  ids: Pick<HcmConfig, 'packTraceReason' | 'useRequestIdForTraceSampling'>,
  config: TracingConfig,
  route: Route | null,
  runtime: RuntimeSnapshot,
): boolean {
  const id = headers.get('x-request-id')
  if (id === undefined) return false
  // All proxies on the way draw alike when the id decides.
  const draw = ids.useRequestIdForTraceSampling ? requestIdNumber(id) : Math.floor(Math.random() * 10_000)
  if (draw === null) return false
  const { client, random, overall } = route?.tracing ?? {
    client: config.clientSampling,
    random: config.randomSampling,
    overall: config.overallSampling,
  }
  const sampled = (key: string, millionths: number): boolean =>
    draw % 10_000 < (runtime.fraction(key, millionths) * 10_000) / MILLION
  let reason: TraceReason = traceReasonOf(id) ?? TraceReason.NotTraceable
  if (reason === TraceReason.NotTraceable) {
    if (headers.has('x-client-trace-id') && sampled('tracing.client_enabled', client)) reason = TraceReason.ClientForced
    else if (headers.has('x-envoy-force-trace')) reason = TraceReason.ServiceForced
    else if (sampled('tracing.random_sampling', random)) reason = TraceReason.Sampled
  }
  if (reason !== TraceReason.NotTraceable && !sampled('tracing.global_enabled', overall))
    reason = TraceReason.NotTraceable
  if (ids.packTraceReason && reason !== traceReasonOf(id)) headers.set('x-request-id', withTraceReason(id, reason))
  return reason !== TraceReason.NotTraceable
}
