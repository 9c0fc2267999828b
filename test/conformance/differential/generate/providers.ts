// Extension providers of a MeshConfig: every kind, under the names that Telemetry and AuthorizationPolicies use.
import type { Draw } from './draw.ts'

const WEB = { service: 'web.default.svc.cluster.local', port: 80 }
const API = { service: 'api.default.svc.cluster.local', port: 9000 }

export const TRACERS = ['zipkin', 'otel', 'otel-http', 'datadog', 'skywalking'] as const

const bodyInCheck = (draw: Draw) =>
  draw.maybe(0.3, () => ({
    maxRequestBytes: draw.pick([1, 4096]),
    allowPartialMessage: draw.maybe(0.5, () => draw.chance(0.7)),
    packAsBytes: draw.maybe(0.4, () => true),
  }))
const statusOnError = (draw: Draw) => draw.maybe(0.3, () => draw.pick(['503', '429']))
const headers = (draw: Draw) =>
  draw.maybe(0.4, () => [{ name: 'x-token', ...draw.pick<object>([{ value: 't' }, { envName: 'NO_SUCH_VARIABLE' }]) }])
const names = (draw: Draw, values: readonly string[]) => draw.maybe(0.3, () => draw.some(values, 1, 2))

const grpcLog = (draw: Draw) => ({
  logName: draw.maybe(0.4, () => 'own-log'),
  filterStateObjectsToLog: names(draw, ['wasm.a', 'b']),
})
const http = (draw: Draw) => ({
  path: draw.maybe(0.7, () => '/v1/traces'),
  timeout: draw.maybe(0.5, () => '3s'),
  headers: headers(draw),
})

function authorizers(draw: Draw): object[] {
  return [
    {
      name: 'authz-http',
      envoyExtAuthzHttp: {
        ...WEB,
        timeout: draw.maybe(0.7, () => '2s'),
        pathPrefix: draw.maybe(0.3, () => '/check'),
        failOpen: draw.chance(0.5),
        clearRouteCache: draw.maybe(0.3, () => true),
        statusOnError: statusOnError(draw),
        includeHeadersInCheck: names(draw, ['x-old', 'x-older']),
        includeRequestHeadersInCheck: names(draw, ['x-a', 'x-prefix*', '*']),
        includeAdditionalHeadersInCheck: draw.maybe(0.3, () => ({ 'x-more': 'm', 'a-first': '%PROTOCOL%' })),
        includeRequestBodyInCheck: bodyInCheck(draw),
        headersToUpstreamOnAllow: names(draw, ['x-up', '*-suffix']),
        headersToDownstreamOnDeny: names(draw, ['x-down', 'x-d*']),
        headersToDownstreamOnAllow: names(draw, ['x-ok', '*']),
      },
    },
    {
      name: 'authz-grpc',
      envoyExtAuthzGrpc: {
        service: draw.pick(['ext.example.com', 'default/ext.example.com', 'api.default.svc.cluster.local']),
        port: 9000,
        timeout: draw.maybe(0.3, () => '4s'),
        failOpen: draw.chance(0.5),
        clearRouteCache: draw.maybe(0.3, () => true),
        statusOnError: statusOnError(draw),
        includeRequestBodyInCheck: bodyInCheck(draw),
      },
    },
  ]
}

function accessLogs(draw: Draw): object[] {
  const omitEmptyValues = draw.maybe(0.3, () => true)
  return [
    {
      name: 'log-json',
      envoyFileAccessLog: {
        path: '/dev/stdout',
        logFormat: { labels: { a: '%PROTOCOL%', b: 'x', ...(draw.chance(0.3) && { nested: { c: '%DURATION%' } }) } },
        omitEmptyValues,
      },
    },
    {
      name: 'log-text',
      envoyFileAccessLog: { path: '/dev/stderr', logFormat: { text: '%PROTOCOL%' }, omitEmptyValues },
    },
    {
      name: 'als',
      envoyHttpAls: {
        service: 'shop.default.svc.cluster.local',
        port: 9000,
        ...grpcLog(draw),
        additionalRequestHeadersToLog: names(draw, ['x-req', 'cookie']),
        additionalResponseHeadersToLog: names(draw, ['x-res']),
        additionalResponseTrailersToLog: names(draw, ['x-trailer']),
      },
    },
    { name: 'tcp-als', envoyTcpAls: { service: 'shop.default.svc.cluster.local', port: 9000, ...grpcLog(draw) } },
    {
      name: 'otel-log',
      envoyOtelAls: {
        ...API,
        logName: draw.maybe(0.4, () => 'own-log'),
        logFormat: draw.maybe(0.4, () => draw.pick<object>([{ text: '%PROTOCOL%' }, { labels: { a: '%PROTOCOL%' } }])),
      },
    },
  ]
}

function tracers(draw: Draw): object[] {
  const more = {
    maxTagLength: draw.maybe(0.3, () => 56),
    resourceDetectors: draw.maybe(0.3, () =>
      draw.pick<object>([{ environment: {} }, { dynatrace: {} }, { environment: {}, dynatrace: {} }]),
    ),
    serviceAttributeEnrichment: draw.maybe(0.3, () => draw.pick(['ISTIO_CANONICAL', 'OTEL_SEMANTIC_CONVENTIONS'])),
  }
  return [
    {
      name: 'zipkin',
      zipkin: {
        ...WEB,
        maxTagLength: draw.maybe(0.3, () => 56),
        enable64bitTraceId: draw.maybe(0.3, () => draw.chance(0.7)),
        path: draw.maybe(0.3, () => '/own/spans'),
        traceContextOption: draw.maybe(0.3, () => draw.pick(['USE_B3', 'USE_B3_WITH_W3C_PROPAGATION'])),
        timeout: draw.maybe(0.3, () => '7s'),
        headers: headers(draw),
      },
    },
    {
      name: 'otel',
      opentelemetry: {
        ...API,
        ...more,
        grpc: draw.maybe(0.3, () => ({ timeout: draw.maybe(0.6, () => '6s'), initialMetadata: headers(draw) })),
      },
    },
    {
      name: 'otel-http',
      opentelemetry: {
        ...WEB,
        ...more,
        http: http(draw),
        dynatraceSampler: draw.maybe(0.3, () => ({
          tenant: 'tenant',
          clusterId: 123,
          rootSpansPerMinute: draw.maybe(0.5, () => 900),
          httpService: draw.maybe(0.5, () => ({ ...API, http: http(draw) })),
        })),
      },
    },
    { name: 'datadog', datadog: { ...WEB, maxTagLength: draw.maybe(0.3, () => 56) } },
    { name: 'skywalking', skywalking: { ...API, accessToken: draw.maybe(0.4, () => 'token') } },
  ]
}

export function extensionProviders(draw: Draw): object[] {
  return [...authorizers(draw), ...accessLogs(draw), ...tracers(draw), { name: 'own-prometheus', prometheus: {} }]
}
