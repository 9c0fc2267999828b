// envoy.filters.http.dynamic_forward_proxy: a request to a dynamic forward proxy cluster waits here until its name is
// resolved (or its sub cluster is warm), so that the router finds a host.

import type { WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import type { ThreadLocalCluster } from '../../../upstream/cluster-manager.ts'
import { requestedHost } from '../../../upstream/dynamic-forward-proxy/cluster.ts'
import {
  type DnsCache,
  type DnsCacheHost,
  type DnsCacheWaiter,
  LoadStatus,
} from '../../../upstream/dynamic-forward-proxy/dns-cache.ts'
import { hostKey } from '../../../upstream/dynamic-forward-proxy/host-key.ts'
import { SubClustersCluster } from '../../../upstream/dynamic-forward-proxy/sub-clusters.ts'
import { PassThroughDecoderFilter } from '../pass-through.ts'
import { loadBalancerContext } from '../router/load-balancer-context.ts'
import type { DynamicForwardProxyFilterConfig, DynamicForwardProxyRouteConfig } from './config.ts'

/** Filter state that save_upstream_address fills, as Envoy names it. */
const UPSTREAM_ADDRESS = 'envoy.stream.upstream_address'

export function createDynamicForwardProxyFilter(
  config: DynamicForwardProxyFilterConfig,
  context: WorkerContext,
): HttpFilterFactory {
  const cache = config.dnsCache === null ? null : context.clusters.dnsCache(config.dnsCache)
  return (callbacks) => callbacks.addStreamDecoderFilter(new DynamicForwardProxyFilter(config, context, cache))
}

class DynamicForwardProxyFilter extends PassThroughDecoderFilter implements DnsCacheWaiter {
  private readonly config: DynamicForwardProxyFilterConfig
  private readonly context: WorkerContext
  private readonly cache: DnsCache | null
  /** The name that the request waits for; '' = it does not. */
  private waitingFor = ''
  private timer: NodeJS.Timeout | null = null
  private pending = false

  constructor(config: DynamicForwardProxyFilterConfig, context: WorkerContext, cache: DnsCache | null) {
    super()
    this.config = config
    this.context = context
    this.cache = cache
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    const forward = this.callbacks.route()?.clusterName(headers)
    const cluster = forward === undefined ? undefined : this.context.clusters.get(forward)
    if (cluster?.data.type !== 'DYNAMIC_FORWARD_PROXY') return FilterHeadersStatus.Continue
    if (this.cache !== null && !this.cache.enterPending()) {
      this.reply('Dynamic forward proxy pending request overflow', 'dynamic_forward_proxy_pending_request_overflow')
      return FilterHeadersStatus.StopIteration
    }
    this.pending = this.cache !== null
    this.rewriteHost(headers)
    return this.cache === null ? this.loadSubCluster(cluster, headers) : this.loadName(this.cache, cluster, headers)
  }

  override onDestroy(): void {
    this.stopPending()
    if (this.timer !== null) clearTimeout(this.timer)
    if (this.waitingFor === '') return
    this.cache?.cancel(this.waitingFor, this)
    this.waitingFor = ''
  }

  onLoaded(host: DnsCacheHost): void {
    this.waitingFor = ''
    this.stopPending()
    if (this.accept(host)) this.callbacks.continueDecoding()
  }

  private rewriteHost(headers: HeaderMap): void {
    const rewrite = this.callbacks.perFilterConfig<DynamicForwardProxyRouteConfig>()
    if (rewrite === undefined) return
    const value = rewrite.header === '' ? rewrite.literal : headers.get(rewrite.header)
    if (value) headers.authority = value
  }

  private keyOf(cluster: ThreadLocalCluster, headers: HeaderMap): string {
    const secure = cluster.data.transportSocket !== null && isTls(cluster.data.transportSocket.typeUrl)
    if (!this.config.hostFromFilterState) return hostKey(headers.authority, secure ? 443 : 80)
    const context = loadBalancerContext()
    context.headers = headers
    context.downstreamState = this.callbacks.streamInfo.filterState
    return requestedHost(context, secure) ?? ''
  }

  private loadName(cache: DnsCache, cluster: ThreadLocalCluster, headers: HeaderMap): FilterHeadersStatus {
    const key = this.keyOf(cluster, headers)
    switch (cache.load(key, this)) {
      case LoadStatus.Loading:
        this.waitingFor = key
        return FilterHeadersStatus.StopAllIterationAndWatermark
      case LoadStatus.Overflow:
        this.stopPending()
        this.reply('DNS cache overflow', 'dns_cache_overflow')
        return FilterHeadersStatus.StopIteration
      default:
        this.stopPending()
        return this.accept(cache.use(key)!) ? FilterHeadersStatus.Continue : FilterHeadersStatus.StopIteration
    }
  }

  /** False: there is no address, and the request is answered. */
  private accept(host: DnsCacheHost): boolean {
    const { streamInfo } = this.callbacks
    const first = host.addresses[0]
    if (first === undefined) {
      streamInfo.setFlag('DF')
      this.reply('DNS resolution failure', `dns_resolution_failure{${host.failure}}`)
      return false
    }
    if (this.config.saveUpstreamAddress) streamInfo.filterState.set(UPSTREAM_ADDRESS, first.text)
    return true
  }

  private loadSubCluster(cluster: ThreadLocalCluster, headers: HeaderMap): FilterHeadersStatus {
    if (!(cluster instanceof SubClustersCluster)) return FilterHeadersStatus.Continue
    const key = this.keyOf(cluster, headers)
    const status = cluster.load(key, () => this.onSubClusterWarm())
    if (status === LoadStatus.InCache) return FilterHeadersStatus.Continue
    if (status === LoadStatus.Overflow) {
      this.reply('Sub cluster overflow', 'sub_cluster_overflow')
      return FilterHeadersStatus.StopIteration
    }
    this.waitingFor = key
    this.timer = setTimeout(() => this.onInitTimeout(), this.config.clusterInitTimeoutMs)
    return FilterHeadersStatus.StopAllIterationAndWatermark
  }

  private onSubClusterWarm(): void {
    if (this.waitingFor === '') return
    this.waitingFor = ''
    if (this.timer !== null) clearTimeout(this.timer)
    this.callbacks.continueDecoding()
  }

  private onInitTimeout(): void {
    this.waitingFor = ''
    this.reply('Sub cluster warming timeout', 'sub_cluster_warming_timeout')
  }

  private stopPending(): void {
    if (this.pending) this.cache!.leavePending()
    this.pending = false
  }

  private reply(body: string, details: string): void {
    this.callbacks.sendLocalReply(503, body, null, null, details)
  }
}

/** By the type of its configuration: an upstream TLS context. */
function isTls(typeUrl: string): boolean {
  return typeUrl.endsWith('.UpstreamTlsContext')
}
