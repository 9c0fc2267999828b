// envoy.filters.http.admission_control: when too many requests fail, some of the next ones are rejected in the upstream's
// place, the more the fewer have succeeded. Each worker judges by the requests that it has seen (Envoy).

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, FilterTrailersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import type { Counter } from '../../../observe/stats.ts'
import { now } from '../../../stream-info.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { AdmissionControlConfig, RuntimeNumber } from './config.ts'
import { RequestWindow, rejectionProbability } from './window.ts'

class Shared {
  readonly config: AdmissionControlConfig
  readonly window: RequestWindow
  readonly rejected: Counter
  private readonly runtime: RuntimeSnapshot
  private readonly succeeded: Counter
  private readonly failed: Counter
  private readonly grpcSuccess: ReadonlySet<number>

  constructor(config: AdmissionControlConfig, context: WorkerContext, statPrefix: string) {
    // As an upstream filter of a cluster it has that one's scope.
    const owner = statPrefix === '' ? context.stats : context.stats.scope(`http.${statPrefix}`)
    const scope = owner.scope('admission_control')
    this.config = config
    this.runtime = context.runtime
    this.window = new RequestWindow(config.windowS)
    this.rejected = scope.counter('rq_rejected')
    this.succeeded = scope.counter('rq_success')
    this.failed = scope.counter('rq_failure')
    this.grpcSuccess = new Set(config.grpcSuccess)
  }

  get enabled(): boolean {
    const { key, value } = this.config.enabled
    return key === '' ? value : this.runtime.bool(key, value)
  }

  private number({ key, value }: RuntimeNumber): number {
    return key === '' ? value : this.runtime.number(key, value)
  }

  private fraction(percent: RuntimeNumber): number {
    return Math.min(this.number(percent), 100) / 100
  }

  rejectsNext(): boolean {
    const { config, window } = this
    const nowMs = now()
    if (window.averageRps(nowMs) < this.number(config.rpsThreshold)) return false
    window.update(nowMs)
    const probability = rejectionProbability(
      window.requests,
      window.successes,
      this.fraction(config.successThreshold),
      Math.max(1, this.number(config.aggression)),
      this.fraction(config.maxRejection),
    )
    return Math.random() < probability
  }

  isHttpSuccess(status: number): boolean {
    return this.config.httpSuccess.some(({ from, to }) => status >= from && status < to)
  }

  /** `status`: of grpc-status; absent = there is none, which is a failure. */
  isGrpcSuccess(status: string | undefined): boolean {
    return status !== undefined && this.grpcSuccess.has(Number(status))
  }

  record(success: boolean): void {
    this.window.record(success, now())
    ;(success ? this.succeeded : this.failed).inc()
  }
}

export function createAdmissionControlFilter(
  config: AdmissionControlConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new AdmissionControlFilter(shared))
}

class AdmissionControlFilter extends PassThroughFilter {
  private readonly shared: Shared
  /** What becomes of it counts: not where the filter is off, nor what it rejected itself. */
  private counts = true
  /** grpc-status is to come in trailers. */
  private awaitsTrailers = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(): FilterHeadersStatus {
    const { shared } = this
    if (!shared.enabled || this.callbacks.streamInfo.isHealthCheck) {
      this.counts = false
      return FilterHeadersStatus.Continue
    }
    if (!shared.rejectsNext()) return FilterHeadersStatus.Continue
    this.counts = false
    shared.rejected.inc()
    this.callbacks.sendLocalReply(503, '', null, null, 'denied_by_admission_control')
    return FilterHeadersStatus.StopIteration
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (!this.counts) return FilterHeadersStatus.Continue
    const { shared } = this
    const grpcStatus = headers.get('grpc-status')
    const grpc = endStream
      ? grpcStatus !== undefined
      : headers.status === 200 && isGrpcContentType(headers.get('content-type'))
    if (!grpc) shared.record(shared.isHttpSuccess(headers.status))
    else if (grpcStatus !== undefined) shared.record(shared.isGrpcSuccess(grpcStatus))
    else this.awaitsTrailers = true
    return FilterHeadersStatus.Continue
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    if (this.awaitsTrailers) this.shared.record(this.shared.isGrpcSuccess(trailers.get('grpc-status')))
    return FilterTrailersStatus.Continue
  }
}
