// Filter chains before they become protobuf: what decides their match, and when two of them conflict.
import { create } from '@bufbuild/protobuf'
import type { TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import {
  type Filter,
  type FilterChain,
  type FilterChainMatch,
  FilterChainMatchSchema,
  FilterChainSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { parseCidr } from '../../base/cidr.ts'
import type { Resource } from '../../config/index.ts'
import { resourcePath } from '../model/resource.ts'
import type { Service } from '../model/service.ts'
import { cidrRange, durationOf } from '../xds/messages.ts'

/** Plaintext HTTP as http_inspector names it. */
export const PLAINTEXT_HTTP_ALPN: readonly string[] = ['http/1.1', 'h2c']
/** ALPN of the mesh's mutual TLS, whatever is spoken inside. */
export const MUTUAL_TLS_ALPN: readonly string[] = [
  'istio',
  'istio-peer-exchange',
  'istio-http/1.0',
  'istio-http/1.1',
  'istio-h2',
]
/** A peer that shakes hands for so long is gone (PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT). */
const TRANSPORT_CONNECT_TIMEOUT = durationOf(15_000)

/** One chain of a listener that several services may share. */
export interface OutboundChain {
  readonly serverNames: readonly string[]
  /** Addresses and CIDR ranges. */
  readonly destinations: readonly string[]
  readonly applicationProtocols: readonly string[]
  readonly transportProtocol: string
  /** The VirtualService that made it. */
  readonly source: Resource | null
  /** An HTTP chain: the route configuration it asks for, whether grpc-web is spoken, services resolved per request. */
  readonly http: { readonly routes: string; readonly grpcWeb: boolean; readonly dynamic: Service[] } | null
  readonly filters: readonly Filter[]
}

export function matchesAll(chain: OutboundChain): boolean {
  return (
    (chain.serverNames.length === 0 || chain.serverNames.includes('*')) &&
    chain.applicationProtocols.length === 0 &&
    chain.transportProtocol === '' &&
    chain.destinations.length === 0
  )
}

/** Equal for two chains that Envoy could not tell apart. */
export function matchKey(chain: OutboundChain): string {
  return JSON.stringify([
    chain.transportProtocol,
    chain.applicationProtocols,
    unique(chain.serverNames.filter((name) => name !== '*')),
    unique(chain.destinations.filter(isCertain).map(networkOf)),
  ])
}

function unique(items: readonly string[]): string[] {
  return [...new Set(items)].sort()
}

/** A range that starts at the unspecified address is any destination to Istio. */
function isCertain(range: string): boolean {
  return range.split('/')[0] !== '0.0.0.0'
}

/** The same text for ranges that hold the same addresses: `1.2.3.4/8` is `1.0.0.0/8`. */
function networkOf(range: string): string {
  const { addressPrefix, prefixLen } = cidrRange(range)
  const network = parseCidr(addressPrefix, prefixLen)
  return network ? `${network.words}/${prefixLen}` : range
}

export function chainMatch(chain: OutboundChain): FilterChainMatch {
  const names = chain.serverNames.includes('*') ? [] : [...chain.serverNames].sort()
  return create(FilterChainMatchSchema, {
    serverNames: names,
    applicationProtocols: [...chain.applicationProtocols],
    transportProtocol: chain.transportProtocol,
    prefixRanges: chain.destinations.filter(isCertain).sort().map(cidrRange),
  })
}

export function filterChain(
  filters: readonly Filter[],
  match: FilterChainMatch | undefined,
  source: Resource | null,
  transportSocket?: TransportSocket,
): FilterChain {
  return create(FilterChainSchema, {
    filters: [...filters],
    filterChainMatch: match,
    metadata: source ? { filterMetadata: { istio: { config: resourcePath(source) } } } : undefined,
    transportSocket,
    transportSocketConnectTimeout: TRANSPORT_CONNECT_TIMEOUT,
  })
}
