// The filters that Istio puts into every chain, packed once: most proxies share the same bytes.
import { create, type DescMessage, type JsonObject, type MessageInitShape } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import {
  type Filter,
  FilterSchema,
  type ListenerFilter,
  ListenerFilterSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { CorsSchema } from '../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../api/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { FilterConfigSchema as GrpcStatsSchema } from '../../api/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js'
import { GrpcWebSchema } from '../../api/gen/envoy/extensions/filters/http/grpc_web/v3/grpc_web_pb.js'
import { RouterSchema } from '../../api/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpInspectorSchema } from '../../api/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js'
import { OriginalDstSchema } from '../../api/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js'
import { OriginalSrcSchema } from '../../api/gen/envoy/extensions/filters/listener/original_src/v3/original_src_pb.js'
import { ProxyProtocolSchema } from '../../api/gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.js'
import { TlsInspectorSchema } from '../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { MongoProxySchema } from '../../api/gen/envoy/extensions/filters/network/mongo_proxy/v3/mongo_proxy_pb.js'
import { FilterConfigSchema as AlpnSchema, FilterConfig_Protocol } from '../../api/gen/istio/alpn_pb.js'
import type { NetworkSecurityFilters } from '../authorization/workload.ts'
import { extensionsFor, PHASES } from '../extensions/extension.ts'
import { httpExtensionFilters, networkExtensionFilters } from '../extensions/filters.ts'
import type { Service } from '../model/service.ts'
import { istioStatsConfig } from '../telemetry/istio-stats.ts'
import { anyHostDnsCache, dynamicForwardProxyFilter, serviceDnsCache } from '../xds/dynamic-dns.ts'
import { typedStruct } from '../xds/messages.ts'
import type { ListenerClass, ListenerContext } from './context.ts'

function pack<D extends DescMessage>(schema: D, init?: MessageInitShape<D>): Any {
  return anyPack(schema, create(schema, init))
}

export function httpFilter(name: string, typedConfig: Any): HttpFilter {
  return create(HttpFilterSchema, { name, configType: { case: 'typedConfig', value: typedConfig } })
}

export function networkFilter(name: string, typedConfig: Any): Filter {
  return create(FilterSchema, { name, configType: { case: 'typedConfig', value: typedConfig } })
}

function listenerFilter(name: string, typedConfig: Any): ListenerFilter {
  return create(ListenerFilterSchema, { name, configType: { case: 'typedConfig', value: typedConfig } })
}

const METADATA_TYPE = 'type.googleapis.com/io.istio.http.peer_metadata.Config'
const DISCOVERY: JsonObject[] = [{ istio_headers: {} }, { workload_discovery: {} }]
const PROPAGATION: JsonObject[] = [{ istio_headers: {} }]

const METADATA_UPSTREAM = httpFilter(
  'istio.metadata_exchange',
  typedStruct(METADATA_TYPE, { upstream_discovery: DISCOVERY, upstream_propagation: PROPAGATION }),
)
/** metadataExchangeHeaders IN_MESH: nothing about the mesh leaves it. */
const METADATA_IN_MESH = httpFilter(
  'istio.metadata_exchange',
  typedStruct(METADATA_TYPE, {
    upstream_discovery: DISCOVERY,
    upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  }),
)
const METADATA_DOWNSTREAM = httpFilter(
  'istio.metadata_exchange',
  typedStruct(METADATA_TYPE, { downstream_discovery: DISCOVERY, downstream_propagation: PROPAGATION }),
)
const GRPC_WEB = httpFilter('envoy.filters.http.grpc_web', pack(GrpcWebSchema))
const GRPC_STATS = httpFilter(
  'envoy.filters.http.grpc_stats',
  pack(GrpcStatsSchema, {
    emitFilterState: true,
    perMethodStatSpecifier: { case: 'statsForAllMethods', value: { value: false } },
  }),
)
const ALPN = httpFilter(
  'istio.alpn',
  pack(AlpnSchema, {
    alpnOverride: [
      { upstreamProtocol: FilterConfig_Protocol.HTTP10, alpnOverride: ['istio-http/1.0', 'istio', 'http/1.0'] },
      { upstreamProtocol: FilterConfig_Protocol.HTTP11, alpnOverride: ['istio-http/1.1', 'istio', 'http/1.1'] },
      { upstreamProtocol: FilterConfig_Protocol.HTTP2, alpnOverride: ['istio-h2', 'istio', 'h2'] },
    ],
  }),
)
export const FAULT = httpFilter('envoy.filters.http.fault', pack(HTTPFaultSchema))
const CORS = httpFilter('envoy.filters.http.cors', pack(CorsSchema))
export const ROUTER = httpFilter('envoy.filters.http.router', pack(RouterSchema))
/** Without x-envoy-… headers towards either side. */
const QUIET_ROUTER = httpFilter('envoy.filters.http.router', pack(RouterSchema, { suppressEnvoyHeaders: true }))

/** What the security policies of a workload add to its HTTP chains, in their places. */
export interface HttpSecurityFilters {
  readonly custom: readonly HttpFilter[]
  readonly jwt: readonly HttpFilter[]
  readonly rbac: readonly HttpFilter[]
}

export const NO_SECURITY: HttpSecurityFilters = { custom: [], jwt: [], rbac: [] }

/** The HTTP filters of one connection manager, in Istio's order. */
export function httpFilters(
  context: ListenerContext,
  kind: ListenerClass,
  options: {
    readonly grpcWeb: boolean
    readonly security: HttpSecurityFilters
    readonly dynamic?: readonly Service[]
    readonly port: number
    readonly httpProxy?: boolean
  },
): HttpFilter[] {
  const { grpcWeb, security, dynamic = [], port } = options
  const extensions = extensionsFor(context.push, context.proxy, kind, port, 'http')
  const filters: HttpFilter[] = []
  if (context.canExchangeMetadata) {
    const inMesh = !options.httpProxy && context.proxyConfig.proxyHeaders?.metadataExchangeHeaders?.mode === 'IN_MESH'
    filters.push(kind === 'inbound' ? METADATA_DOWNSTREAM : inMesh ? METADATA_IN_MESH : METADATA_UPSTREAM)
  }
  filters.push(
    ...security.custom,
    ...httpExtensionFilters(extensions.AUTHN),
    ...security.jwt,
    ...httpExtensionFilters(extensions.AUTHZ),
    ...security.rbac,
    ...httpExtensionFilters(extensions.STATS),
    ...httpExtensionFilters(extensions.UNSPECIFIED),
  )
  if (grpcWeb) filters.push(GRPC_WEB)
  filters.push(GRPC_STATS)
  if (kind !== 'inbound' && context.canOverrideAlpn) filters.push(ALPN)
  filters.push(FAULT, CORS)
  const { metrics } = kind === 'inbound' ? context.telemetry.server : context.telemetry.client
  if (metrics && context.canReportIstioStats) {
    filters.push(httpFilter('istio.stats', istioStatsConfig(metrics, kind === 'outbound')))
  }
  if (kind === 'outbound') {
    for (const service of dynamic) filters.push(dynamicForwardProxyFilter(serviceDnsCache(service, context.proxy)))
    // On every port: each route table ends with the route to hosts that nobody knows.
    if (context.scope.outboundTrafficPolicy.mode === 'ALLOW_ANY_DYNAMIC_DNS') {
      filters.push(dynamicForwardProxyFilter(anyHostDnsCache(context.proxy)))
    }
  }
  filters.push(context.proxyConfig.proxyHeaders?.envoyDebugHeaders?.disabled ? QUIET_ROUTER : ROUTER)
  return filters
}

/** What stands before the last filter of a TCP chain: security (none on the way out), extensions, metrics. */
export function tcpFilters(
  context: ListenerContext,
  kind: ListenerClass,
  port: number,
  security: NetworkSecurityFilters = NO_NETWORK_SECURITY,
): Filter[] {
  const extensions = extensionsFor(context.push, context.proxy, kind, port, 'network')
  return [
    ...security.custom,
    ...networkExtensionFilters(extensions.AUTHN),
    ...networkExtensionFilters(extensions.AUTHZ),
    ...security.rbac,
    ...networkExtensionFilters(extensions.STATS),
    ...networkExtensionFilters(extensions.UNSPECIFIED),
    ...tcpStatsFilters(context, kind),
  ]
}

const NO_NETWORK_SECURITY: NetworkSecurityFilters = { custom: [], rbac: [] }

/** Network extensions of an HTTP chain: all of them before the connection manager. */
export function extensionsBeforeHttp(context: ListenerContext, kind: ListenerClass, port: number): Filter[] {
  const extensions = extensionsFor(context.push, context.proxy, kind, port, 'network')
  return PHASES.flatMap((phase) => networkExtensionFilters(extensions[phase]))
}

/** `istio.stats` for a TCP chain; none without a metrics provider. */
export function tcpStatsFilters(context: ListenerContext, kind: ListenerClass): Filter[] {
  const { metrics } = kind === 'inbound' ? context.telemetry.server : context.telemetry.client
  if (!metrics || !context.canReportIstioStats) return []
  return [networkFilter('istio.stats', istioStatsConfig(metrics, kind === 'outbound'))]
}

const TCP_METADATA = networkFilter(
  'istio.metadata_exchange',
  typedStruct('type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange', {
    protocol: 'istio-peer-exchange',
    enable_discovery: true,
  }),
)

/** First network filter of every inbound chain. */
export function tcpMetadataFilters(context: ListenerContext): Filter[] {
  return context.canExchangeMetadata ? [TCP_METADATA] : []
}

export function mongoFilter(statPrefix: string): Filter {
  return networkFilter('envoy.filters.network.mongo_proxy', pack(MongoProxySchema, { statPrefix }))
}

/** A small first read, since most client hellos are small. */
export function tlsInspector(): ListenerFilter {
  return listenerFilter(
    'envoy.filters.listener.tls_inspector',
    pack(TlsInspectorSchema, { initialReadBufferSize: 512 }),
  )
}

export function httpInspector(): ListenerFilter {
  return listenerFilter('envoy.filters.listener.http_inspector', pack(HttpInspectorSchema))
}

export const ORIGINAL_DST = listenerFilter('envoy.filters.listener.original_dst', pack(OriginalDstSchema))
/** TPROXY: the application sees the client's own address; mark as in the iptables rules. */
export const ORIGINAL_SRC = listenerFilter(
  'envoy.filters.listener.original_src',
  pack(OriginalSrcSchema, { mark: 1337 }),
)
export const PROXY_PROTOCOL = listenerFilter('envoy.filters.listener.proxy_protocol', pack(ProxyProtocolSchema))
