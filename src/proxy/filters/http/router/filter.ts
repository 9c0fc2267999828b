// envoy.filters.http.router: the terminal filter. Chooses the cluster and the first host, and answers what has none;
// what goes upstream is handed to the Relay.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
  type StreamDecoderFilter,
  type StreamDecoderFilterCallbacks,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { updateAuthority } from '../../../route/rewrite.ts'
import type { ForwardAction, Route } from '../../../route/route.ts'
import { acceptedCluster, answerDirectly } from './answers.ts'
import type { RouterConfig } from './config.ts'
import { choosePool } from './host-choice.ts'
import { startMirrors } from './mirror.ts'
import { Relay } from './relay.ts'
import { createRetryState } from './retry-state.ts'
import { RoutedRequest } from './routed-request.ts'
import { createRouterShared, type RouterShared } from './shared.ts'
import type { UpstreamRequest } from './upstream-request.ts'

export function createRouter(config: RouterConfig, context: WorkerContext, statPrefix: string): HttpFilterFactory {
  const shared = createRouterShared(config, context, statPrefix)
  return (callbacks) => callbacks.addStreamDecoderFilter(new RouterFilter(shared))
}

class RouterFilter implements StreamDecoderFilter {
  private readonly shared: RouterShared
  private callbacks!: StreamDecoderFilterCallbacks
  private routed: RoutedRequest | null = null
  /** null = answered without an upstream. */
  private relay: Relay | null = null
  private mirrors: UpstreamRequest[] | null = null
  private destroyed = false

  constructor(shared: RouterShared) {
    this.shared = shared
  }

  setDecoderFilterCallbacks(callbacks: StreamDecoderFilterCallbacks): void {
    this.callbacks = callbacks
  }

  decodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    const { shared, callbacks } = this
    shared.rqTotal.inc()
    const route = callbacks.route()
    if (route?.direct) answerDirectly(shared, callbacks, route, headers)
    else if (route?.forward) this.forwardTo(route, route.forward, headers, endStream)
    else {
      if (!route) shared.noRoute.inc()
      // non_forwarding_action: a client of ours would use it; a server has nowhere to send it.
      callbacks.streamInfo.setFlag('NR')
      callbacks.sendLocalReply(404, '', null, null, 'route_not_found')
    }
    return FilterHeadersStatus.StopIteration
  }

  private forwardTo(route: Route, forward: ForwardAction, headers: HeaderMap, endStream: boolean): void {
    const { shared, callbacks } = this
    const { suppressEnvoyHeaders } = shared.config
    const cluster = acceptedCluster(shared, callbacks, route, headers)
    if (!cluster) return
    const info = callbacks.streamInfo
    const routed = new RoutedRequest(shared, callbacks, route, forward, cluster, headers)
    this.routed = routed
    if (route.virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', '1')
    // Before the host is chosen: hash policies see the request as it leaves (Envoy).
    route.finalizeRequestHeaders(headers, info, !suppressEnvoyHeaders)
    const pool = choosePool(cluster, forward, headers, info.protocol, routed.lb, 0)
    const retry =
      pool &&
      createRetryState(
        headers,
        forward.retryPolicy,
        cluster,
        forward.priority,
        routed.stats,
        this.shared.context.runtime,
      )
    const relay = new Relay(routed, retry, endStream)
    this.relay = relay
    if (!pool) {
      relay.onNoPool()
      return
    }
    if (forward.autoHostRewrite && pool.host.hostname !== '')
      updateAuthority(headers, pool.host.hostname, forward.appendXForwardedHost, !suppressEnvoyHeaders)
    const copy = forward.mirrors.length > 0 && headers.method !== 'CONNECT' ? headers.clone() : null
    callbacks.setDownstreamWatermarkCallbacks(relay)
    if (endStream) relay.onRequestComplete()
    relay.attempts.start(pool, endStream)
    // What could not be sent at all is not copied either (Envoy).
    if (copy !== null && relay.attempts.current !== null) this.mirrors = this.startMirrors(routed, copy, endStream)
  }

  private startMirrors(routed: RoutedRequest, headers: HeaderMap, endStream: boolean): UpstreamRequest[] {
    const { shared } = this
    const { forward, info, timeouts } = routed
    const trace = info.span && { request: info.span, context: routed.logContext() }
    return startMirrors(forward.mirrors, headers, endStream, shared.context.clusters, info, {
      timeoutMs: timeouts.global,
      ownAddress: shared.ownAddress,
      trace,
      connection: this.callbacks.connection,
      upstreamFilters: shared.upstreamFilters,
      bufferLimit: this.callbacks.bufferLimit,
      pause: (pause) => {
        if (this.destroyed) return
        if (pause) this.callbacks.onDecoderFilterAboveWriteBufferHighWatermark()
        else this.callbacks.onDecoderFilterBelowWriteBufferLowWatermark()
      },
    })
  }

  decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    const { relay, mirrors } = this
    if (relay) {
      relay.attempts.encodeData(chunk, endStream)
      if (mirrors) for (const mirror of mirrors) mirror.encodeData(chunk, endStream)
      if (endStream) relay.onRequestComplete()
    }
    return FilterDataStatus.StopIterationNoBuffer
  }

  decodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    const { relay, mirrors } = this
    if (relay) {
      relay.attempts.encodeTrailers(trailers)
      if (mirrors) for (const mirror of mirrors) mirror.encodeTrailers(trailers)
      relay.onRequestComplete()
    }
    return FilterTrailersStatus.StopIteration
  }

  onDestroy(): void {
    const { relay, routed, mirrors } = this
    this.destroyed = true
    if (!relay) return
    this.callbacks.setDownstreamWatermarkCallbacks(null)
    relay.destroy()
    // A copy of what will never be whole has no end of its own.
    if (mirrors && !routed!.done) for (const mirror of mirrors) mirror.abandon()
  }
}
