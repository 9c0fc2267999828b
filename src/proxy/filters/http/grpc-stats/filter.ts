// envoy.filters.http.grpc_stats: `cluster.<c>.grpc.<service>.<method>.*` and message counts for other filters.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import type { Scope } from '../../../observe/stats.ts'
import { now } from '../../../stream-info.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { GrpcStatsConfig } from './config.ts'
import { GrpcMessageCounter } from './message-counter.ts'

/** Filter state that holds the counts (emit_filter_state). */
export const GRPC_STATS_STATE = 'envoy.filters.http.grpc_stats'

export interface GrpcMessageCounts {
  requestMessageCount: number
  responseMessageCount: number
}

class Shared {
  readonly config: GrpcStatsConfig
  readonly clusters: ClusterManager
  readonly listed: ReadonlySet<string>
  constructor(config: GrpcStatsConfig, context: WorkerContext) {
    this.config = config
    this.clusters = context.clusters
    this.listed = new Set(config.listed)
  }
}

export function createGrpcStatsFilter(config: GrpcStatsConfig, context: WorkerContext): HttpFilterFactory {
  const shared = new Shared(config, context)
  return (callbacks) => callbacks.addStreamFilter(new GrpcStatsFilter(shared))
}

/** `/package.Service/Method`, or null for anything else. */
function splitPath(path: string): { service: string; method: string } | null {
  const end = path.indexOf('?')
  const parts = (end < 0 ? path : path.slice(0, end)).split('/')
  if (parts.length !== 3 || parts[0] !== '' || parts[1] === '' || parts[2] === '') return null
  return { service: parts[1]!, method: parts[2]! }
}

class GrpcStatsFilter extends PassThroughFilter {
  private readonly shared: Shared
  /** null for requests that are not gRPC: nothing else happens to them. */
  private requests: GrpcMessageCounter | null = null
  private responses: GrpcMessageCounter | null = null
  private counts: GrpcMessageCounts | null = null
  private stats: Scope | null = null
  private prefix = ''
  private done = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    if (!isGrpcContentType(headers.get('content-type'))) return FilterHeadersStatus.Continue
    this.requests = new GrpcMessageCounter()
    this.responses = new GrpcMessageCounter()
    this.resolveStats(headers)
    if (this.shared.config.emitFilterState) {
      this.counts = { requestMessageCount: 0, responseMessageCount: 0 }
      this.callbacks.streamInfo.filterState.set(GRPC_STATS_STATE, this.counts)
    }
    return FilterHeadersStatus.Continue
  }

  private resolveStats(headers: HeaderMap): void {
    const route = this.callbacks.route()
    if (route === null || route.forward === null) return
    const cluster = this.shared.clusters.get(route.clusterName(headers))
    if (cluster === undefined) return
    this.stats = cluster.stats.scope
    const { allMethods, replaceDots } = this.shared.config
    const end = headers.path.indexOf('?')
    const path = end < 0 ? headers.path : headers.path.slice(0, end)
    const names = allMethods || this.shared.listed.has(path) ? splitPath(path) : null
    if (names === null) this.prefix = 'grpc.'
    else {
      const service = replaceDots ? names.service.replaceAll('.', '_') : names.service
      this.prefix = `grpc.${service}.${names.method}.`
    }
  }

  override decodeData(chunk: Buffer): FilterDataStatus {
    if (this.requests?.add(chunk)) this.publish()
    return FilterDataStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (this.requests !== null && endStream) this.finish(headers)
    return FilterHeadersStatus.Continue
  }

  override encodeData(chunk: Buffer): FilterDataStatus {
    if (this.responses?.add(chunk)) this.publish()
    return FilterDataStatus.Continue
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    if (this.requests !== null) this.finish(trailers)
    return FilterTrailersStatus.Continue
  }

  private publish(): void {
    if (this.counts === null) return
    this.counts.requestMessageCount = this.requests!.count
    this.counts.responseMessageCount = this.responses!.count
  }

  /** The status has come. */
  private finish(headers: HeaderMap): void {
    if (this.done || this.stats === null) return
    this.done = true
    const { stats, prefix } = this
    const status = headers.get('grpc-status')
    stats.counter(`${prefix}${status === '0' ? 'success' : 'failure'}`).inc()
    stats.counter(`${prefix}total`).inc()
    if (status !== undefined && /^\d{1,2}$/.test(status)) stats.counter(`${prefix}${status}`).inc()
    stats.counter(`${prefix}request_message_count`).add(this.requests!.count)
    stats.counter(`${prefix}response_message_count`).add(this.responses!.count)
    const info = this.callbacks.streamInfo
    if (this.shared.config.upstreamStats && info.lastUpstreamTxByte > 0) {
      stats.histogram(`${prefix}upstream_rq_time`, 'ms').record(now() - info.lastUpstreamTxByte)
    }
  }
}
