// One tracer for all connection managers of a worker with the same provider: they fill its reports together.

import type { WorkerContext } from '../../config/extension.ts'
import { localAddress } from '../../http/connection-manager/remote-address.ts'
import type { TracingConfig } from './config.ts'
import { OpenTelemetryTracer } from './opentelemetry-tracer.ts'
import type { OperationName, Tracer } from './span.ts'
import { ZipkinTracer } from './zipkin-tracer.ts'

/** By worker (its clusters), then by configuration. */
const tracers = new WeakMap<WorkerContext['clusters'], Map<string, Tracer>>()

/** null = no provider. `version`: of this proxy. */
export function createTracer(
  config: TracingConfig,
  operation: OperationName,
  context: WorkerContext,
  version: string,
): Tracer | null {
  const { provider, spawnUpstreamSpan } = config
  if (provider === null) return null
  let ofWorker = tracers.get(context.clusters)
  if (!ofWorker) tracers.set(context.clusters, (ofWorker = new Map()))
  const key = JSON.stringify([provider, operation, spawnUpstreamSpan])
  let tracer = ofWorker.get(key)
  if (!tracer) {
    tracer =
      provider.kind === 'zipkin'
        ? new ZipkinTracer(provider, operation, spawnUpstreamSpan, context, localAddress())
        : new OpenTelemetryTracer(provider, operation, spawnUpstreamSpan, context, process.env, version)
    ofWorker.set(key, tracer)
  }
  return tracer
}
