// envoy.filters.http.ratelimit: asks a rate limit service whether a request may go on (envoy-contract §10.7).

import type { RuntimeSnapshot, WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { FractionData } from '../../../route/config.ts'
import { HeaderMutations } from '../../../route/header-mutation.ts'
import {
  type DescriptorFacts,
  describeAll,
  descriptorsOf,
  type LimitsFor,
  type RequestDescriptor,
} from '../../../route/rate-limit-descriptors.ts'
import type { Route } from '../../../route/route.ts'
import { inFraction } from '../../../route/route-match.ts'
import type { Cancellable, ClusterManager } from '../../../upstream/cluster-manager.ts'
import { type CallParent, callUnary, type GrpcCallbacks } from '../../../upstream/grpc-client.ts'
import {
  type Answer,
  decodeAnswer,
  encodeQuestion,
  type Headers,
  limitHeaders,
  SHOULD_RATE_LIMIT,
} from '../../common/rate-limit.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { RateLimitConfig, RateLimitRouteConfig } from './config.ts'

const METADATA_NAMESPACE = 'envoy.filters.http.ratelimit'
const GRPC_RESOURCE_EXHAUSTED = 8
const NO_HEADERS: Headers = []
const NOBODY_LISTENS: GrpcCallbacks = { onMessage: () => {}, onFailure: () => {} }
const RATE_LIMITED: Headers = [['x-envoy-ratelimited', 'true']]

class Shared {
  readonly config: RateLimitConfig
  readonly clusters: ClusterManager
  readonly runtime: RuntimeSnapshot
  readonly localCluster: string
  readonly responseHeaders: HeaderMutations | null

  constructor(config: RateLimitConfig, context: WorkerContext) {
    this.config = config
    this.clusters = context.clusters
    this.runtime = context.runtime
    this.localCluster = context.node.cluster
    this.responseHeaders = config.responseHeaders ? new HeaderMutations(config.responseHeaders) : null
  }

  /** `runtimeKey` decides where the configuration has no fraction of its own. */
  drawn(fraction: FractionData | null, runtimeKey: string): boolean {
    const millionths = Math.floor(Math.random() * 1_000_000)
    if (fraction !== null) return inFraction(fraction, this.runtime, millionths)
    return millionths < this.runtime.number(runtimeKey, 100) * 10_000
  }
}

export function createRateLimitFilter(config: RateLimitConfig, context: WorkerContext): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new RateLimitFilter(shared))
}

class RateLimitFilter extends PassThroughFilter {
  private readonly shared: Shared
  private headers: HeaderMap | null = null
  private responseHeaders: HeaderMap | null = null
  /** Of a request that limits apply to. */
  private route: Route | null = null
  private own: RateLimitRouteConfig | undefined
  private call: Cancellable | null = null
  private asking = false
  private asked: readonly RequestDescriptor[] = []
  /** True while decodeHeaders runs: the answer may come within. */
  private inCallback = false
  private refused = false
  private addToResponse: Headers = NO_HEADERS

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const { shared } = this
    const { config, clusters } = shared
    if (!shared.drawn(config.enabled, 'ratelimit.http_filter_enabled')) return FilterHeadersStatus.Continue
    const internal = headers.get('x-envoy-internal') === 'true'
    if (config.requestType !== 'both' && (config.requestType === 'internal') !== internal)
      return FilterHeadersStatus.Continue
    const route = this.callbacks.route()
    if (!route?.forward) return FilterHeadersStatus.Continue
    this.headers = headers
    this.route = route
    this.own = this.callbacks.perFilterConfig<RateLimitRouteConfig>()
    const descriptors = this.descriptors(headers, route, 'request')
    if (descriptors.length === 0) return FilterHeadersStatus.Continue
    this.asking = true
    this.asked = descriptors
    this.inCallback = true
    const cluster = clusters.get(config.service.cluster)
    const call = callUnary(
      cluster,
      config.service,
      this.parent(headers),
      SHOULD_RATE_LIMIT,
      this.question(descriptors),
      {
        onMessage: (message) => this.onAnswer(decodeAnswer(message)),
        onFailure: () => this.onAnswer(null),
        onFault: (error) => this.callbacks.onFault(error),
      },
    )
    this.inCallback = false
    if (this.asking) this.call = call
    return this.asking || this.refused ? FilterHeadersStatus.StopIteration : FilterHeadersStatus.Continue
  }

  private descriptors(headers: HeaderMap, route: Route, limitsFor: LimitsFor): RequestDescriptor[] {
    const { responseHeaders, own } = this
    const { config, localCluster, runtime } = this.shared
    const { streamInfo: info } = this.callbacks
    const facts: DescriptorFacts = { headers, responseHeaders, info, route, localCluster, runtime }
    const limits = own?.rateLimits ?? config.rateLimits
    // Limits of the filter have no stage.
    if (limits !== null) return describeAll(limits, facts, 0, limitsFor)
    return descriptorsOf(facts, config.stage, own?.vhRateLimits ?? 'override', limitsFor)
  }

  private parent(headers: HeaderMap): CallParent {
    return { info: this.callbacks.streamInfo, headers }
  }

  private question(descriptors: readonly RequestDescriptor[]): Uint8Array {
    return encodeQuestion(this.own?.domain || this.shared.config.domain, descriptors)
  }

  private onAnswer(answer: Answer | null): void {
    this.call = null
    this.asking = false
    if (answer === null) {
      this.onError()
      return
    }
    const { metadata } = answer
    if (metadata !== null) {
      for (const key of Object.keys(metadata))
        this.callbacks.streamInfo.setDynamicMetadata(METADATA_NAMESPACE, key, metadata[key])
    }
    const { config } = this.shared
    const over = answer.verdict === 'over_limit'
    this.addToResponse = [
      ...answer.responseHeaders,
      ...limitHeaders(answer, this.asked, config.xRateLimitHeaders),
      ...(over && config.rateLimitedHeader ? RATE_LIMITED : NO_HEADERS),
    ]
    if (!over) {
      this.count('ok')
      this.goOn(answer.requestHeaders)
      return
    }
    this.count('over_limit')
    this.countRefusal()
    if (this.shared.drawn(config.enforced, 'ratelimit.http_filter_enforcing')) this.refuse(answer)
    else this.goOn(answer.requestHeaders)
  }

  private refuse(answer: Answer): void {
    const { config, responseHeaders } = this.shared
    const info = this.callbacks.streamInfo
    this.refused = true
    info.setFlag('RL')
    this.callbacks.sendLocalReply(
      config.status,
      answer.body,
      (response) => {
        this.addHeaders(response)
        responseHeaders?.apply(response, info, this.headers!, response)
      },
      config.asResourceExhausted ? GRPC_RESOURCE_EXHAUSTED : null,
      'request_rate_limited',
    )
  }

  private onError(): void {
    const { config, runtime } = this.shared
    this.count('error')
    const deny =
      config.failureModeDenyFraction === null
        ? config.failureModeDeny
        : inFraction(config.failureModeDenyFraction, runtime, Math.floor(Math.random() * 1_000_000))
    if (!deny) {
      this.count('failure_mode_allowed')
      this.goOn(NO_HEADERS)
      return
    }
    this.refused = true
    this.callbacks.streamInfo.setFlag('RLSE')
    this.callbacks.sendLocalReply(config.statusOnError, '', null, null, 'rate_limiter_error')
  }

  private goOn(add: Headers): void {
    for (const [name, value] of add) this.headers!.add(name, value)
    if (!this.inCallback) this.callbacks.continueDecoding()
  }

  /** For the cluster that the request goes to. */
  private count(name: string): void {
    const { statPrefix } = this.shared.config
    this.target()
      ?.stats.scope.counter(`ratelimit.${statPrefix === '' ? '' : `${statPrefix}.`}${name}`)
      .inc()
  }

  private countRefusal(): void {
    const internal = this.headers!.get('x-envoy-internal') === 'true'
    this.target()?.stats.responses.countResponse(this.shared.config.status, internal, false, '')
  }

  private target() {
    const route = this.callbacks.route()
    return route ? this.shared.clusters.get(route.clusterName(this.headers!)) : undefined
  }

  override decodeData(): FilterDataStatus {
    return this.asking ? FilterDataStatus.StopIterationAndWatermark : FilterDataStatus.Continue
  }

  override decodeTrailers(): FilterTrailersStatus {
    return this.asking ? FilterTrailersStatus.StopIteration : FilterTrailersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.responseHeaders = headers
    this.addHeaders(headers)
    return FilterHeadersStatus.Continue
  }

  /** Once: a local reply has them before it comes through encodeHeaders. */
  private addHeaders(headers: HeaderMap): void {
    for (const [name, value] of this.addToResponse) headers.add(name, value)
    this.addToResponse = NO_HEADERS
  }

  override onDestroy(): void {
    if (this.asking) this.call?.cancel()
    else this.tellStreamDone()
  }

  /** Limits with apply_on_stream_done: the service counts the hits of the request, and nobody waits for its answer. */
  private tellStreamDone(): void {
    const { headers, route } = this
    if (headers === null || route === null) return
    const descriptors = this.descriptors(headers, route, 'stream done')
    if (descriptors.length === 0) return
    const { config, clusters } = this.shared
    const cluster = clusters.get(config.service.cluster)
    callUnary(
      cluster,
      config.service,
      this.parent(headers),
      SHOULD_RATE_LIMIT,
      this.question(descriptors),
      NOBODY_LISTENS,
    )
  }
}
