// Collectors of traces that keep what they are sent: Zipkin JSON and OTLP over HTTP, OTLP over gRPC.

import { createServer, type Server } from 'node:http'
import { createServer as createHttp2Server, type Http2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { fromBinary, toJson } from '@bufbuild/protobuf'
import { ExportTraceServiceRequestSchema } from '../../../src/api/gen/opentelemetry/trace_pb.js'
import { address } from './situations.ts'

/** One report. */
export interface Report {
  readonly protocol: 'http' | 'grpc'
  readonly path: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: unknown
}

function otlp(bytes: Uint8Array): unknown {
  return toJson(ExportTraceServiceRequestSchema, fromBinary(ExportTraceServiceRequestSchema, bytes))
}

export class Collectors {
  readonly reports: Report[] = []
  private readonly http: Server
  private readonly grpc: Http2Server

  constructor() {
    this.http = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const bytes = Buffer.concat(chunks)
        // Copies of requests come here too.
        if (request.method !== 'POST') {
          response.writeHead(200).end()
          return
        }
        const body = request.headers['content-type'] === 'application/json' ? JSON.parse(bytes.toString()) : otlp(bytes)
        this.reports.push({ protocol: 'http', path: request.url ?? '', headers: request.headers, body })
        response.writeHead(202).end()
      })
    })
    this.grpc = createHttp2Server()
    this.grpc.on('stream', (stream, headers) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const body = otlp(Buffer.concat(chunks).subarray(5))
        this.reports.push({ protocol: 'grpc', path: String(headers[':path']), headers, body })
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
        stream.end(Buffer.alloc(5))
      })
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.http.listen(0, '127.0.0.1', resolve))
    await new Promise<void>((resolve) => this.grpc.listen(0, '127.0.0.1', resolve))
  }

  close(): void {
    this.http.close()
    this.http.closeAllConnections()
    this.grpc.close()
  }

  /** Clusters `http-collector` and `grpc-collector`. */
  clusters(): object[] {
    const port = (server: Server | Http2Server): number => (server.address() as AddressInfo).port
    const cluster = (name: string, at: number): object => ({
      name,
      type: 'STATIC',
      connect_timeout: '1s',
      load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(at) } }] }] },
    })
    return [
      cluster('http-collector', port(this.http)),
      {
        ...cluster('grpc-collector', port(this.grpc)),
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
      },
    ]
  }
}

interface ZipkinSpan {
  readonly [field: string]: unknown
  readonly tags: Readonly<Record<string, string>>
  readonly annotations?: readonly { readonly value: string }[]
}
interface OtlpSpan {
  readonly [field: string]: unknown
  readonly attributes?: readonly { readonly key: string; readonly value: { readonly stringValue: string } }[]
  readonly events?: readonly { readonly name: string }[]
}

/** Spans of all reports, one a line of plain data: times gone, tags in order, ids in hex. */
export function spansOf(reports: readonly Report[]): Record<string, unknown>[] {
  return reports.flatMap(({ body }) => (Array.isArray(body) ? body.map(zipkinSpan) : otlpSpans(body)))
}

function sorted(tags: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function zipkinSpan({ tags, annotations = [], timestamp, duration, ...rest }: ZipkinSpan): Record<string, unknown> {
  if (typeof timestamp !== 'number' || typeof duration !== 'number') throw new Error('a span without its times')
  return { ...rest, tags: sorted(tags), annotations: annotations.map(({ value }) => value) }
}

/** Of what describes the reporter itself only the service's name is compared. */
const OF_THE_REPORTER = ['telemetry.sdk.language', 'telemetry.sdk.name', 'telemetry.sdk.version']

function otlpSpans(body: unknown): Record<string, unknown>[] {
  const { resourceSpans } = body as {
    resourceSpans: {
      resource: { attributes: NonNullable<OtlpSpan['attributes']> }
      scopeSpans: { spans: OtlpSpan[] }[]
    }[]
  }
  const plain = (attributes: NonNullable<OtlpSpan['attributes']>): Record<string, string> =>
    sorted(Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue])))
  const hex = (id: unknown): string => Buffer.from(String(id ?? ''), 'base64').toString('hex')
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = Object.fromEntries(
      Object.entries(plain(resource.attributes)).filter(([key]) => !OF_THE_REPORTER.includes(key)),
    )
    return scopeSpans.flatMap(({ spans }) =>
      spans.map(({ startTimeUnixNano, endTimeUnixNano, ...span }) => {
        if (BigInt(String(endTimeUnixNano)) < BigInt(String(startTimeUnixNano)))
          throw new Error('ends before its start')
        return {
          ...span,
          service,
          traceId: hex(span.traceId),
          spanId: hex(span.spanId),
          parentSpanId: hex(span.parentSpanId),
          attributes: plain(span.attributes ?? []),
          events: (span.events ?? []).map(({ name }) => name),
        }
      }),
    )
  })
}
