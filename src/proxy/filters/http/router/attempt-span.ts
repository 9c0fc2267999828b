// The span of one attempt, beneath the request's (spawn_upstream_span, start_child_span).

import type { StreamResetReason } from '../../../http/codec.ts'
import type { RequestSpan } from '../../../http/connection-manager/tracing.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { LogContext } from '../../../observe/access-log.ts'
import type { Span } from '../../../observe/tracing/span.ts'
import { type SpanCluster, tagError, tagGrpcStatus, tagOutcome } from '../../../observe/tracing/span-tags.ts'
import type { ResponseFlagName } from '../../../stream-info.ts'
import type { HostDescription } from '../../../upstream/host.ts'

export class AttemptSpan {
  readonly span: Span
  private readonly request: RequestSpan
  private readonly context: LogContext
  private readonly cluster: SpanCluster
  private status = 0
  private flag: ResponseFlagName | '' = ''
  private protocol = ''
  private host: HostDescription
  private finished = false

  /** `context`: the request, for its stream info and headers. */
  private constructor(
    span: Span,
    request: RequestSpan,
    context: LogContext,
    cluster: SpanCluster,
    host: HostDescription,
  ) {
    this.span = span
    this.cluster = cluster
    this.request = request
    this.context = context
    this.host = host
  }

  /** `retries`: attempts before this one. */
  static ofAttempt(
    request: RequestSpan,
    context: LogContext,
    cluster: SpanCluster,
    host: HostDescription,
    retries: number,
  ): AttemptSpan {
    const span = request.span.spawnChild(`router ${cluster.statName} egress`)
    if (retries > 0) span.setTag('retry.count', String(retries))
    return new AttemptSpan(span, request, context, cluster, host)
  }

  /** `sampled` null = as the request. */
  static ofMirror(
    request: RequestSpan,
    context: LogContext,
    cluster: SpanCluster,
    host: HostDescription,
    sampled: boolean | null,
  ): AttemptSpan {
    const span = request.span.spawnChild('mirror')
    if (sampled !== null) span.sampled = sampled
    return new AttemptSpan(span, request, context, cluster, host)
  }

  onReady(host: HostDescription, protocol: string): void {
    this.host = host
    this.protocol = protocol
  }

  onHeaders(headers: HeaderMap): void {
    this.status = headers.status
    tagGrpcStatus(this.span, headers)
  }

  onTrailers(trailers: HeaderMap): void {
    tagGrpcStatus(this.span, trailers)
  }

  onReset(reason: StreamResetReason, flag: ResponseFlagName): void {
    this.flag = flag
    this.span.setTag('error', 'true')
    this.span.setTag('error.reason', reason)
    this.finish()
  }

  onCancel(flag: ResponseFlagName | ''): void {
    this.flag = flag
    if (!this.finished) this.span.setTag('canceled', 'true')
    this.finish()
  }

  /** Once; later calls do nothing. */
  finish(): void {
    if (this.finished) return
    this.finished = true
    const { span, status } = this
    if (span.sampled) {
      span.setTag('http.protocol', this.protocol || '-')
      span.setTag('upstream_address', this.host.address.text)
      span.setTag('peer.address', this.host.address.text)
      tagOutcome(span, this.cluster, status, this.flag || '-')
      tagError(span, status)
      this.request.settings.describe(span, this.context, true)
    }
    span.finish()
  }
}
