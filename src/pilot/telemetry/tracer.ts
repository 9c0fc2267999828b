// Where spans go: the tracer of a provider.
import { create } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import { HeaderValueOption_HeaderAppendAction as Append } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.js'
import { type HttpService, HttpServiceSchema } from '../../api/gen/envoy/config/core/v3/http_service_pb.js'
import { DatadogConfigSchema } from '../../api/gen/envoy/config/trace/v3/datadog_pb.js'
import { type Tracing_Http, Tracing_HttpSchema } from '../../api/gen/envoy/config/trace/v3/http_tracer_pb.js'
import { OpenTelemetryConfigSchema } from '../../api/gen/envoy/config/trace/v3/opentelemetry_pb.js'
import { SkyWalkingConfigSchema } from '../../api/gen/envoy/config/trace/v3/skywalking_pb.js'
import {
  ZipkinConfig_CollectorEndpointVersion,
  ZipkinConfig_TraceContextOption,
  ZipkinConfigSchema,
} from '../../api/gen/envoy/config/trace/v3/zipkin_pb.js'
import { DynatraceResourceDetectorConfigSchema } from '../../api/gen/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/dynatrace_resource_detector_pb.js'
import { EnvironmentResourceDetectorConfigSchema } from '../../api/gen/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector_pb.js'
import { DynatraceSamplerConfigSchema } from '../../api/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/dynatrace_sampler_pb.js'
import type { ExtensionProvider, ProviderHeader } from '../../config/index.ts'
import { type ProxyNode, runsExtension } from '../model/node.ts'
import { providerHost } from '../model/provider-service.ts'
import type { PushContext } from '../model/push-context.ts'
import { durationOf } from '../xds/messages.ts'
import { outboundClusterName } from '../xds/names.ts'

const ZIPKIN = 'envoy.tracers.zipkin'
const DATADOG = 'envoy.tracers.datadog'
const SKYWALKING = 'envoy.tracers.skywalking'
const OPEN_TELEMETRY = 'envoy.tracers.opentelemetry'
/** Our proxy has neither: without them it asks nobody how much to sample, and keeps to the percentage. */
const DYNATRACE_DETECTOR = 'envoy.tracers.opentelemetry.resource_detectors.dynatrace'
const DYNATRACE_SAMPLER = 'envoy.tracers.opentelemetry.samplers.dynatrace'
/** How long a Zipkin collector may take when nobody says otherwise: Envoy insists on a limit. */
const COLLECTOR_TIMEOUT_MS = 5_000

type OpenTelemetry = NonNullable<ExtensionProvider['opentelemetry']>

/** A tracer with what of the tracing block depends on it. */
export interface Tracer {
  readonly config: Tracing_Http
  /** A span of its own for the way to the upstream: gateways are services themselves. */
  readonly upstreamSpan: boolean
  /** The tracer decides itself which requests are traced: all of them reach it. */
  readonly samples: boolean
  readonly maxTagLength: number
}

/**
 * Null: no tracer of this kind, its service is not in the registry, or the proxy cannot run it; spans then go nowhere.
 * Our own proxy runs Zipkin and OpenTelemetry tracers in their plain forms.
 */
export function buildTracer(
  push: Pick<PushContext, 'services'>,
  proxy: ProxyNode,
  provider: ExtensionProvider | null,
): Tracer | null {
  const target = provider?.zipkin ?? provider?.opentelemetry ?? provider?.datadog ?? provider?.skywalking
  if (!provider || !target) return null
  const host = providerHost(push, target.service)
  if (host === null) return null
  const cluster = outboundClusterName(target.port, '', host)
  const upstreamSpan = proxy.type === 'router'
  const maxTagLength = ('maxTagLength' in target ? target.maxTagLength : undefined) ?? 0
  const plain = { upstreamSpan, samples: false, maxTagLength }
  if (provider.zipkin) return { ...plain, config: tracer(ZIPKIN, zipkin(provider.zipkin, cluster, host, proxy)) }
  if (provider.opentelemetry) {
    const samples = provider.opentelemetry.dynatraceSampler && runsExtension(proxy, DYNATRACE_SAMPLER)
    const sampler = samples ? dynatraceSampler(push, provider.opentelemetry, cluster, host) : null
    // A sampler with nobody to ask: as in istiod there are no spans then.
    if (samples && !sampler) return null
    const config = openTelemetry(provider.opentelemetry, cluster, host, proxy, sampler)
    return { ...plain, samples: sampler !== null, config: tracer(OPEN_TELEMETRY, config) }
  }
  if (provider.skywalking) {
    if (!runsExtension(proxy, SKYWALKING)) return null
    const grpcService = {
      targetSpecifier: { case: 'envoyGrpc' as const, value: { clusterName: cluster, authority: host } },
    }
    const config = anyPack(SkyWalkingConfigSchema, create(SkyWalkingConfigSchema, { grpcService }))
    return { upstreamSpan: true, samples: false, maxTagLength: 0, config: tracer(SKYWALKING, config) }
  }
  if (!runsExtension(proxy, DATADOG)) return null
  const config = create(DatadogConfigSchema, {
    collectorCluster: cluster,
    collectorHostname: host,
    serviceName: proxy.cluster,
  })
  return { ...plain, config: tracer(DATADOG, anyPack(DatadogConfigSchema, config)) }
}

function tracer(name: string, typedConfig: Any): Tracing_Http {
  return create(Tracing_HttpSchema, { name, configType: { case: 'typedConfig', value: typedConfig } })
}

function zipkin(
  provider: NonNullable<ExtensionProvider['zipkin']>,
  cluster: string,
  host: string,
  proxy: ProxyNode,
): Any {
  const path = provider.path || '/api/v2/spans'
  const config = create(ZipkinConfigSchema, {
    collectorEndpointVersion: ZipkinConfig_CollectorEndpointVersion.HTTP_JSON,
    traceId128bit: !provider.enable64bitTraceId,
    sharedSpanContext: false,
    traceContextOption:
      provider.traceContextOption === 'USE_B3_WITH_W3C_PROPAGATION' && atLeast(proxy, 28)
        ? ZipkinConfig_TraceContextOption.USE_B3_WITH_W3C_PROPAGATION
        : ZipkinConfig_TraceContextOption.USE_B3,
  })
  if (runsExtension(proxy, ZIPKIN) && atLeast(proxy, 29)) {
    config.collectorService = httpService(
      `http://${host}${path}`,
      cluster,
      provider.timeout ?? COLLECTOR_TIMEOUT_MS,
      provider.headers,
    )
    return anyPack(ZipkinConfigSchema, config)
  }
  config.collectorCluster = cluster
  config.collectorEndpoint = path
  config.collectorHostname = host
  return anyPack(ZipkinConfigSchema, config)
}

/** The proxy is of Istio 1.`minor` or later; one that does not say is taken to be current. */
function atLeast({ istioVersion }: ProxyNode, minor: number): boolean {
  const found = /^(\d+)\.(\d+)/.exec(istioVersion)
  return !found || Number(found[1]) > 1 || Number(found[2]) >= minor
}

function openTelemetry(
  provider: OpenTelemetry,
  cluster: string,
  host: string,
  proxy: ProxyNode,
  sampler: TypedExtensionConfig | null,
): Any {
  const { http, grpc } = provider
  return anyPack(
    OpenTelemetryConfigSchema,
    create(OpenTelemetryConfigSchema, {
      serviceName:
        provider.serviceAttributeEnrichment === 'OTEL_SEMANTIC_CONVENTIONS' ? serviceName(proxy) : proxy.cluster,
      httpService: http ? httpService(joinPath(host, http.path), cluster, http.timeout, http.headers) : undefined,
      grpcService: http
        ? undefined
        : {
            targetSpecifier: { case: 'envoyGrpc', value: { clusterName: cluster, authority: host } },
            timeout: grpc?.timeout === undefined ? undefined : durationOf(grpc.timeout),
            initialMetadata: grpc?.initialMetadata?.map((h) => ({ key: h.name, value: headerValue(h) })),
          },
      resourceDetectors: resourceDetectors(provider, runsExtension(proxy, DYNATRACE_DETECTOR)),
      sampler: sampler ?? undefined,
    }),
  )
}

/** OpenTelemetry's own order of names for a Kubernetes workload. */
function serviceName({ metadata, labels, name }: ProxyNode): string {
  const annotations = metadata.ANNOTATIONS as Readonly<Record<string, unknown>> | undefined
  const named = annotations?.['resource.opentelemetry.io/service.name']
  const workload = metadata.WORKLOAD_NAME
  return (
    (typeof named === 'string' && named) ||
    labels['app.kubernetes.io/instance'] ||
    labels['app.kubernetes.io/name'] ||
    (typeof workload === 'string' && workload) ||
    name ||
    'unknown_service'
  )
}

function resourceDetectors(provider: OpenTelemetry, runsDynatrace: boolean): TypedExtensionConfig[] {
  const { environment, dynatrace } = provider.resourceDetectors ?? {}
  const named = (name: string, typedConfig: Any): TypedExtensionConfig => ({
    $typeName: 'envoy.config.core.v3.TypedExtensionConfig',
    name,
    typedConfig,
  })
  const detectors: TypedExtensionConfig[] = []
  const fromEnvironment = named(
    'envoy.tracers.opentelemetry.resource_detectors.environment',
    anyPack(EnvironmentResourceDetectorConfigSchema, create(EnvironmentResourceDetectorConfigSchema)),
  )
  if (environment) detectors.push(fromEnvironment)
  if (dynatrace && runsDynatrace) {
    detectors.push(
      named(
        DYNATRACE_DETECTOR,
        anyPack(DynatraceResourceDetectorConfigSchema, create(DynatraceResourceDetectorConfigSchema)),
      ),
    )
  }
  // The environment may name the service better than Kubernetes does.
  if (provider.serviceAttributeEnrichment === 'OTEL_SEMANTIC_CONVENTIONS' && !environment)
    detectors.push(fromEnvironment)
  return detectors
}

/** Dynatrace's sampler asks its service how many spans it wants: that of the exporter, or one of its own. Null: nobody. */
function dynatraceSampler(
  push: Pick<PushContext, 'services'>,
  { dynatraceSampler: sampler, http }: OpenTelemetry,
  cluster: string,
  host: string,
): TypedExtensionConfig | null {
  if (!sampler) return null
  const own = sampler.httpService
  let service: HttpService | null = null
  if (own) {
    const found = providerHost(push, own.service)
    if (found !== null) {
      const target = outboundClusterName(own.port, '', found)
      service = httpService(joinPath(found, own.http?.path), target, own.http?.timeout, own.http?.headers)
    }
  } else if (http) service = httpService(`${host}/api/v2/samplingConfiguration`, cluster, http.timeout, http.headers)
  if (!service) return null
  const config = create(DynatraceSamplerConfigSchema, {
    tenant: sampler.tenant,
    clusterId: sampler.clusterId,
    rootSpansPerMinute: sampler.rootSpansPerMinute,
    httpService: service,
  })
  return {
    $typeName: 'envoy.config.core.v3.TypedExtensionConfig',
    name: DYNATRACE_SAMPLER,
    typedConfig: anyPack(DynatraceSamplerConfigSchema, config),
  }
}

function httpService(
  uri: string,
  cluster: string,
  timeoutMs: number | undefined,
  headers: readonly ProviderHeader[] | undefined,
): HttpService {
  return create(HttpServiceSchema, {
    httpUri: {
      uri,
      httpUpstreamType: { case: 'cluster', value: cluster },
      timeout: timeoutMs === undefined ? undefined : durationOf(timeoutMs),
    },
    requestHeadersToAdd: headers?.map((header) => ({
      appendAction: Append.OVERWRITE_IF_EXISTS_OR_ADD,
      header: { key: header.name, value: headerValue(header) },
    })),
  })
}

/** A value as it is, or that of a variable of the control plane's own environment: so secrets stay out of MeshConfig. */
function headerValue({ value, envName }: ProviderHeader): string {
  return envName ? (process.env[envName] ?? '') : (value ?? '')
}

function joinPath(host: string, path: string | undefined): string {
  return path ? `${host}/${path.replace(/^\/+/, '')}` : host
}
