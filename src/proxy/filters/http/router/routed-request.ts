// A request that goes upstream, as the router has settled it, and what is counted and said in its name.

import type { StreamDecoderFilterCallbacks } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import type { LogContext } from '../../../observe/access-log.ts'
import type { CookieSink } from '../../../route/hash-policy.ts'
import type { ForwardAction, Route } from '../../../route/route.ts'
import { now, type StreamInfo } from '../../../stream-info.ts'
import type { HashSource, LoadBalancerContext, ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import type { ResponseStats } from '../../../upstream/response-stats.ts'
import { percentOf } from '../../../upstream/tracked-stats.ts'
import { requestContext } from './host-choice.ts'
import type { RequestStats } from './route-stats.ts'
import type { RouterShared } from './shared.ts'
import { settleTimeouts, type Timeouts } from './timeouts.ts'

const ALTERNATIVE_STAT_NAME = 'x-envoy-upstream-alt-stat-name'

export class RoutedRequest implements CookieSink {
  readonly shared: RouterShared
  readonly callbacks: StreamDecoderFilterCallbacks
  readonly info: StreamInfo
  readonly route: Route
  readonly forward: ForwardAction
  readonly cluster: ThreadLocalCluster
  readonly headers: HeaderMap
  trailers: HeaderMap | null = null
  readonly timeouts: Timeouts
  readonly lb: LoadBalancerContext
  private readonly hashSource: HashSource | null
  readonly grpc: boolean
  /** Of its route and virtual cluster. */
  readonly stats: readonly RequestStats[]
  /** Counts its responses under another name, too. */
  private readonly alternative: ResponseStats | null
  /** The whole request is here, since `doneAt`. */
  done = false
  doneAt = 0
  /** Nobody waits for it any more. */
  finished = false
  private setCookies: string[] | null = null

  /** Takes what is meant for the router out of `headers`, and tells the upstream how long it has. */
  constructor(
    shared: RouterShared,
    callbacks: StreamDecoderFilterCallbacks,
    route: Route,
    forward: ForwardAction,
    cluster: ThreadLocalCluster,
    headers: HeaderMap,
  ) {
    const info = callbacks.streamInfo
    const { suppressEnvoyHeaders, respectExpectedTimeout } = shared.config
    const grpc = isGrpcContentType(headers.get('content-type'))
    this.shared = shared
    this.callbacks = callbacks
    this.info = info
    this.route = route
    this.forward = forward
    this.cluster = cluster
    this.headers = headers
    this.stats = shared.routeStats.of(route, info.virtualClusterName)
    this.alternative = alternativeStats(headers, cluster)
    this.timeouts = settleTimeouts(headers, forward, { suppressEnvoyHeaders, respectExpectedTimeout, grpc })
    if (this.timeouts.maxStreamDuration === 0)
      this.timeouts.maxStreamDuration = cluster.data.http.common.maxStreamDurationMs
    this.lb = requestContext(forward, headers, info, this)
    this.hashSource = this.lb.hashSource
    this.grpc = grpc
  }

  /** A hash policy made a cookie. */
  addSetCookie(cookie: string): void {
    this.setCookies ??= []
    this.setCookies.push(cookie)
  }

  /** Each attempt is hashed anew: its cookies come again, and the policy sees its headers (Envoy). */
  rehash(): void {
    this.lb.hashSource = this.hashSource
  }

  /** Of what the upstream answers, and of nothing else (Envoy). */
  addSetCookies(response: HeaderMap): void {
    if (this.setCookies) for (const cookie of this.setCookies) response.add('set-cookie', cookie)
  }

  /** What the response says of the request's way, whoever made it. */
  addResponseHeaders(response: HeaderMap): void {
    if (this.route.virtualHost.includeAttemptCountInResponse)
      response.set('x-envoy-attempt-count', String(Math.max(1, this.info.attemptCount)))
  }

  /** Milliseconds since the request was complete; 0 = it is not. */
  get sinceDone(): number {
    return this.done ? now() - this.doneAt : 0
  }

  /** A response, or what stands for one: `canary` and `zone` are of the host it came from. */
  countResponse(status: number, canary: boolean, zone: string): void {
    if (!this.shared.config.dynamicStats) return
    const { stats, excluded } = this
    for (let i = 0; i < stats.length; i++) stats[i]!.countResponse(status)
    const internal = this.isInternal()
    this.cluster.stats.responses.countResponse(status, internal, canary, zone, excluded)
    this.alternative?.countResponse(status, internal, canary, zone, excluded)
  }

  /** The response of `host` is complete. */
  recordTime(host: HostDescription): void {
    if (!this.done) return
    const { cluster, stats } = this
    const ms = this.info.lastUpstreamRxByte - this.doneAt
    cluster.stats.budgets?.used.record(percentOf(ms, this.timeouts.global))
    if (!this.shared.config.dynamicStats) return
    const { canary, locality } = host
    const internal = this.isInternal()
    cluster.stats.responses.recordTime(ms, internal, canary, locality.zone)
    this.alternative?.recordTime(ms, internal, canary, locality.zone)
    for (let i = 0; i < stats.length; i++) stats[i]!.recordTime(ms)
  }

  /** Not counted by status: gRPC, where that is wished. */
  get excluded(): boolean {
    return this.grpc && this.shared.config.suppressGrpcFailureStats
  }

  private isInternal(): boolean {
    return this.headers.get('x-envoy-internal') === 'true'
  }

  logContext(): LogContext {
    return {
      info: this.info,
      requestHeaders: this.headers,
      responseHeaders: null,
      responseTrailers: null,
      localReplyBody: '',
      type: 'UpstreamEnd',
    }
  }

  logUpstream(): void {
    const { upstreamLogs } = this.shared
    if (upstreamLogs.length === 0) return
    const context = this.logContext()
    for (const log of upstreamLogs) log.log(context)
  }
}

/** Where the request asks for its responses to be counted besides; not for the upstream to see. */
function alternativeStats(headers: HeaderMap, cluster: ThreadLocalCluster): ResponseStats | null {
  const name = headers.get(ALTERNATIVE_STAT_NAME)
  if (name === undefined) return null
  headers.remove(ALTERNATIVE_STAT_NAME)
  return cluster.stats.alternative(name)
}
