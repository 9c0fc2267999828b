// istio.stats for TCP: connections and bytes, reported as they go and at the end.

import { type PluginConfig, PluginConfigSchema } from '../../../../api/gen/istio/stats_pb.js'
import type { NetworkFilterExtension, WorkerContext } from '../../../config/extension.ts'
import { ConnectionEvent } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter, type ReadFilterCallbacks } from '../../../network/filter.ts'
import { StreamInfo } from '../../../stream-info.ts'
import { type IstioStatsConfig, parseIstioStats } from '../../common/istio-stats/config.ts'
import { IstioMetrics, Metric, type Report } from '../../common/istio-stats/metrics.ts'
import { TCP_STREAM_INFO } from '../tcp-proxy/filter.ts'

export const networkIstioStatsFilter: NetworkFilterExtension<IstioStatsConfig> = {
  name: 'istio.stats',
  desc: PluginConfigSchema,
  parse: (message, context) => parseIstioStats(message as PluginConfig, context),
  create: (config: IstioStatsConfig, context: WorkerContext) => {
    const metrics = new IstioMetrics(config, context)
    return (callbacks) => new NetworkIstioStats(metrics, config.tcpReportingMs, callbacks)
  },
}

class NetworkIstioStats implements NetworkFilter {
  private readonly metrics: IstioMetrics
  private readonly callbacks: ReadFilterCallbacks
  private readonly reportingMs: number
  private timer: NodeJS.Timeout | null = null
  private opened = false
  private closed = false
  private sent = 0
  private received = 0

  constructor(metrics: IstioMetrics, reportingMs: number, callbacks: ReadFilterCallbacks) {
    this.metrics = metrics
    this.reportingMs = reportingMs
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    if (this.reportingMs > 0) this.timer = setInterval(onInterval, this.reportingMs, this).unref()
    return FilterStatus.Continue
  }

  onData(): FilterStatus {
    return FilterStatus.Continue
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.closed) return
    this.closed = true
    if (this.timer !== null) clearInterval(this.timer)
    this.report()
    this.metrics.find(this.facts()).add(Metric.tcpClosed, 1)
  }

  /** The connection as tcp_proxy knows it, once there is one. */
  private facts(): Report {
    const { connection, filterState } = this.callbacks
    const info =
      (filterState.get(TCP_STREAM_INFO) as StreamInfo | undefined) ?? new StreamInfo(connection.info, filterState)
    return { info, requestHeaders: null, responseHeaders: null, protocol: 'tcp', grpcStatus: '' }
  }

  report(): void {
    const { connection } = this.callbacks
    const series = this.metrics.find(this.facts())
    if (!this.opened) {
      this.opened = true
      series.add(Metric.tcpOpened, 1)
    }
    // Seen from the client: what it sent was received here.
    series.add(Metric.tcpReceived, connection.bytesReceived - this.received)
    series.add(Metric.tcpSent, connection.bytesSent - this.sent)
    this.received = connection.bytesReceived
    this.sent = connection.bytesSent
  }
}

function onInterval(filter: NetworkIstioStats): void {
  filter.report()
}
