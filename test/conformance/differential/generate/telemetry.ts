// Telemetry and ProxyConfigs.
import type { Draw } from './draw.ts'
import { TRACERS } from './providers.ts'
import { attachment, selector } from './vocabulary.ts'

const METRICS = [
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_OPENED_CONNECTIONS',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_RECEIVED_BYTES',
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
] as const
const MODE = ['CLIENT', 'SERVER', 'CLIENT_AND_SERVER'] as const

export function telemetry(draw: Draw): object {
  const match = () => draw.maybe(0.4, () => ({ mode: draw.pick(MODE) }))
  return {
    ...attachment(draw),
    accessLogging: draw.maybe(0.5, () =>
      draw.many(1, 2, () => ({
        match: match(),
        providers: draw.maybe(0.7, () =>
          draw
            .some(['envoy', 'log-json', 'log-text', 'missing', 'otel-log', 'als', 'tcp-als'], 1, 2)
            .map((name) => ({ name })),
        ),
        disabled: draw.maybe(0.2, () => draw.chance(0.8)),
        filter: draw.maybe(0.3, () => ({
          expression: draw.pick(['response.code >= 400', 'connection.mtls', 'request.host == "x"']),
        })),
      })),
    ),
    tracing: draw.maybe(0.4, () => [
      {
        match: match(),
        providers: draw.maybe(0.6, () => [{ name: draw.pick([...TRACERS, 'missing']) }]),
        randomSamplingPercentage: draw.maybe(0.5, () => draw.pick([0, 5, 33.33, 100])),
        disableSpanReporting: draw.maybe(0.2, () => draw.chance(0.7)),
        useRequestIdForTraceSampling: draw.maybe(0.2, () => draw.chance(0.5)),
        disableContextPropagation: draw.maybe(0.15, () => draw.chance(0.7)),
        enableIstioTags: draw.maybe(0.2, () => draw.chance(0.5)),
        customTags: draw.maybe(0.3, () => ({
          tag: draw.pick([
            { literal: { value: 'x' } },
            { environment: { name: 'ENV', defaultValue: 'd' } },
            { header: { name: 'x-user', defaultValue: 'u' } },
            { formatter: { value: '%PROTOCOL%' } },
          ]),
        })),
      },
    ]),
    metrics: draw.maybe(0.4, () => [
      {
        providers: draw.maybe(0.7, () => [{ name: 'prometheus' }]),
        reportingInterval: draw.maybe(0.2, () => '10s'),
        overrides: draw.maybe(0.7, () =>
          draw.many(1, 2, () => ({
            match: draw.maybe(0.7, () => ({
              ...draw.pick<object>([
                { metric: 'REQUEST_COUNT' },
                { metric: draw.pick(METRICS) },
                { metric: 'ALL_METRICS' },
                { customMetric: 'own' },
                {},
                { metric: 'TCP_SENT_BYTES' },
              ]),
              mode: draw.maybe(0.4, () => draw.pick(MODE)),
            })),
            disabled: draw.maybe(0.4, () => draw.chance(0.7)),
            tagOverrides: draw.maybe(0.5, () => ({
              request_method: draw.pick<object>([
                { value: 'request.method' },
                { operation: 'REMOVE' },
                { operation: 'UPSERT', value: 'request.host' },
              ]),
              ...(draw.chance(0.4) && { 'a-tag': { value: "'x'" } }),
            })),
          })),
        ),
      },
    ]),
  }
}

export function proxyConfig(draw: Draw): object {
  return {
    selector: selector(draw),
    concurrency: draw.maybe(0.5, () => draw.between(0, 4)),
    image: draw.maybe(0.1, () => ({ imageType: 'distroless' })),
    environmentVariables: draw.maybe(0.4, () => ({ K: 'v' })),
  }
}
