// envoy.tracers.opentelemetry: W3C trace context, spans over OTLP by gRPC or HTTP.

import { create } from '@bufbuild/protobuf'
import {
  type KeyValue,
  KeyValueSchema,
  Span_SpanKind as Kind,
  ResourceSchema,
  Span_EventSchema,
  type Span as SpanMessage,
  SpanSchema,
  Status_StatusCode as StatusCode,
  StatusSchema,
} from '../../../api/gen/opentelemetry/trace_pb.js'
import { characters } from '../../../base/utf8.ts'
import type { WorkerContext } from '../../config/extension.ts'
import type { HeaderMap } from '../../http/header-map.ts'
import { now } from '../../stream-info.ts'
import type { Counter } from '../stats.ts'
import type { OpenTelemetryData } from './config.ts'
import { OtlpExporter } from './otlp-exporter.ts'
import type { OperationName, Span, SpanStart, Tracer } from './span.ts'
import { SpanBuffer } from './span-buffer.ts'
import { randomId } from './span-ids.ts'
import { extractW3c, injectW3c, replace } from './trace-context.ts'

/** Flags of OTLP spans: sampled; whether the parent is of another process is known, and so it is. */
const SAMPLED = 0x001
const HAS_IS_REMOTE = 0x100
const IS_REMOTE = 0x200
/** What the resource is called when nobody names it: Envoy's default. */
const UNKNOWN_SERVICE = 'unknown_service:envoy'

const nanos = (ms: number): bigint => BigInt(Math.round(ms * 1000)) * 1000n

function attribute(key: string, value: string): KeyValue {
  return create(KeyValueSchema, { key, value: { value: { case: 'stringValue', value } } })
}

export class OpenTelemetryTracer implements Tracer {
  private readonly alwaysOn: boolean
  private readonly kind: Kind
  private readonly buffer: SpanBuffer<SpanMessage>
  private readonly maxCacheSize: number
  private readonly dropped: Counter

  /** `environment`: OTEL_RESOURCE_ATTRIBUTES is read from it. `version`: of this proxy. */
  constructor(
    data: OpenTelemetryData,
    operation: OperationName,
    spawnUpstreamSpan: boolean,
    context: WorkerContext,
    environment: NodeJS.ProcessEnv,
    version: string,
  ) {
    this.alwaysOn = data.alwaysOn
    this.maxCacheSize = data.maxCacheSize
    // With a span of its own for each upstream request the proxy is a hop like any other.
    this.kind = operation === 'egress' && !spawnUpstreamSpan ? Kind.CLIENT : Kind.SERVER
    const scope = context.stats.scope('tracing.opentelemetry')
    this.dropped = scope.counter('spans_dropped')
    const sent = scope.counter('spans_sent')
    const attributes = resourceAttributes(data, environment, version)
    const resource = create(ResourceSchema, {
      attributes: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
    })
    const exporter = new OtlpExporter(data.exporter, resource, version, context.clusters)
    this.buffer = new SpanBuffer('opentelemetry', context.runtime, scope.counter('timer_flushed'), (spans) => {
      sent.add(spans.length)
      exporter.send(spans)
    })
  }

  startSpan(headers: HeaderMap, name: string, start: SpanStart, traced: boolean): Span | null {
    const parent = extractW3c(headers)
    if (parent === null) return null
    // What this proxy does not trace it does not report, whatever caller and sampler say.
    const sampled = traced && (this.alwaysOn || (parent?.sampled ?? true))
    const traceId = parent?.traceId ?? randomId() + randomId()
    return new OpenTelemetrySpan(
      this,
      name,
      this.kind,
      {
        traceId,
        parentId: parent?.spanId ?? '',
        remoteParent: parent !== undefined,
        traceState: parent?.traceState ?? '',
        sampled,
      },
      start,
    )
  }

  report(span: SpanMessage): void {
    if (this.buffer.size >= this.maxCacheSize) this.dropped.inc()
    else this.buffer.add(span)
  }
}

/** What the spans' resource says of this process: later sources win where they say anything. */
function resourceAttributes(
  data: OpenTelemetryData,
  environment: NodeJS.ProcessEnv,
  version: string,
): Record<string, string> {
  const attributes: Record<string, string> = {
    'telemetry.sdk.language': 'nodejs',
    'telemetry.sdk.name': 'outrigger',
    'telemetry.sdk.version': version,
    'service.name': data.serviceName || UNKNOWN_SERVICE,
  }
  for (const detector of data.detectors) {
    const found =
      detector.kind === 'static'
        ? detector.attributes
        : environmentAttributes(environment.OTEL_RESOURCE_ATTRIBUTES ?? '')
    for (const [key, value] of Object.entries(found)) if (value !== '') attributes[key] = value
  }
  return attributes
}

/** `key=value,key=value`; parts without `=` are passed over. */
function environmentAttributes(text: string): Record<string, string> {
  const pairs = text.split(',').flatMap((pair): [string, string][] => {
    const at = pair.indexOf('=')
    return at > 0 ? [[pair.slice(0, at).trim(), pair.slice(at + 1).trim()]] : []
  })
  return Object.fromEntries(pairs)
}

/** Where a span stands in its trace. */
interface Lineage {
  readonly traceId: string
  /** '' = a root. */
  readonly parentId: string
  readonly remoteParent: boolean
  readonly traceState: string
  readonly sampled: boolean
}

class OpenTelemetrySpan implements Span {
  readonly traceId: string
  readonly spanId: string
  sampled: boolean
  private readonly tracer: OpenTelemetryTracer
  private readonly kind: Kind
  private readonly parentId: string
  /** The parent is the caller's span. */
  private readonly remoteParent: boolean
  private readonly traceState: string
  private readonly start: SpanStart
  private name: string
  private failed = false
  private readonly tags = new Map<string, string>()
  private readonly events: { readonly moment: number; readonly name: string }[] = []

  constructor(tracer: OpenTelemetryTracer, name: string, kind: Kind, lineage: Lineage, start: SpanStart) {
    this.tracer = tracer
    this.name = name
    this.kind = kind
    this.traceId = lineage.traceId
    this.spanId = randomId()
    this.parentId = lineage.parentId
    this.remoteParent = lineage.remoteParent
    this.traceState = lineage.traceState
    this.sampled = lineage.sampled
    this.start = start
  }

  setOperation(name: string): void {
    this.name = name
  }

  setTag(name: string, value: string): void {
    if (name === 'http.status_code') {
      const status = Number(value)
      // A server is not to blame for what its client did wrong (OpenTelemetry semantic conventions for HTTP).
      if (status >= 500 || (status >= 400 && this.kind === Kind.CLIENT)) this.failed = true
    }
    this.tags.set(name, value)
  }

  log(moment: number, event: string): void {
    this.events.push({ moment, name: event })
  }

  inject(headers: HeaderMap): void {
    injectW3c(headers, this.traceId, this.spanId, this.sampled)
    replace(headers, 'tracestate', this.traceState)
  }

  spawnChild(name: string): Span {
    const { tracer, traceId, spanId, traceState, sampled } = this
    return new OpenTelemetrySpan(
      tracer,
      name,
      Kind.CLIENT,
      { traceId, parentId: spanId, remoteParent: false, traceState, sampled },
      {
        moment: now(),
        epoch: this.start.epoch,
      },
    )
  }

  finish(): void {
    if (!this.sampled) return
    const { epoch } = this.start
    this.tracer.report(
      create(SpanSchema, {
        traceId: Buffer.from(this.traceId, 'hex'),
        spanId: Buffer.from(this.spanId, 'hex'),
        traceState: this.traceState,
        parentSpanId: Buffer.from(this.parentId, 'hex'),
        flags: SAMPLED | HAS_IS_REMOTE | (this.remoteParent ? IS_REMOTE : 0),
        name: characters(this.name),
        kind: this.kind,
        startTimeUnixNano: nanos(epoch + this.start.moment),
        endTimeUnixNano: nanos(epoch + now()),
        attributes: [...this.tags].map(([key, value]) => attribute(key, characters(value))),
        events: this.events.map((event) =>
          create(Span_EventSchema, { timeUnixNano: nanos(epoch + event.moment), name: event.name }),
        ),
        ...(this.failed ? { status: create(StatusSchema, { code: StatusCode.ERROR }) } : {}),
      }),
    )
  }
}
