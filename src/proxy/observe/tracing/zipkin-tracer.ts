// envoy.tracers.zipkin: B3 propagation, spans as Zipkin v2 JSON over HTTP.

import { characters } from '../../../base/utf8.ts'
import type { WorkerContext } from '../../config/extension.ts'
import { HeaderMap } from '../../http/header-map.ts'
import { now } from '../../stream-info.ts'
import { sendRequest } from '../../upstream/http-client.ts'
import type { Counter } from '../stats.ts'
import type { ZipkinData } from './config.ts'
import type { OperationName, Span, SpanStart, Tracer } from './span.ts'
import { SpanBuffer } from './span-buffer.ts'
import { randomId } from './span-ids.ts'
import { type B3Ids, extractB3, extractW3c, injectB3, injectW3c } from './trace-context.ts'

const REQUEST_TIMEOUT_MS = 5000

/** Microseconds since the epoch. */
const micros = (ms: number): number => Math.round(ms * 1000)

type Endpoint = Readonly<Record<string, string | number>>

export class ZipkinTracer implements Tracer {
  readonly data: ZipkinData
  private readonly context: WorkerContext
  private readonly endpoint: Endpoint
  private readonly server: boolean
  private readonly buffer: SpanBuffer<ZipkinSpan>
  private readonly spansSent: Counter
  private readonly sent: Counter
  private readonly dropped: Counter
  private readonly failed: Counter
  private readonly noCluster: Counter

  /** `ownAddress`: the machine's own IP address, the spans' local endpoint. */
  constructor(
    data: ZipkinData,
    operation: OperationName,
    spawnUpstreamSpan: boolean,
    context: WorkerContext,
    ownAddress: string,
  ) {
    this.data = data
    this.context = context
    this.server = operation === 'ingress' || data.splitSpans || spawnUpstreamSpan
    this.endpoint = {
      serviceName: context.node.cluster,
      [ownAddress.includes(':') ? 'ipv6' : 'ipv4']: ownAddress,
      port: 0,
    }
    const scope = context.stats.scope('tracing.zipkin')
    this.spansSent = scope.counter('spans_sent')
    this.sent = scope.counter('reports_sent')
    this.dropped = scope.counter('reports_dropped')
    this.failed = scope.counter('reports_failed')
    this.noCluster = scope.counter('reports_skipped_no_cluster')
    this.buffer = new SpanBuffer('zipkin', context.runtime, scope.counter('timer_flushed'), (spans) => this.send(spans))
  }

  /** Zipkin names a request's span by its host. */
  startSpan(headers: HeaderMap, _name: string, start: SpanStart, traced: boolean): Span | null {
    const { server, data } = this
    const b3 = extractB3(headers)
    const w3c = data.w3c && b3.context === undefined && b3.sampled === null ? extractW3c(headers) : undefined
    const context = b3.context ?? w3c
    if (b3.context === null || context === null) return null
    const sampled = b3.sampled ?? w3c?.sampled ?? traced
    const name = headers.authority
    if (context === undefined) {
      const id = randomId()
      const traceId = data.traceId128Bit ? randomId() + id : id
      return new ZipkinSpan(this, name, server, { traceId, spanId: id, parentId: '', sampled }, start)
    }
    const { traceId, spanId, parentId } = context
    // Both sides of a call report under the caller's span where they share it.
    const ids =
      server && data.sharedSpanContext
        ? { traceId, spanId, parentId, sampled }
        : { traceId, spanId: randomId(), parentId: spanId, sampled }
    return new ZipkinSpan(this, name, server, ids, start)
  }

  report(span: ZipkinSpan): void {
    this.buffer.add(span)
  }

  private send(spans: ZipkinSpan[]): void {
    this.spansSent.add(spans.length)
    const { data, context } = this
    const cluster = context.clusters.get(data.cluster)
    if (!cluster) {
      this.noCluster.inc()
      return
    }
    const headers = new HeaderMap()
    headers.method = 'POST'
    headers.path = data.endpoint
    headers.authority = data.hostname
    headers.scheme = 'http'
    const body = Buffer.from(JSON.stringify(spans.map((span) => span.toJson(this.endpoint))))
    headers.add('content-type', 'application/json')
    for (const [name, value] of data.headers) headers.set(name, value)
    headers.add('content-length', String(body.length))
    const timeoutMs = context.runtime.number('tracing.zipkin.request_timeout', REQUEST_TIMEOUT_MS)
    sendRequest(cluster, headers, body, timeoutMs, {
      onResponse: (response) => (response.status === 202 ? this.sent : this.dropped).inc(),
      onFailure: () => this.failed.inc(),
    })
  }
}

class ZipkinSpan implements Span {
  readonly traceId: string
  readonly spanId: string
  private readonly parentId: string
  sampled: boolean
  private readonly tracer: ZipkinTracer
  private readonly server: boolean
  private readonly start: SpanStart
  private name: string
  private durationMs = 0
  private readonly tags: Record<string, string> = {}
  private readonly annotations: { timestamp: number; value: string }[] = []

  constructor(tracer: ZipkinTracer, name: string, server: boolean, ids: B3Ids, start: SpanStart) {
    this.tracer = tracer
    this.name = name
    this.server = server
    this.traceId = ids.traceId
    this.spanId = ids.spanId
    this.parentId = ids.parentId
    this.sampled = ids.sampled
    this.start = start
  }

  setOperation(name: string): void {
    this.name = name
  }

  setTag(name: string, value: string): void {
    if (value !== '') this.tags[name] = value
  }

  log(moment: number, event: string): void {
    this.annotations.push({ timestamp: micros(this.start.epoch + moment), value: event })
  }

  inject(headers: HeaderMap): void {
    injectB3(headers, this.traceId, this.spanId, this.parentId, this.sampled)
    if (this.tracer.data.w3c) injectW3c(headers, this.traceId, this.spanId, this.sampled)
  }

  spawnChild(name: string): Span {
    const { traceId, spanId, sampled } = this
    const ids = { traceId, spanId: randomId(), parentId: spanId, sampled }
    return new ZipkinSpan(this.tracer, name, false, ids, { moment: now(), epoch: this.start.epoch })
  }

  finish(): void {
    if (!this.sampled) return
    const end = now()
    this.durationMs = end - this.start.moment
    this.log(end, this.server ? 'ss' : 'cr')
    this.tracer.report(this)
  }

  /** As Zipkin's v2 API has it. */
  toJson(localEndpoint: Endpoint): Record<string, unknown> {
    const { traceId, spanId, parentId } = this
    return {
      traceId,
      ...(parentId === '' ? {} : { parentId }),
      id: spanId,
      kind: this.server ? 'SERVER' : 'CLIENT',
      name: characters(this.name),
      timestamp: micros(this.start.epoch + this.start.moment),
      duration: Math.max(1, micros(this.durationMs)),
      localEndpoint,
      ...(this.server && this.tracer.data.sharedSpanContext ? { shared: true } : {}),
      ...(this.annotations.length > 0 ? { annotations: this.annotations } : {}),
      tags: Object.fromEntries(Object.entries(this.tags).map(([name, value]) => [name, characters(value)])),
    }
  }
}
