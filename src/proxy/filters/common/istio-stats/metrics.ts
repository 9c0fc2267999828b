// Istio's standard metrics of one filter in one worker: label sets become series, each looked up once and then kept.

import type { WorkerContext } from '../../../config/extension.ts'
import type { HeaderMap } from '../../../http/header-map.ts'
import { responseFlags } from '../../../observe/format/stream-operators.ts'
import type { Scope, StatTags } from '../../../observe/stats.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import { DOWNSTREAM_PEER, ownPeer, type PeerMetadata, UPSTREAM_PEER } from '../peer-metadata.ts'
import type { IstioStatsConfig } from './config.ts'
import { dimensionText } from './dimension.ts'
import {
  HTTP_ONLY,
  LABELS,
  type Label,
  namespaceOfPrincipal,
  peerOfEndpoint,
  serviceOf,
  UNKNOWN,
  workloadLabels,
} from './labels.ts'

/** What Prometheus drops from a name. */
const NAMESPACE = 'istiocustom'

export const Metric = {
  requestsTotal: 'requests_total',
  requestDuration: 'request_duration_milliseconds',
  requestBytes: 'request_bytes',
  responseBytes: 'response_bytes',
  requestMessages: 'request_messages_total',
  responseMessages: 'response_messages_total',
  tcpOpened: 'tcp_connections_opened_total',
  tcpClosed: 'tcp_connections_closed_total',
  tcpSent: 'tcp_sent_bytes_total',
  tcpReceived: 'tcp_received_bytes_total',
} as const
export type Metric = (typeof Metric)[keyof typeof Metric]

/** Facts of one request or connection at the time of reporting. */
export interface Report {
  readonly info: StreamInfo
  readonly requestHeaders: HeaderMap | null
  readonly responseHeaders: HeaderMap | null
  readonly protocol: 'http' | 'grpc' | 'tcp'
  /** '' = none. */
  readonly grpcStatus: string
}

/** One label set: its metrics are made as they are counted. */
export class Series {
  private readonly metrics: IstioMetrics
  private readonly values: Partial<Record<Label, string>>
  private readonly report: Report
  private readonly stats = new Map<
    Metric,
    { inc(): void; add(amount: number): void; record(value: number): void } | null
  >()

  constructor(metrics: IstioMetrics, values: Partial<Record<Label, string>>, report: Report) {
    this.metrics = metrics
    this.values = values
    this.report = report
  }

  add(metric: Metric, amount: number): void {
    this.stat(metric, false)?.add(amount)
  }

  record(metric: Metric, value: number): void {
    this.stat(metric, true)?.record(value)
  }

  private stat(metric: Metric, histogram: boolean): { add(amount: number): void; record(value: number): void } | null {
    let stat = this.stats.get(metric)
    if (stat === undefined) {
      stat = this.metrics.create(metric, histogram, this.values, this.report)
      this.stats.set(metric, stat)
    }
    return stat
  }
}

/** Series kept by key; a peer that makes up ever new labels empties the cache, not the memory. */
const MAX_SERIES = 5000

export class IstioMetrics {
  private readonly config: IstioStatsConfig
  private readonly scope: Scope
  private readonly own: PeerMetadata
  private readonly nodeMetadata: Readonly<Record<string, unknown>>
  /** True when this proxy is in front of the destination. */
  private readonly server: boolean
  private readonly reporter: string
  private readonly dynamic: boolean
  private readonly series = new Map<string, Series>()
  private readonly peerIds = new WeakMap<PeerMetadata, number>()
  private nextPeerId = 1

  constructor(config: IstioStatsConfig, context: WorkerContext) {
    this.config = config
    this.scope = context.stats.scope(NAMESPACE)
    this.own = ownPeer(context.node)
    this.nodeMetadata = context.node.metadata
    const inbound = context.listener?.trafficDirection === 'INBOUND'
    this.server = inbound || config.serverGateway
    this.reporter = this.server ? 'destination' : 'source'
    // Dimensions may differ from request to request within one label set: then every report has its own series.
    this.dynamic = config.overrides.some((override) =>
      override.dimensions.some(([, value]) => value.kind !== 'literal'),
    )
    const version = context.node.metadata.ISTIO_VERSION
    this.scope
      .gauge('istio_build', [
        ['component', 'proxy'],
        ['tag', typeof version === 'string' ? version : UNKNOWN],
      ])
      .set(1)
  }

  /** Over HTTP a header tells of an upstream peer, over TCP the first bytes of the connection to it. */
  private peerOf(info: StreamInfo): PeerMetadata | null {
    const told = this.server
      ? info.filterState.get(DOWNSTREAM_PEER)
      : (info.filterState.get(UPSTREAM_PEER) ?? info.upstreamConnection?.filterState?.get(UPSTREAM_PEER))
    return (told as PeerMetadata | undefined) ?? null
  }

  private peerId(peer: PeerMetadata | null): number {
    if (peer === null) return 0
    let id = this.peerIds.get(peer)
    if (id === undefined) {
      id = this.nextPeerId++
      this.peerIds.set(peer, id)
    }
    return id
  }

  /** The series of a report. */
  find(report: Report): Series {
    const { info, requestHeaders } = report
    const peer = this.peerOf(info)
    const ssl = this.server ? info.downstream.ssl() : null
    const upstreamSsl = this.server ? null : (info.upstreamConnection?.ssl() ?? null)
    const certificate = ssl ?? upstreamSsl
    const peerPrincipal = certificate?.uriSanPeer[0] ?? ''
    const host = this.config.disableHostHeaderFallback ? '' : (requestHeaders?.authority ?? '')
    const key = [
      this.peerId(peer),
      info.upstreamCluster,
      info.routeName,
      host,
      info.upstreamHost?.address.text,
      report.protocol,
      info.responseCode,
      report.grpcStatus,
      info.responseFlags,
      peerPrincipal,
      certificate === null ? 0 : 1,
    ].join('|')
    const found = this.dynamic ? undefined : this.series.get(key)
    if (found) return found
    const series = new Series(this, this.labels(report, peer, host), report)
    if (!this.dynamic) {
      if (this.series.size >= MAX_SERIES) this.series.clear()
      this.series.set(key, series)
    }
    return series
  }

  private labels(report: Report, peer: PeerMetadata | null, host: string): Partial<Record<Label, string>> {
    const { info } = report
    const { server, own } = this
    const other = peer ?? (server ? null : peerOfEndpoint(info))
    const service = serviceOf(info, host, server ? own.namespace : (other?.namespace ?? ''))
    const ssl = server ? info.downstream.ssl() : (info.upstreamConnection?.ssl() ?? null)
    const peerPrincipal = ssl?.uriSanPeer[0] ?? ''
    const ownPrincipal = ssl?.uriSanLocal[0] ?? ''
    const workloads = workloadLabels(server ? other : own, server ? own : other)
    // A certificate is the surer witness of a namespace.
    const namespace = namespaceOfPrincipal(peerPrincipal)
    if (namespace !== '' && other === null) {
      workloads[server ? 'source_workload_namespace' : 'destination_workload_namespace'] = namespace
    }
    const mutual = server && (ssl?.peerCertificatePresented ?? false)
    return {
      reporter: this.reporter,
      ...workloads,
      source_principal: (server ? peerPrincipal : ownPrincipal) || UNKNOWN,
      destination_principal: (server ? ownPrincipal : peerPrincipal) || UNKNOWN,
      destination_service: service.host,
      destination_service_name: service.name,
      destination_service_namespace: service.namespace,
      request_protocol: report.protocol,
      response_code: String(info.responseCode),
      grpc_response_status: report.grpcStatus,
      response_flags: responseFlags(info, false),
      connection_security_policy: server ? (mutual ? 'mutual_tls' : 'none') : UNKNOWN,
    }
  }

  /** null when the configuration drops the metric. */
  create(
    metric: Metric,
    histogram: boolean,
    values: Partial<Record<Label, string>>,
    report: Report,
  ): { inc(): void; add(amount: number): void; record(value: number): void } | null {
    const overrides = this.config.overrides.filter((override) => override.name === '' || override.name === metric)
    if (overrides.some((override) => override.drop)) return null
    const tags: [string, string][] = []
    for (const label of LABELS) {
      if (report.protocol === 'tcp' && HTTP_ONLY.has(label)) continue
      if (overrides.some((override) => override.tagsToRemove.includes(label))) continue
      tags.push([label, values[label] ?? UNKNOWN])
    }
    for (const override of overrides) {
      for (const [tag, value] of override.dimensions) {
        const text = dimensionText(value, { ...report, nodeMetadata: this.nodeMetadata })
        const known = tags.find(([name]) => name === tag)
        if (known) known[1] = text
        else tags.push([tag, text])
      }
    }
    return this.stat(`istio_${metric}`, histogram, tags)
  }

  private stat(
    name: string,
    histogram: boolean,
    tags: StatTags,
  ): { inc(): void; add(amount: number): void; record(value: number): void } {
    if (!histogram) {
      const counter = this.scope.counter(name, tags)
      return { inc: () => counter.inc(), add: (amount) => counter.add(amount), record: () => {} }
    }
    const recorded = this.scope.histogram(name, name.endsWith('milliseconds') ? 'ms' : 'bytes', tags)
    return { inc: () => {}, add: () => {}, record: (value) => recorded.record(value) }
  }
}
