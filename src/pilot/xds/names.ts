// Names that Istio writes into Envoy configuration.

export const BLACK_HOLE_CLUSTER = 'BlackHoleCluster'
/** Outbound mode ALLOW_ANY_DYNAMIC_DNS: resolves the host that a request names. */
export const ANY_DYNAMIC_DNS_CLUSTER = 'AllowAnyDynamicDNSCluster'
export const PASSTHROUGH_CLUSTER = 'PassthroughCluster'
export const INBOUND_PASSTHROUGH_CLUSTER = 'InboundPassthroughCluster'

/** `outbound|9080|v1|reviews.default.svc.cluster.local` */
export function outboundClusterName(port: number, subset: string, host: string): string {
  return `outbound|${port}|${subset}|${host}`
}

/** What a reference that the Gateway API does not allow leads to: there is no such cluster. */
const UNKNOWN_SERVICE = 'UnknownService'

/**
 * The cluster of a route's destination: an ExternalName Service means what it points at, and no host at all means a
 * destination that cannot be had.
 */
export function destinationClusterName(
  port: number,
  subset: string | undefined,
  host: string,
  externalName: string | undefined,
): string {
  return host === '' ? UNKNOWN_SERVICE : outboundClusterName(port, subset ?? '', externalName || host)
}

/** `inbound|9080||` */
export function inboundClusterName(targetPort: number): string {
  return `inbound|${targetPort}||`
}

/** What {@link outboundSni} names start with. */
export const SNI_PREFIX = 'outbound_.'

/** The same as a server name: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`. */
export function outboundSni(port: number, subset: string, host: string): string {
  return `${SNI_PREFIX}${port}_.${subset}_.${host}`
}

export interface OutboundCluster {
  readonly port: number
  readonly subset: string
  readonly host: string
}

/** The parts of an outbound cluster name, in either form; null when it is none. */
export function parseOutboundClusterName(name: string): OutboundCluster | null {
  const parts = name.startsWith(SNI_PREFIX) ? sniParts(name) : name.split('|')
  if (parts.length !== 4 || parts[0] !== 'outbound') return null
  const port = Number(parts[1])
  return Number.isInteger(port) && port > 0 ? { port, subset: parts[2]!, host: parts[3]! } : null
}

/** Subsets and hosts may hold `_.` themselves: the first two separators and the next one count. */
function sniParts(name: string): string[] {
  const parts = name.split('_.')
  return [...parts.slice(0, 3), parts.slice(3).join('_.')]
}
