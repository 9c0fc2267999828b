// Whether a request is traced, written into its request id (envoy-contract §19): made with or without a trace provider,
// because the next hop reads it.

import type { RuntimeSnapshot } from '../../config/extension.ts'
import type { TracingConfig } from '../../observe/tracing/config.ts'
import type { Route } from '../../route/route.ts'
import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig } from './config.ts'
import { requestIdNumber, TraceReason, traceReasonOf, withTraceReason } from './request-id.ts'

const MILLION = 1_000_000

/** Why the request is traced, or not. Rewrites x-request-id unless the configuration keeps ids as they are. */
export function decideTracing(
  headers: HeaderMap,
  ids: Pick<HcmConfig, 'packTraceReason' | 'useRequestIdForTraceSampling'>,
  config: TracingConfig,
  route: Route | null,
  runtime: RuntimeSnapshot,
): TraceReason {
  // Then the tracer's own sampler decides.
  if (!ids.useRequestIdForTraceSampling) return TraceReason.Sampled
  const id = headers.get('x-request-id')
  // All proxies on the way draw alike, because the id decides.
  const draw = id === undefined ? null : requestIdNumber(id)
  if (id === undefined || draw === null) return TraceReason.NotTraceable
  const own = route?.tracing
  const sampled = (key: string, millionths: number): boolean =>
    draw % 10_000 < (runtime.fraction(key, millionths) * 10_000) / MILLION
  let reason: TraceReason = traceReasonOf(id) ?? TraceReason.NotTraceable
  if (reason === TraceReason.NotTraceable) {
    if (
      headers.has('x-client-trace-id') &&
      Math.random() * MILLION < runtime.fraction('tracing.client_enabled', own?.client ?? config.clientSampling)
    )
      reason = TraceReason.ClientForced
    else if (headers.has('x-envoy-force-trace')) reason = TraceReason.ServiceForced
    else if (sampled('tracing.random_sampling', own?.random ?? config.randomSampling)) reason = TraceReason.Sampled
  }
  if (reason !== TraceReason.NotTraceable && !sampled('tracing.global_enabled', own?.overall ?? config.overallSampling))
    reason = TraceReason.NotTraceable
  if (ids.packTraceReason && reason !== traceReasonOf(id)) headers.set('x-request-id', withTraceReason(id, reason))
  return reason
}
