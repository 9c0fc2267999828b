// envoy.filters.http.grpc_stats: `cluster.<c>.grpc.<service>.<method>.*` and message counts for other filters. Calls of the
// Connect protocol are counted as well.

import type { WorkerContext } from '../../../config/extension.ts'
import {
  FilterDataStatus,
  FilterHeadersStatus,
  FilterTrailersStatus,
  type HttpFilterFactory,
} from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import type { ClusterManager } from '../../../upstream/cluster-manager.ts'
import { GrpcCallStats, type MethodName, methodOfPath } from '../grpc-call-stats.ts'
import { PassThroughFilter } from '../pass-through.ts'
import type { GrpcStatsConfig } from './config.ts'
import { ConnectMessageCounter, GrpcMessageCounter } from './message-counter.ts'

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

/** What a request is, by its headers. */
const Call = { None: 0, Grpc: 1, ConnectUnary: 2, ConnectStreaming: 3 } as const
type Call = (typeof Call)[keyof typeof Call]

const CONNECT_STREAMING = 'application/connect+'

function callOf(headers: HeaderMap): Call {
  const type = headers.get('content-type')
  if (headers.path === '') return Call.None
  if (isGrpcContentType(type)) return Call.Grpc
  if (type?.startsWith(CONNECT_STREAMING)) return Call.ConnectStreaming
  return headers.has('connect-protocol-version') ? Call.ConnectUnary : Call.None
}

class GrpcStatsFilter extends PassThroughFilter {
  private readonly shared: Shared
  private call: Call = Call.None
  private requests: GrpcMessageCounter | null = null
  private responses: GrpcMessageCounter | null = null
  private counts: GrpcMessageCounts | null = null
  private stats: GrpcCallStats | null = null
  /** Of Connect calls, those whose path names no method are counted too, except for their status. */
  private named = false

  constructor(shared: Shared) {
    super()
    this.shared = shared
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.call = callOf(headers)
    if (this.call === Call.None) return FilterHeadersStatus.Continue
    if (this.call !== Call.ConnectUnary) this.requests = new GrpcMessageCounter()
    this.resolveStats(headers)
    return FilterHeadersStatus.Continue
  }

  private resolveStats(headers: HeaderMap): void {
    const route = this.callbacks.route()
    if (route === null || route.forward === null) return
    const cluster = this.shared.clusters.get(route.clusterName(headers))
    if (cluster === undefined) return
    const { allMethods, replaceDots } = this.shared.config
    const found = methodOfPath(headers.path)
    this.named = found !== null
    let name: MethodName | null = null
    if (found !== null && allMethods)
      name = replaceDots ? { ...found, service: found.service.replaceAll('.', '_') } : found
    else if (found !== null && this.shared.listed.has(`/${found.service}/${found.method}`)) name = found
    this.stats = new GrpcCallStats(cluster.stats.scope, 'grpc', name)
  }

  override decodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    if (this.requests !== null) this.countRequests(this.requests.add(chunk))
    else if (this.call === Call.ConnectUnary && endStream) this.countRequests(1)
    return FilterDataStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap, endStream: boolean): FilterHeadersStatus {
    if (this.call === Call.None) return FilterHeadersStatus.Continue
    const ok = headers.status === 200
    const type = headers.get('content-type')
    if (this.call === Call.ConnectStreaming) this.responses = new ConnectMessageCounter()
    else if (endStream ? headers.has('grpc-status') : ok && isGrpcContentType(type))
      this.responses = new GrpcMessageCounter()
    if (!this.named || this.stats === null) return FilterHeadersStatus.Continue
    if (this.call === Call.ConnectUnary) this.stats.countSuccess(ok)
    else if (!ok || !type?.startsWith(CONNECT_STREAMING)) this.stats.countStatus(headers.get('grpc-status'))
    if (endStream) this.recordUpstreamTime()
    return FilterHeadersStatus.Continue
  }

  override encodeData(chunk: Buffer, endStream: boolean): FilterDataStatus {
    const { responses } = this
    if (responses !== null) {
      this.countResponses(responses.add(chunk))
      if (endStream && responses instanceof ConnectMessageCounter) {
        this.stats?.countSuccess(responses.success)
        this.recordUpstreamTime()
      }
    } else if (this.call === Call.ConnectUnary && endStream) {
      this.countResponses(1)
      this.recordUpstreamTime()
    }
    return FilterDataStatus.Continue
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    if (this.call === Call.Grpc && this.named && this.stats !== null) {
      this.stats.countStatus(trailers.get('grpc-status'))
      this.recordUpstreamTime()
    }
    return FilterTrailersStatus.Continue
  }

  private countRequests(count: number): void {
    if (count === 0) return
    this.emitted().requestMessageCount += count
    if (this.counted) this.stats?.countRequestMessages(count)
  }

  private countResponses(count: number): void {
    if (count === 0) return
    this.emitted().responseMessageCount += count
    if (this.counted) this.stats?.countResponseMessages(count)
  }

  private get counted(): boolean {
    return this.named || this.call !== Call.Grpc
  }

  /** The filter state exists from the first message on. */
  private emitted(): GrpcMessageCounts {
    if (this.counts !== null) return this.counts
    this.counts = { requestMessageCount: 0, responseMessageCount: 0 }
    if (this.shared.config.emitFilterState) this.callbacks.streamInfo.filterState.set(GRPC_STATS_STATE, this.counts)
    return this.counts
  }

  private recordUpstreamTime(): void {
    const { lastUpstreamTxByte: sent, lastUpstreamRxByte: received } = this.callbacks.streamInfo
    if (this.shared.config.upstreamStats && sent > 0 && received > 0)
      this.stats?.recordUpstreamTime(Math.max(0, received - sent))
  }
}
