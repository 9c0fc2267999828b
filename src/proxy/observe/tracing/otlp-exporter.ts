// Sends spans to an OpenTelemetry collector: OTLP over gRPC or over HTTP (protobuf).

import { create, toBinary } from '@bufbuild/protobuf'
import {
  ExportTraceServiceRequestSchema,
  InstrumentationScopeSchema,
  type Resource,
  ResourceSpansSchema,
  ScopeSpansSchema,
  type Span,
} from '../../../api/gen/opentelemetry/trace_pb.js'
import { HeaderMap } from '../../http/header-map.ts'
import type { ClusterManager } from '../../upstream/cluster-manager.ts'
import { addMetadata } from '../../upstream/grpc-client.ts'
import { grpcFrame } from '../../upstream/grpc-frame.ts'
import { sendRequest } from '../../upstream/http-client.ts'
import type { OpenTelemetryData } from './config.ts'

const EXPORT_PATH = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'

/** Nobody waits for a collector: its cluster's stats tell how it answers. */
const IGNORE = { onResponse: () => {}, onFailure: () => {} }

export class OtlpExporter {
  private readonly target: OpenTelemetryData['exporter']
  private readonly resource: Resource
  private readonly version: string
  private readonly userAgent: string
  private readonly clusters: ClusterManager

  constructor(target: OpenTelemetryData['exporter'], resource: Resource, version: string, clusters: ClusterManager) {
    this.target = target
    this.resource = resource
    this.version = version
    this.userAgent = `OTel-OTLP-Exporter-Outrigger/${version}`
    this.clusters = clusters
  }

  send(spans: Span[]): void {
    const { target } = this
    const scope = create(InstrumentationScopeSchema, { name: 'outrigger', version: this.version })
    const request = create(ExportTraceServiceRequestSchema, {
      resourceSpans: [
        create(ResourceSpansSchema, {
          resource: this.resource,
          scopeSpans: [create(ScopeSpansSchema, { scope, spans })],
        }),
      ],
    })
    const message = toBinary(ExportTraceServiceRequestSchema, request)
    const headers = new HeaderMap()
    headers.method = 'POST'
    headers.authority = target.authority
    headers.scheme = 'http'
    const cluster = this.clusters.get(target.cluster)
    if (target.kind === 'grpc') {
      headers.path = EXPORT_PATH
      headers.add('te', 'trailers')
      headers.add('content-type', 'application/grpc')
      addMetadata(headers, target, null)
      headers.add('user-agent', this.userAgent)
      sendRequest(cluster, headers, grpcFrame(message), target.timeoutMs, IGNORE)
      return
    }
    headers.path = target.path
    headers.add('content-type', 'application/x-protobuf')
    headers.add('user-agent', this.userAgent)
    for (const [name, value] of target.headers) headers.set(name, value)
    headers.add('content-length', String(message.length))
    sendRequest(
      cluster,
      headers,
      Buffer.from(message.buffer, message.byteOffset, message.length),
      target.timeoutMs,
      IGNORE,
    )
  }
}
