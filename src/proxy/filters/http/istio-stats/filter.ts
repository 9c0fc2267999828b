// istio.stats for HTTP: Istio's request metrics, reported once at the end of a stream.

import { type PluginConfig, PluginConfigSchema } from '../../../../api/gen/istio/stats_pb.js'
import type { HttpFilterExtension, WorkerContext } from '../../../config/extension.ts'
import { FilterHeadersStatus, FilterTrailersStatus, type HttpFilterFactory } from '../../../http/filter.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { isGrpcContentType } from '../../../http/local-reply.ts'
import { type IstioStatsConfig, parseIstioStats } from '../../common/istio-stats/config.ts'
import { IstioMetrics, Metric } from '../../common/istio-stats/metrics.ts'
import { GRPC_STATS_STATE, type GrpcMessageCounts } from '../grpc-stats/filter.ts'
import { PassThroughFilter } from '../pass-through.ts'

export const istioStatsFilter: HttpFilterExtension<IstioStatsConfig> = {
  name: 'istio.stats',
  desc: PluginConfigSchema,
  parse: (message, context) => parseIstioStats(message as PluginConfig, context),
  create: createIstioStatsFilter,
}

function createIstioStatsFilter(config: IstioStatsConfig, context: WorkerContext): HttpFilterFactory {
  const metrics = new IstioMetrics(config, context)
  return (callbacks) => callbacks.addStreamFilter(new IstioStatsFilter(metrics))
}

class IstioStatsFilter extends PassThroughFilter {
  private readonly metrics: IstioMetrics
  private requestHeaders: HeaderMap | null = null
  private responseHeaders: HeaderMap | null = null
  private grpcStatus = ''

  constructor(metrics: IstioMetrics) {
    super()
    this.metrics = metrics
  }

  override decodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.requestHeaders = headers
    return FilterHeadersStatus.Continue
  }

  override encodeHeaders(headers: HeaderMap): FilterHeadersStatus {
    this.responseHeaders = headers
    this.grpcStatus = headers.get('grpc-status') ?? ''
    return FilterHeadersStatus.Continue
  }

  override encodeTrailers(trailers: HeaderMap): FilterTrailersStatus {
    this.grpcStatus = trailers.get('grpc-status') ?? this.grpcStatus
    return FilterTrailersStatus.Continue
  }

  override onDestroy(): void {
    const { requestHeaders, responseHeaders } = this
    const info = this.callbacks.streamInfo
    const grpc = isGrpcContentType(requestHeaders?.get('content-type'))
    const series = this.metrics.find({
      info,
      requestHeaders,
      responseHeaders,
      protocol: grpc ? 'grpc' : 'http',
      grpcStatus: grpc ? this.grpcStatus : '',
    })
    series.add(Metric.requestsTotal, 1)
    series.record(Metric.requestDuration, info.end - info.start)
    series.record(Metric.requestBytes, info.downstreamWireBytesReceived)
    series.record(Metric.responseBytes, info.downstreamWireBytesSent)
    const counts = grpc ? (info.filterState.get(GRPC_STATS_STATE) as GrpcMessageCounts | undefined) : undefined
    if (counts === undefined) return
    series.add(Metric.requestMessages, counts.requestMessageCount)
    series.add(Metric.responseMessages, counts.responseMessageCount)
  }
}
