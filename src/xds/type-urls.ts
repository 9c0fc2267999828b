// The resource types of xDS: their URLs, their order in a push, and how an empty name list reads.

const PREFIX = 'type.googleapis.com/'

export const CDS_TYPE = `${PREFIX}envoy.config.cluster.v3.Cluster`
export const EDS_TYPE = `${PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`
export const LDS_TYPE = `${PREFIX}envoy.config.listener.v3.Listener`
export const RDS_TYPE = `${PREFIX}envoy.config.route.v3.RouteConfiguration`
export const SRDS_TYPE = `${PREFIX}envoy.config.route.v3.ScopedRouteConfiguration`
export const VHDS_TYPE = `${PREFIX}envoy.config.route.v3.VirtualHost`
export const SDS_TYPE = `${PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret`
export const ECDS_TYPE = `${PREFIX}envoy.config.core.v3.TypedExtensionConfig`
export const RTDS_TYPE = `${PREFIX}envoy.service.runtime.v3.Runtime`

/**
 * Make before break: a cluster and its endpoints exist before a listener or route names them.
 * Subscriptions on a new stream and pushes follow this order; types that are not listed come after, in any order.
 */
export const PUSH_ORDER: readonly string[] = [CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE, SDS_TYPE]

const ORDER = new Map(PUSH_ORDER.map((typeUrl, index) => [typeUrl, index]))

/** Compares two type URLs by {@link PUSH_ORDER}. */
export function comparePushOrder(a: string, b: string): number {
  return (ORDER.get(a) ?? ORDER.size) - (ORDER.get(b) ?? ORDER.size)
}

const NAMED: ReadonlySet<string> = new Set([EDS_TYPE, RDS_TYPE, SRDS_TYPE, VHDS_TYPE, SDS_TYPE, ECDS_TYPE, RTDS_TYPE])

/**
 * True for the types that a client always asks for by name (EDS, RDS, SDS …): an empty name list then means "nothing",
 * and in the state-of-the-world protocol a response may hold a part, absence is not deletion.
 * Every other type (CDS, LDS and any type this room does not know) is wildcard by default and a
 * state-of-the-world response holds all of it.
 */
export function isNamedType(typeUrl: string): boolean {
  return NAMED.has(typeUrl)
}
