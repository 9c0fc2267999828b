// Tracing of a connection manager's requests: the span of each, what the decorator of its route says to the other side,
// and the tags at its end.

import { VERSION } from '../../../base/version.ts'
import type { RuntimeSnapshot, WorkerContext } from '../../config/extension.ts'
import type { LogContext } from '../../observe/access-log.ts'
import { TextFormat } from '../../observe/format/text-format.ts'
import type { Counter, Scope } from '../../observe/stats.ts'
import type { RouteTracingData, TracingConfig } from '../../observe/tracing/config.ts'
import { createTracer } from '../../observe/tracing/create-tracer.ts'
import { type CustomTag, compileCustomTag } from '../../observe/tracing/custom-tags.ts'
import type { OperationName, Span, Tracer } from '../../observe/tracing/span.ts'
import {
  flagsOf,
  logMoments,
  tagDownstreamSpan,
  tagError,
  tagGrpcStatus,
  tagOutcome,
} from '../../observe/tracing/span-tags.ts'
import type { Route } from '../../route/route.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { HeaderMap } from '../header-map.ts'
import type { HcmConfig } from './config.ts'
import { TraceReason } from './request-id.ts'
import { decideTracing } from './tracing-decision.ts'

const DECORATOR = 'x-envoy-decorator-operation'

/** `http.<stat_prefix>.tracing.*`: why requests were traced or not. */
export class TracingStats {
  private readonly byReason: Readonly<Record<TraceReason, Counter>>
  readonly healthCheck: Counter

  constructor(scope: Scope) {
    this.byReason = {
      [TraceReason.NotTraceable]: scope.counter('tracing.not_traceable'),
      [TraceReason.Sampled]: scope.counter('tracing.random_sampling'),
      [TraceReason.ServiceForced]: scope.counter('tracing.service_forced'),
      [TraceReason.ClientForced]: scope.counter('tracing.client_enabled'),
    }
    this.healthCheck = scope.counter('tracing.health_check')
  }

  count(reason: TraceReason): void {
    this.byReason[reason].inc()
  }
}

/** Custom tags and span names of one level. */
interface Description {
  readonly tags: readonly CustomTag[]
  readonly operation: TextFormat | null
  readonly upstreamOperation: TextFormat | null
}

type DescriptionData = Pick<RouteTracingData, 'customTags' | 'operation' | 'upstreamOperation'>

/** Descriptions of routes by their data, which lives as long as its route table. */
const ofRoutes = new WeakMap<DescriptionData, Description>()

function describe(data: DescriptionData): Description {
  const format = (text: string): TextFormat | null => (text === '' ? null : new TextFormat(text, true, 'operation'))
  return {
    tags: data.customTags.map((tag) => compileCustomTag(tag, process.env)),
    operation: format(data.operation),
    upstreamOperation: format(data.upstreamOperation),
  }
}

/** What all requests of one connection manager share. */
export class HcmTracing {
  readonly config: TracingConfig
  private readonly ids: HcmConfig
  private readonly runtime: RuntimeSnapshot
  private readonly stats: TracingStats
  private readonly tracer: Tracer | null
  private readonly operation: OperationName
  private readonly description: Description
  private readonly nodeId: string
  private readonly zone: string

  constructor(config: TracingConfig, hcm: HcmConfig, stats: TracingStats, context: WorkerContext) {
    this.config = config
    this.ids = hcm
    this.runtime = context.runtime
    this.stats = stats
    this.operation = context.listener?.trafficDirection === 'OUTBOUND' ? 'egress' : 'ingress'
    this.tracer = createTracer(config, this.operation, context, VERSION)
    this.description = describe(config)
    this.nodeId = context.node.id
    this.zone = context.node.zone
  }

  /** Decides, and writes the decision into the request id. */
  decide(headers: HeaderMap, route: Route | null): TraceReason {
    return decideTracing(headers, this.ids, this.config, route, this.runtime)
  }

  /** The request's span, or null without a tracer. */
  start(headers: HeaderMap, info: StreamInfo, reason: TraceReason): RequestSpan | null {
    this.stats.count(reason)
    if (this.tracer === null) return null
    const name = this.operation === 'egress' ? `egress ${headers.authority}` : 'ingress'
    const start = { moment: info.start, epoch: info.startTimeMs - info.start }
    const span = this.tracer.startSpan(headers, name, start, reason !== TraceReason.NotTraceable)
    if (span === null) return null
    span.setTag('node_id', this.nodeId)
    span.setTag('zone', this.zone)
    return new RequestSpan(span, this)
  }

  /**
   * The decorator's operation names the span, and is told to the other side: to the server of an outbound request, to
   * the client of an inbound one. Returns what the response must say; '' = nothing.
   */
  decorateRequest(headers: HeaderMap, route: Route | null, span: RequestSpan | null): string {
    // A name by format takes the decorator's place.
    const decorator = this.descriptionOf(route)?.operation || this.description.operation ? null : route?.decorator
    const operation = decorator?.operation ?? ''
    if (operation !== '') span?.span.setOperation(operation)
    const told = decorator?.propagate ? operation : ''
    if (this.operation === 'egress') {
      if (told !== '') headers.set(DECORATOR, told)
      return ''
    }
    const override = headers.get(DECORATOR)
    if (override === undefined) return told
    headers.remove(DECORATOR)
    if (override === '') return told
    span?.span.setOperation(override)
    return ''
  }

  /** `told`: what decorateRequest returned. */
  decorateResponse(headers: HeaderMap, told: string, span: RequestSpan | null): void {
    if (this.operation === 'ingress') {
      if (told !== '') headers.set(DECORATOR, told)
      return
    }
    const override = headers.get(DECORATOR)
    if (override === undefined) return
    if (override !== '') span?.span.setOperation(override)
    headers.remove(DECORATOR)
  }

  private descriptionOf(route: Route | null): Description | null {
    const data = route?.tracing
    if (!data) return null
    let own = ofRoutes.get(data)
    if (!own) ofRoutes.set(data, (own = describe(data)))
    return own
  }

  /** Custom tags and names: the route's before the connection manager's. */
  describe(span: Span, context: LogContext, upstream: boolean): void {
    const own = this.descriptionOf(context.info.route)
    if (own) for (const tag of own.tags) tag.apply(span, context)
    for (const tag of this.description.tags) {
      if (!own?.tags.some((other) => other.tag === tag.tag)) tag.apply(span, context)
    }
    const format = upstream
      ? (own?.upstreamOperation ?? this.description.upstreamOperation)
      : (own?.operation ?? this.description.operation)
    const name = format?.format(context) ?? ''
    if (name !== '') span.setOperation(name)
  }
}

/** A request's span with the settings that hold for it and for its attempts' spans. */
export class RequestSpan {
  readonly span: Span
  readonly settings: HcmTracing

  constructor(span: Span, settings: HcmTracing) {
    this.span = span
    this.settings = settings
  }

  /** At the end of the request. */
  finish(context: LogContext): void {
    const { span, settings } = this
    if (span.sampled) {
      const { info } = context
      tagDownstreamSpan(span, context, settings.config.maxPathTagLength)
      const cluster = { name: info.upstreamCluster, statName: info.upstreamClusterStatName || info.upstreamCluster }
      tagOutcome(span, info.upstreamHost && cluster, info.responseCode, flagsOf(info))
      if (settings.config.verbose) logMoments(span, info)
      tagError(span, info.responseCode)
      settings.describe(span, context, false)
      tagGrpcStatus(span, context.responseHeaders)
      tagGrpcStatus(span, context.responseTrailers)
    }
    span.finish()
  }
}
