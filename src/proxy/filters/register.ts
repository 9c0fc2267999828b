// Every extension of this build: one explicit list, nothing registers itself. A new extension is one line here.

import { UpstreamCodecSchema } from '../../api/gen/envoy/extensions/filters/http/upstream_codec/v3/upstream_codec_pb.js'
import type { HttpFilterExtension, NetworkFilterExtension } from '../config/extension.ts'
import { ExtensionRegistry } from '../config/extension-registry.ts'
import type { ListenerFilterExtension } from '../network/listener-filters.ts'
import { transportSockets } from '../network/transport-socket.ts'
import { ACCESS_LOGGERS } from './access-loggers/loggers.ts'
import { admissionControlFilter } from './http/admission-control/config.ts'
import { bandwidthLimitFilter } from './http/bandwidth-limit/config.ts'
import { bufferFilter } from './http/buffer/config.ts'
import { compressorFilter } from './http/compressor/config.ts'
import { corsFilter } from './http/cors/config.ts'
import { csrfFilter } from './http/csrf/config.ts'
import { decompressorFilter } from './http/decompressor/config.ts'
import { dynamicForwardProxyFilter } from './http/dynamic-forward-proxy/config.ts'
import { extAuthzFilter } from './http/ext-authz/config.ts'
import { faultFilter } from './http/fault/config.ts'
import { grpcHttp1BridgeFilter } from './http/grpc-http1-bridge/config.ts'
import { grpcStatsFilter } from './http/grpc-stats/config.ts'
import { grpcWebFilter } from './http/grpc-web/config.ts'
import { headerMutationFilter } from './http/header-mutation/config.ts'
import { headerToMetadataFilter } from './http/header-to-metadata/config.ts'
import { healthCheckFilter } from './http/health-check/config.ts'
import { alpnFilter } from './http/istio-alpn/config.ts'
import { metadataExchangeFilter } from './http/istio-metadata-exchange/config.ts'
import { istioStatsFilter } from './http/istio-stats/filter.ts'
import { jwtAuthnFilter } from './http/jwt-authn/config.ts'
import { localRateLimitFilter } from './http/local-ratelimit/config.ts'
import { matchDelegateFilter } from './http/match-delegate/config.ts'
import { rateLimitFilter } from './http/ratelimit/config.ts'
import { rbacFilter } from './http/rbac/config.ts'
import { routerFilter } from './http/router/config.ts'
import { setFilterStateFilter } from './http/set-filter-state/config.ts'
import { statefulSessionFilter } from './http/stateful-session/config.ts'
import { httpInspector } from './listener/http-inspector/filter.ts'
import { originalDst } from './listener/original-dst/filter.ts'
import { originalSrc } from './listener/original-src/filter.ts'
import { proxyProtocol } from './listener/proxy-protocol/filter.ts'
import { tlsInspector } from './listener/tls-inspector/filter.ts'
import { connectionLimit } from './network/connection-limit/filter.ts'
import { directResponse } from './network/direct-response/filter.ts'
import { echo } from './network/echo/filter.ts'
import { networkExtAuthz } from './network/ext-authz/filter.ts'
import { httpConnectionManager } from './network/http-connection-manager/extension.ts'
import { networkIstioStatsFilter } from './network/istio-stats/filter.ts'
import { networkLocalRateLimit } from './network/local-ratelimit/filter.ts'
import { metadataExchange } from './network/metadata-exchange/filter.ts'
import { mongoProxy } from './network/mongo-proxy/filter.ts'
import { networkRateLimit } from './network/ratelimit/filter.ts'
import { networkRbacFilter } from './network/rbac/config.ts'
import { sniCluster } from './network/sni-cluster/filter.ts'
import { sniDynamicForwardProxy } from './network/sni-dynamic-forward-proxy/filter.ts'
import { tcpProxy } from './network/tcp-proxy/extension.ts'

// biome-ignore lint/suspicious/noExplicitAny: each extension knows the type of its own configuration
type Any = any

const LISTENER_FILTERS: readonly ListenerFilterExtension<Any>[] = [
  originalDst,
  tlsInspector,
  httpInspector,
  proxyProtocol,
  originalSrc,
]

const NETWORK_FILTERS: readonly NetworkFilterExtension<Any>[] = [
  httpConnectionManager,
  tcpProxy,
  echo,
  directResponse,
  sniCluster,
  sniDynamicForwardProxy,
  connectionLimit,
  networkLocalRateLimit,
  networkRateLimit,
  networkExtAuthz,
  mongoProxy,
  networkRbacFilter,
  metadataExchange,
  networkIstioStatsFilter,
]

const HTTP_FILTERS: readonly HttpFilterExtension<Any, Any>[] = [
  routerFilter,
  faultFilter,
  corsFilter,
  grpcStatsFilter,
  metadataExchangeFilter,
  alpnFilter,
  istioStatsFilter,
  jwtAuthnFilter,
  grpcWebFilter,
  extAuthzFilter,
  localRateLimitFilter,
  rateLimitFilter,
  headerMutationFilter,
  bufferFilter,
  rbacFilter,
  dynamicForwardProxyFilter,
  csrfFilter,
  statefulSessionFilter,
  compressorFilter,
  decompressorFilter,
  headerToMetadataFilter,
  setFilterStateFilter,
  bandwidthLimitFilter,
  healthCheckFilter,
  grpcHttp1BridgeFilter,
  matchDelegateFilter,
  admissionControlFilter,
]

/** The end of every chain of upstream HTTP filters: what it does is done anyway. */
const UPSTREAM_CODEC = { name: 'envoy.filters.http.upstream_codec', desc: UpstreamCodecSchema, parse: () => ({}) }

let registry: ExtensionRegistry | undefined

/** The registry of this thread, made at the first call. */
export function registerExtensions(): ExtensionRegistry {
  if (registry !== undefined) return registry
  const made = new ExtensionRegistry()
  for (const extension of transportSockets) made.register('transport_socket', extension)
  for (const extension of LISTENER_FILTERS) made.register('listener_filter', extension)
  for (const extension of NETWORK_FILTERS) made.register('network_filter', extension)
  for (const extension of ACCESS_LOGGERS) made.register('access_logger', extension)
  for (const extension of HTTP_FILTERS) {
    made.register('http_filter', extension)
    if (extension.upstream) made.register('upstream_http_filter', extension)
    const { name, routeDesc, parseRoute } = extension
    if (routeDesc && parseRoute) made.register('http_route_filter', { name, desc: routeDesc, parse: parseRoute })
  }
  made.register('upstream_http_filter', UPSTREAM_CODEC)
  registry = made
  return made
}
