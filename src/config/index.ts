// Public entry of the config room: Istio resources, parsed and checked.

export { conventionProblems } from './analysis/conventions.ts'
export {
  ANALYZERS,
  type AnalysisItem,
  type AnalysisMessage,
  type AnalysisOptions,
  type Analyzer,
  analyze,
  MESSAGE_CODES,
} from './analysis/index.ts'
export { alphaUses, changedSince, missingPermission } from './analysis/precheck.ts'
export { isCipherSuite } from './cipher-suites.ts'
export { type DurationMs, parseDuration } from './duration.ts'
export {
  type AnyGatewayApiResource,
  GATEWAY_API_GROUP,
  GATEWAY_API_KINDS,
  type GatewayApiKind,
  type GatewayApiResource,
  gatewayApiGroupKind,
  isGatewayApiVersion,
  parseGatewayApi,
} from './gateway-api.ts'
export { type Ingress, parseIngress } from './ingress.ts'
export { ISTIO_KINDS, type IstioKind, isIstioGroup, istioGroupKind, KINDS, type SpecOf } from './kinds.ts'
export {
  defaultMeshConfig,
  type MeshConfig,
  meshConfigJson,
  type ParsedMeshConfig,
  type ProxyConfig,
  parseMeshConfig,
  parseProxyConfig,
  proxyConfigJson,
} from './mesh-config.ts'
export { parseMeshNetworks } from './mesh-networks.ts'
export {
  MESH_KEY,
  MESH_NETWORKS_KEY,
  meshConfigMapName,
  parseMeshConfigText,
  parseMeshNetworksText,
} from './mesh-text.ts'
export { isIstioApiVersion, parseResource } from './parse.ts'
export * from './resource.ts'
export type * from './resources/common.ts'
export type * from './resources/destination-rule.ts'
export type * from './resources/envoy-filter.ts'
export type * from './resources/gateway.ts'
export type {
  BackendReference,
  ClientValidation,
  GatewayApiLabelSelector,
  GatewayApiListener,
  GrpcRouteRule,
  HeaderModifier,
  HttpBackendRef,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
  L4RouteRule,
  NamespaceChoice,
  ObjectReference,
  ParentReference,
  PolicyTarget,
  RouteValueMatch,
} from './resources/gateway-api.ts'
export type { IngressBackend, IngressSpec } from './resources/ingress.ts'
export type * from './resources/mesh-config.ts'
export type * from './resources/mesh-networks.ts'
export type * from './resources/security.ts'
export type * from './resources/service-entry.ts'
export type * from './resources/sidecar.ts'
export type * from './resources/telemetry.ts'
export type * from './resources/virtual-service.ts'
export type * from './resources/wasm-plugin.ts'
export * as schema from './schema.ts'
