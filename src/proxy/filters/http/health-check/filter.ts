// envoy.filters.http.health_check: answers the health checks of others: from what is known of the proxy and its clusters,
// or, passing them on, from the upstream's last answer.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { Counter } from '../../../observe/stats.ts'
import { compileHeaderMatchers, type HeadersMatch } from '../../../route/header-matcher.ts'
import { now } from '../../../stream-info.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { HealthCheckConfig } from './config.ts'

const UNAVAILABLE = 503

class Shared {
  readonly config: HealthCheckConfig
  readonly context: WorkerContext
  readonly matches: HeadersMatch
  readonly requestTotal: Counter
  readonly failed: Counter
  readonly ok: Counter
  readonly cachedResponse: Counter
  readonly clusterNotFound: Counter
  readonly clusterEmpty: Counter
  readonly clusterUnhealthy: Counter
  readonly degraded: Counter
  private readonly started = now()
  /** The upstream's last answer holds until the next multiple of the cache time. */
  private cachedPeriod = -1
  cachedStatus = 200
  cachedDegraded = false

  constructor(config: HealthCheckConfig, context: WorkerContext, statPrefix: string) {
    const scope = context.stats.scope(`http.${statPrefix}.health_check`)
    this.config = config
    this.context = context
    this.matches = compileHeaderMatchers(config.headers)
    this.requestTotal = scope.counter('request_total')
    this.failed = scope.counter('failed')
    this.ok = scope.counter('ok')
    this.cachedResponse = scope.counter('cached_response')
    this.clusterNotFound = scope.counter('failed_cluster_not_found')
    this.clusterEmpty = scope.counter('failed_cluster_empty')
    this.clusterUnhealthy = scope.counter('failed_cluster_unhealthy')
    this.degraded = scope.counter('degraded')
  }

  private get period(): number {
    return Math.floor((now() - this.started) / this.config.cacheTimeMs)
  }

  get cached(): boolean {
    return this.config.cacheTimeMs > 0 && this.cachedPeriod === this.period
  }

  cache(headers: HeaderMap): void {
    if (this.config.cacheTimeMs === 0) return
    this.cachedPeriod = this.period
    this.cachedStatus = headers.status
    this.cachedDegraded = headers.has('x-envoy-degraded')
  }

  /** Whether every cluster is healthy enough; the details of the answer. */
  judgeClusters(): string {
    for (const { name, minHealthyPercent } of this.config.clusters) {
      const cluster = this.context.clusters.get(name)
      if (!cluster) {
        this.clusterNotFound.inc()
        return 'health_check_failed_no_cluster_found'
      }
      const total = cluster.stats.membershipTotal.value
      const healthy = cluster.stats.membershipHealthy.value + cluster.stats.membershipDegraded.value
      if (total === 0 && minHealthyPercent > 0) {
        this.clusterEmpty.inc()
        return 'health_check_failed_cluster_empty'
      }
      if (100 * healthy < total * minHealthyPercent) {
        this.clusterUnhealthy.inc()
        return 'health_check_failed_cluster_unhealthy'
      }
    }
    return ''
  }
}

export function createHealthCheckFilter(
  config: HealthCheckConfig,
  context: WorkerContext,
  statPrefix: string,
): HttpFilterFactory {
  const shared = new Shared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamFilter(new HealthCheckFilter(shared))
}

class HealthCheckFilter extends PassThroughFilter {
  private readonly shared: Shared
  private check = false
  /** The answer comes from here, when the request is complete. */
  private answering = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared } = this
    if (!shared.matches(headers)) return FilterHeadersStatus.Continue
    this.check = true
    this.callbacks.streamInfo.isHealthCheck = true
    this.answering = !shared.config.passThrough || shared.context.drain.healthCheckFailed || shared.cached
    if (!this.answering) return FilterHeadersStatus.Continue
    if (endStream) this.answer()
    return FilterHeadersStatus.StopIteration
  }

  override decodeData(_chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (!this.answering) return FilterDataStatus.Continue
    if (endStream) this.answer()
    return FilterDataStatus.StopIterationNoBuffer
  }

  override decodeTrailers(): FilterTrailersStatus {
    if (!this.answering) return FilterTrailersStatus.Continue
    this.answer()
    return FilterTrailersStatus.StopIteration
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { context } = this.shared
    if (this.check) {
      this.shared.cache(headers)
      headers.set('x-envoy-upstream-healthchecked-cluster', context.node.cluster)
    } else if (context.drain.healthCheckFailed) headers.set('x-envoy-immediate-health-check-fail', 'true')
    return FilterHeadersStatus.Continue
  }

  private answer(): void {
    const { shared } = this
    const { config } = shared
    shared.requestTotal.inc()
    let status = 200
    let degraded = false
    let details: string
    if (shared.context.drain.healthCheckFailed) {
      status = UNAVAILABLE
      details = 'health_check_failed'
    } else if (config.cacheTimeMs > 0) {
      shared.cachedResponse.inc()
      status = shared.cachedStatus
      degraded = shared.cachedDegraded
      details = 'health_check_cached'
    } else {
      details = shared.judgeClusters()
      if (details !== '') status = UNAVAILABLE
      else details = config.clusters.length > 0 ? 'health_check_ok_cluster_healthy' : 'health_check_ok'
    }
    if (degraded) shared.degraded.inc()
    if (status < 200 || status > 299) {
      shared.failed.inc()
      this.callbacks.streamInfo.setFlag('LH')
    } else shared.ok.inc()
    const tell = degraded ? (headers: HeaderMap): void => headers.set('x-envoy-degraded', '') : null
    this.callbacks.sendLocalReply(status, '', tell, null, details)
  }
}
