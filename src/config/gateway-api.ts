// Parsing of Gateway API objects, as strict as that of Istio's own.
import { fail, ok, type Problem, type Result } from '../base/errors.ts'
import { parseMetadata } from './parse.ts'
import type { ResourceMetadata, ResourceOrigin } from './resource.ts'
import {
  backendTlsPolicy,
  backendTrafficPolicy,
  gatewayApiGateway,
  gatewayClass,
  grpcRoute,
  httpRoute,
  listenerSet,
  referenceGrant,
  tcpRoute,
  tlsRoute,
} from './resources/gateway-api.ts'
import { type Field, type Infer, isRecord, Problems } from './schema.ts'
import { validateRouteRules } from './validate/gateway-api.ts'

export const GATEWAY_API_GROUP = 'gateway.networking.k8s.io'
/** The group of what the Gateway API still tries out. */
const EXPERIMENTAL_GROUP = 'gateway.networking.x-k8s.io'

const KINDS = {
  GatewayClass: gatewayClass,
  Gateway: gatewayApiGateway,
  HTTPRoute: httpRoute,
  GRPCRoute: grpcRoute,
  TCPRoute: tcpRoute,
  TLSRoute: tlsRoute,
  ReferenceGrant: referenceGrant,
  ListenerSet: listenerSet,
  BackendTLSPolicy: backendTlsPolicy,
  XBackendTrafficPolicy: backendTrafficPolicy,
} as const

export type GatewayApiKind = keyof typeof KINDS
export const GATEWAY_API_KINDS = Object.keys(KINDS) as readonly GatewayApiKind[]

/** Group and kind, as a store keys them: `Gateway.gateway.networking.k8s.io`. */
export function gatewayApiGroupKind(kind: GatewayApiKind): string {
  return `${kind}.${groupOfKind(kind)}`
}

function groupOfKind(kind: string): string {
  return kind.startsWith('X') ? EXPERIMENTAL_GROUP : GATEWAY_API_GROUP
}

/** True when `apiVersion` is of the Gateway API: the object is for {@link parseGatewayApi}. */
export function isGatewayApiVersion(apiVersion: unknown): boolean {
  return (
    typeof apiVersion === 'string' &&
    [GATEWAY_API_GROUP, EXPERIMENTAL_GROUP].some((group) => apiVersion.startsWith(`${group}/`))
  )
}

/** A parsed Gateway API object. */
export interface GatewayApiResource<K extends GatewayApiKind = GatewayApiKind> {
  readonly kind: K
  readonly apiVersion: string
  readonly metadata: ResourceMetadata
  readonly spec: Infer<(typeof KINDS)[K]>
  readonly origin?: ResourceOrigin
  readonly warnings: readonly Problem[]
}
export type AnyGatewayApiResource = { [K in GatewayApiKind]: GatewayApiResource<K> }[GatewayApiKind]

/** Parses one object of the Gateway API's group. A kind we do not translate is an error that says so. */
export function parseGatewayApi(object: unknown, origin?: ResourceOrigin): Result<AnyGatewayApiResource> {
  if (!isRecord(object)) return fail('', 'must be an object with apiVersion, kind and metadata')
  const { apiVersion, kind } = object
  if (typeof apiVersion !== 'string' || !isGatewayApiVersion(apiVersion)) {
    return fail('apiVersion', `must be of ${GATEWAY_API_GROUP}`)
  }
  const known = GATEWAY_API_KINDS.find((name) => name === kind && apiVersion.startsWith(`${groupOfKind(name)}/`))
  if (!known) {
    return fail('kind', `"${String(kind)}" is not translated`, `there are ${GATEWAY_API_KINDS.join(', ')}`)
  }
  const problems = new Problems()
  const metadata = parseMetadata(object.metadata, problems)
  const schema: Field<unknown> = KINDS[known]
  const spec = schema.parse(object.spec ?? {}, 'spec', problems)
  if (!problems.failed && (known === 'HTTPRoute' || known === 'GRPCRoute')) {
    validateRouteRules((spec as Infer<typeof httpRoute>).rules, problems)
  }
  if (problems.failed) return { ok: false, problems: problems.list }
  return ok({ kind: known, apiVersion, metadata, spec, origin, warnings: problems.list } as AnyGatewayApiResource)
}
