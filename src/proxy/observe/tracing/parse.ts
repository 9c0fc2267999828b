// Tracing messages → plain data. Throws ConfigError for what Envoy refuses or this proxy cannot do.

import type { HttpService } from '../../../api/gen/envoy/config/core/v3/http_service_pb.js'
import type { Tracing as RouteTracing } from '../../../api/gen/envoy/config/route/v3/route_components_pb.js'
import type { Tracing_Http } from '../../../api/gen/envoy/config/trace/v3/http_tracer_pb.js'
import {
  type OpenTelemetryConfig,
  OpenTelemetryConfigSchema,
} from '../../../api/gen/envoy/config/trace/v3/opentelemetry_pb.js'
import {
  ZipkinConfig_CollectorEndpointVersion as EndpointVersion,
  ZipkinConfig_TraceContextOption as TraceContextOption,
  type ZipkinConfig,
  ZipkinConfigSchema,
} from '../../../api/gen/envoy/config/trace/v3/zipkin_pb.js'
import {
  type HttpConnectionManager_Tracing,
  HttpConnectionManager_TracingSchema,
} from '../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { EnvironmentResourceDetectorConfigSchema } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector_pb.js'
import { StaticConfigResourceDetectorConfigSchema } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/static_config_resource_detector_pb.js'
import { AlwaysOnSamplerConfigSchema } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/always_on_sampler_pb.js'
import type { CustomTag } from '../../../api/gen/envoy/type/tracing/v3/custom_tag_pb.js'
import type { Percent } from '../../../api/gen/envoy/type/v3/percent_pb.js'
import { typeNameOf } from '../../../api/registry.ts'
import { ConfigError } from '../../../base/errors.ts'
import { durationMsOr } from '../../config/duration.ts'
import type { ParseContext } from '../../config/extension.ts'
import { hostAndPath } from '../../config/host-and-path.ts'
import { metadataPath } from '../../config/metadata-key.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import { parseGrpcTarget } from '../../upstream/grpc-target.ts'
import { TextFormat } from '../format/text-format.ts'
import type { CustomTagData, OpenTelemetryData, RouteTracingData, TracingConfig, ZipkinData } from './config.ts'

const MILLION = 1_000_000
const MAX_PATH_TAG_LENGTH = 256
const MAX_CACHE_SIZE = 1024
/** A collector that does not answer must not gather calls. */
const EXPORT_TIMEOUT_MS = 10_000

const FIELDS: ReadonlySet<string> = new Set([
  'client_sampling', 'random_sampling', 'overall_sampling', 'verbose', 'max_path_tag_length', 'custom_tags', 'provider',
  'spawn_upstream_span', 'operation', 'upstream_operation', 'no_context_propagation',
]) // biome-ignore format: one list

export function parseTracing(tracing: HttpConnectionManager_Tracing, context: ParseContext): TracingConfig {
  refuseUnsupported(HttpConnectionManager_TracingSchema, tracing, FIELDS, context.path)
  const provider = tracing.provider ?? context.defaultTracer
  const millionths = (percent: Percent | undefined): number => Math.round(((percent?.value ?? 100) * MILLION) / 100)
  return {
    clientSampling: millionths(tracing.clientSampling),
    randomSampling: millionths(tracing.randomSampling),
    overallSampling: millionths(tracing.overallSampling),
    verbose: tracing.verbose,
    maxPathTagLength: tracing.maxPathTagLength ?? MAX_PATH_TAG_LENGTH,
    customTags: parseCustomTags(tracing.customTags, context),
    spawnUpstreamSpan: tracing.spawnUpstreamSpan ?? false,
    operation: checkFormat(tracing.operation, context.at('operation').path),
    upstreamOperation: checkFormat(tracing.upstreamOperation, context.at('upstream_operation').path),
    noContextPropagation: tracing.noContextPropagation,
    provider: provider ? parseProvider(provider, context.at('provider')) : null,
  }
}

/** The names and tags of a route's tracing; its percentages are the caller's. */
export function parseRouteTracing(
  tracing: RouteTracing,
  context: ParseContext,
): Pick<RouteTracingData, 'customTags' | 'operation' | 'upstreamOperation'> {
  return {
    customTags: parseCustomTags(tracing.customTags, context),
    operation: checkFormat(tracing.operation, context.at('operation').path),
    upstreamOperation: checkFormat(tracing.upstreamOperation, context.at('upstream_operation').path),
  }
}

function checkFormat(format: string, path: string): string {
  if (format !== '') new TextFormat(format, true, path)
  return format
}

function parseCustomTags(tags: readonly CustomTag[], context: ParseContext): CustomTagData[] {
  return tags.map((tag, i) => parseCustomTag(tag, context.at(`custom_tags[${i}]`)))
}

function parseCustomTag({ tag, type }: CustomTag, context: ParseContext): CustomTagData {
  switch (type.case) {
    case 'literal':
      return { tag, kind: 'literal', value: type.value.value }
    case 'environment':
      return { tag, kind: 'environment', name: type.value.name, defaultValue: type.value.defaultValue }
    case 'requestHeader':
      return { tag, kind: 'request_header', name: type.value.name.toLowerCase(), defaultValue: type.value.defaultValue }
    case 'metadata': {
      const kind = type.value.kind?.kind.case
      if (kind === undefined) throw new ConfigError(context.at('metadata.kind').path, 'is required')
      return {
        tag,
        kind: 'metadata',
        source: kind,
        namespace: type.value.metadataKey?.key ?? '',
        path: type.value.metadataKey ? metadataPath(type.value.metadataKey) : [],
        defaultValue: type.value.defaultValue,
      }
    }
    case 'value':
      return { tag, kind: 'value', format: checkFormat(type.value, context.at('value').path) }
    default:
      throw new ConfigError(context.path, 'one of literal, environment, request_header, metadata, value is required')
  }
}

function parseProvider(provider: Tracing_Http, context: ParseContext): ZipkinData | OpenTelemetryData {
  const any = provider.configType.value
  const at = context.at('typed_config')
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case ZipkinConfigSchema.typeName:
      return parseZipkin(at.unpack(any!, ZipkinConfigSchema), at)
    case OpenTelemetryConfigSchema.typeName:
      return parseOpenTelemetry(at.unpack(any!, OpenTelemetryConfigSchema), at)
    default:
      throw new ConfigError(
        context.path,
        `no tracing provider "${provider.name}" of type ${any?.typeUrl || '(empty)'}; this build has: envoy.tracers.zipkin, envoy.tracers.opentelemetry`,
      )
  }
}

const ZIPKIN_FIELDS: ReadonlySet<string> = new Set([
  'collector_cluster', 'collector_endpoint', 'trace_id_128bit', 'shared_span_context', 'collector_endpoint_version',
  'collector_hostname', 'split_spans_for_request', 'trace_context_option', 'collector_service',
]) // biome-ignore format: one list

function parseZipkin(zipkin: ZipkinConfig, context: ParseContext): ZipkinData {
  refuseUnsupported(ZipkinConfigSchema, zipkin, ZIPKIN_FIELDS, context.path)
  if (zipkin.collectorEndpointVersion !== EndpointVersion.HTTP_JSON) {
    throw new ConfigError(
      context.at('collector_endpoint_version').path,
      `${EndpointVersion[zipkin.collectorEndpointVersion]} is not supported by this proxy; use HTTP_JSON`,
    )
  }
  return {
    kind: 'zipkin',
    ...parseZipkinCollector(zipkin, context),
    traceId128Bit: zipkin.traceId128bit,
    sharedSpanContext: zipkin.sharedSpanContext ?? true,
    splitSpans: zipkin.splitSpansForRequest,
    w3c: zipkin.traceContextOption === TraceContextOption.USE_B3_WITH_W3C_PROPAGATION,
  }
}

type ZipkinCollector = Pick<ZipkinData, 'cluster' | 'endpoint' | 'hostname' | 'headers'>

/** collector_service, or the older three fields. */
function parseZipkinCollector(zipkin: ZipkinConfig, context: ParseContext): ZipkinCollector {
  if (zipkin.collectorService) {
    const { cluster, authority, path, headers } = parseHttpService(
      zipkin.collectorService,
      context.at('collector_service'),
    )
    return { cluster, endpoint: path, hostname: authority, headers }
  }
  if (zipkin.collectorCluster === '' || zipkin.collectorEndpoint === '') {
    throw new ConfigError(
      context.path,
      'collector_cluster and collector_endpoint must be specified when not using collector_service',
    )
  }
  return {
    cluster: zipkin.collectorCluster,
    endpoint: zipkin.collectorEndpoint,
    hostname: zipkin.collectorHostname || zipkin.collectorCluster,
    headers: [],
  }
}

interface HttpTarget {
  readonly cluster: string
  readonly authority: string
  readonly path: string
  readonly timeoutMs: number
  readonly headers: readonly (readonly [string, string])[]
}

/** envoy.config.core.v3.HttpService: where to send, and what to add. */
function parseHttpService(service: HttpService, context: ParseContext): HttpTarget {
  const uri = service.httpUri
  if (!uri) throw new ConfigError(context.at('http_uri').path, 'is required')
  const { host, path } = hostAndPath(uri.uri)
  return {
    cluster: uri.httpUpstreamType.value ?? '',
    authority: host,
    path,
    timeoutMs: durationMsOr(uri.timeout, EXPORT_TIMEOUT_MS),
    headers: service.requestHeadersToAdd.flatMap(({ header }) =>
      header ? [[header.key.toLowerCase(), header.value] as const] : [],
    ),
  }
}

const OPENTELEMETRY_FIELDS: ReadonlySet<string> = new Set([
  'grpc_service', 'http_service', 'service_name', 'resource_detectors', 'sampler', 'max_cache_size',
]) // biome-ignore format: one list

function parseOpenTelemetry(config: OpenTelemetryConfig, context: ParseContext): OpenTelemetryData {
  refuseUnsupported(OpenTelemetryConfigSchema, config, OPENTELEMETRY_FIELDS, context.path)
  return {
    kind: 'opentelemetry',
    exporter: parseExporter(config, context),
    serviceName: config.serviceName,
    detectors: config.resourceDetectors.map((detector, i) => {
      const at = context.at(`resource_detectors[${i}]`)
      const any = detector.typedConfig
      switch (typeNameOf(any?.typeUrl ?? '')) {
        case EnvironmentResourceDetectorConfigSchema.typeName:
          return { kind: 'environment' }
        case StaticConfigResourceDetectorConfigSchema.typeName:
          return {
            kind: 'static',
            attributes: at.at('typed_config').unpack(any!, StaticConfigResourceDetectorConfigSchema).attributes,
          }
        default:
          throw new ConfigError(at.path, `no resource detector "${detector.name}" of type ${any?.typeUrl || '(empty)'}`)
      }
    }),
    alwaysOn: parseSampler(config, context.at('sampler')),
    maxCacheSize: config.maxCacheSize ?? MAX_CACHE_SIZE,
  }
}

function parseSampler({ sampler }: OpenTelemetryConfig, context: ParseContext): boolean {
  if (!sampler) return false
  if (typeNameOf(sampler.typedConfig?.typeUrl ?? '') === AlwaysOnSamplerConfigSchema.typeName) return true
  throw new ConfigError(
    context.path,
    `no sampler "${sampler.name}" of type ${sampler.typedConfig?.typeUrl || '(empty)'}; this build has: envoy.tracers.opentelemetry.samplers.always_on`,
  )
}

function parseExporter(config: OpenTelemetryConfig, context: ParseContext): OpenTelemetryData['exporter'] {
  const { grpcService, httpService } = config
  if (grpcService && httpService) {
    throw new ConfigError(
      context.path,
      'OpenTelemetry Tracer cannot have both gRPC and HTTP exporters configured. OTLP exporter disabled.',
    )
  }
  if (grpcService) {
    const timeoutMs = durationMsOr(grpcService.timeout, EXPORT_TIMEOUT_MS)
    return { kind: 'grpc', ...parseGrpcTarget(grpcService, timeoutMs, context.at('grpc_service')) }
  }
  if (!httpService) throw new ConfigError(context.path, 'one of grpc_service, http_service is required')
  return { kind: 'http', ...parseHttpService(httpService, context.at('http_service')) }
}
