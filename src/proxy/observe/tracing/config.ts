// Tracing of a connection manager and of a route as plain data. Percentages are millionths.

import type { GrpcTarget } from '../../upstream/grpc-target.ts'

/** Where a custom tag's value comes from. An empty value or default means that there is no tag. */
export type CustomTagData = { readonly tag: string } & (
  | { readonly kind: 'literal'; readonly value: string }
  | { readonly kind: 'environment'; readonly name: string; readonly defaultValue: string }
  | { readonly kind: 'request_header'; readonly name: string; readonly defaultValue: string }
  | {
      readonly kind: 'metadata'
      readonly source: 'request' | 'route' | 'cluster' | 'host'
      readonly namespace: string
      readonly path: readonly string[]
      readonly defaultValue: string
    }
  /** A substitution format string. */
  | { readonly kind: 'value'; readonly format: string }
)

/** What a route may say in place of its connection manager. */
export interface RouteTracingData {
  readonly client: number
  readonly random: number
  readonly overall: number
  readonly customTags: readonly CustomTagData[]
  /** Substitution format strings of span names; '' = not set. */
  readonly operation: string
  readonly upstreamOperation: string
}

export interface ZipkinData {
  readonly kind: 'zipkin'
  readonly cluster: string
  readonly endpoint: string
  readonly hostname: string
  /** Added to each report. */
  readonly headers: readonly (readonly [string, string])[]
  readonly traceId128Bit: boolean
  readonly sharedSpanContext: boolean
  readonly splitSpans: boolean
  /** W3C trace context is read where there is no B3, and written beside it. */
  readonly w3c: boolean
}

export interface OpenTelemetryData {
  readonly kind: 'opentelemetry'
  readonly exporter:
    | ({ readonly kind: 'grpc' } & GrpcTarget)
    | {
        readonly kind: 'http'
        readonly cluster: string
        readonly authority: string
        readonly path: string
        readonly timeoutMs: number
        readonly headers: readonly (readonly [string, string])[]
      }
  readonly serviceName: string
  readonly detectors: readonly (
    | { readonly kind: 'environment' }
    | { readonly kind: 'static'; readonly attributes: Readonly<Record<string, string>> }
  )[]
  /** envoy.tracers.opentelemetry.samplers.always_on: every span is reported. */
  readonly alwaysOn: boolean
  readonly maxCacheSize: number
}

/** Of a connection manager. */
export interface TracingConfig {
  readonly clientSampling: number
  readonly randomSampling: number
  readonly overallSampling: number
  readonly verbose: boolean
  readonly maxPathTagLength: number
  readonly customTags: readonly CustomTagData[]
  readonly spawnUpstreamSpan: boolean
  readonly operation: string
  readonly upstreamOperation: string
  readonly noContextPropagation: boolean
  /** null = the decision is made and passed on, but nobody collects spans. */
  readonly provider: ZipkinData | OpenTelemetryData | null
}
