import { bool, double, duration, type Infer, list, map, message, oneOfNames, required, string } from '../schema.ts'
import { policySelector, targetReference, targetReferences } from './common.ts'

const workloadMode = oneOfNames('CLIENT_AND_SERVER', 'CLIENT', 'SERVER')
export type WorkloadMode = Infer<typeof workloadMode>
const providers = list(message({ name: required(string({ minLength: 1 })) }))

const customTag = message(
  {
    literal: message({ value: required(string({ minLength: 1 })) }),
    environment: message({ name: required(string({ minLength: 1 })), defaultValue: string() }),
    header: message({ name: required(string({ minLength: 1 })), defaultValue: string() }),
    formatter: message({ value: required(string({ minLength: 1 })) }),
  },
  { oneof: [['literal', 'environment', 'header', 'formatter']] },
)
export type TracingCustomTag = Infer<typeof customTag>

const tracing = message({
  match: message({ mode: workloadMode }),
  providers,
  randomSamplingPercentage: double({ min: 0, max: 100 }),
  disableSpanReporting: bool,
  customTags: map(customTag),
  useRequestIdForTraceSampling: bool,
  enableIstioTags: bool,
  disableContextPropagation: bool,
})
export type Tracing = Infer<typeof tracing>

const metric = oneOfNames(
  'ALL_METRICS',
  'REQUEST_COUNT',
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_OPENED_CONNECTIONS',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_SENT_BYTES',
  'TCP_RECEIVED_BYTES',
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
)
export type IstioMetric = Infer<typeof metric>

const metricsOverride = message({
  match: message(
    { metric, customMetric: string({ minLength: 1 }), mode: workloadMode },
    { oneof: [['metric', 'customMetric']] },
  ),
  disabled: bool,
  tagOverrides: map(message({ operation: oneOfNames('UPSERT', 'REMOVE'), value: string() })),
})
export type MetricsOverride = Infer<typeof metricsOverride>

const metrics = message({ providers, overrides: list(metricsOverride), reportingInterval: duration({ min: 1 }) })
export type Metrics = Infer<typeof metrics>

const accessLogging = message({
  match: message({ mode: workloadMode }),
  providers,
  disabled: bool,
  filter: message({ expression: string() }),
})
export type AccessLogging = Infer<typeof accessLogging>

export const telemetry = message({
  selector: policySelector,
  targetRef: targetReference,
  targetRefs: targetReferences,
  tracing: list(tracing),
  metrics: list(metrics),
  accessLogging: list(accessLogging),
})
export type TelemetrySpec = Infer<typeof telemetry>
