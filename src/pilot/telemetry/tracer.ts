// Where spans go: the tracer of a provider.
import { create } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { DatadogConfigSchema } from '../../api/gen/envoy/config/trace/v3/datadog_pb.js'
import { type Tracing_Http, Tracing_HttpSchema } from '../../api/gen/envoy/config/trace/v3/http_tracer_pb.js'
import { OpenTelemetryConfigSchema } from '../../api/gen/envoy/config/trace/v3/opentelemetry_pb.js'
import {
  ZipkinConfig_CollectorEndpointVersion,
  ZipkinConfigSchema,
} from '../../api/gen/envoy/config/trace/v3/zipkin_pb.js'
import { type ExtensionProvider, parseDuration } from '../../config/index.ts'
import type { ProxyNode } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { durationOf } from '../xds/messages.ts'
import { outboundClusterName } from '../xds/names.ts'

/** How long a collector may take when nobody says otherwise. */
const COLLECTOR_TIMEOUT_MS = 10_000

/** Undefined: no tracer of this kind, or its service is not in the registry; spans then go nowhere. */
export function buildTracer(
  push: Pick<PushContext, 'services'>,
  proxy: ProxyNode,
  provider: ExtensionProvider | null,
): Tracing_Http | undefined {
  const target = provider?.zipkin ?? provider?.opentelemetry ?? provider?.datadog
  if (!provider || !target) return undefined
  const host = providerHost(push, target.service)
  if (host === null) return undefined
  const cluster = outboundClusterName(target.port, '', host)
  if (provider.zipkin) return tracer('envoy.tracers.zipkin', zipkin(provider.zipkin, cluster, host))
  if (provider.opentelemetry) {
    return tracer('envoy.tracers.opentelemetry', openTelemetry(provider.opentelemetry, cluster, host, proxy))
  }
  const config = create(DatadogConfigSchema, {
    collectorCluster: cluster,
    collectorHostname: host,
    serviceName: proxy.cluster,
  })
  return tracer('envoy.tracers.datadog', anyPack(DatadogConfigSchema, config))
}

function tracer(name: string, typedConfig: Any): Tracing_Http {
  return create(Tracing_HttpSchema, { name, configType: { case: 'typedConfig', value: typedConfig } })
}

function zipkin(provider: NonNullable<ExtensionProvider['zipkin']>, cluster: string, host: string): Any {
  return anyPack(
    ZipkinConfigSchema,
    create(ZipkinConfigSchema, {
      collectorCluster: cluster,
      collectorEndpoint: provider.path || '/api/v2/spans',
      collectorEndpointVersion: ZipkinConfig_CollectorEndpointVersion.HTTP_JSON,
      collectorHostname: host,
      traceId128bit: !provider.enable64bitTraceId,
      sharedSpanContext: false,
    }),
  )
}

function openTelemetry(
  provider: NonNullable<ExtensionProvider['opentelemetry']>,
  cluster: string,
  host: string,
  proxy: ProxyNode,
): Any {
  const { http } = provider
  const path = typeof http?.path === 'string' ? http.path : '/'
  const timeout = (typeof http?.timeout === 'string' ? parseDuration(http.timeout) : undefined) ?? COLLECTOR_TIMEOUT_MS
  return anyPack(
    OpenTelemetryConfigSchema,
    create(OpenTelemetryConfigSchema, {
      serviceName: proxy.cluster,
      ...(http
        ? {
            httpService: {
              httpUri: {
                uri: `${host}:${provider.port}${path}`,
                httpUpstreamType: { case: 'cluster', value: cluster },
                timeout: durationOf(timeout),
              },
            },
          }
        : {
            grpcService: {
              targetSpecifier: { case: 'envoyGrpc', value: { clusterName: cluster, authority: host } },
            },
          }),
    }),
  )
}
