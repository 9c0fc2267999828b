// TCP and TLS chains of one service port: by VirtualService, else one chain to the service's own cluster.
import type { L4MatchAttributes, TlsMatchAttributes, VirtualService } from '../../config/index.ts'
import { hostMatches, labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import { isTls } from '../model/protocol.ts'
import type { Service, ServicePort } from '../model/service.ts'
import { primaryAddress } from '../model/service-addresses.ts'
import { MESH_GATEWAY } from '../model/virtual-service.ts'
import { hostDomains } from '../rds/domains.ts'
import { isDynamicDns } from '../xds/dynamic-dns.ts'
import type { OutboundChain } from './chain.ts'
import type { ListenerContext } from './context.ts'
import { routeFilters, singleDestinationFilters } from './tcp-proxy.ts'
import { wildcardOf } from './wildcard.ts'

/** `bind` is the listener's address, `cidr` the service's range when it has one instead of an address. */
export function l4Chains(
  context: ListenerContext,
  virtualServices: readonly VirtualService[],
  service: Service,
  port: ServicePort,
  bind: string,
  cidr: string,
): OutboundChain[] {
  const own = virtualServices.filter((vs) => vs.spec.hosts?.some((host) => hostMatches(host, service.hostname)))
  return isTls(port.protocol)
    ? tlsChains(context, own, service, port, bind, cidr)
    : tcpChains(context, own, service, port, cidr)
}

function chain(parts: Pick<OutboundChain, 'filters'> & Partial<OutboundChain>): OutboundChain {
  return {
    serverNames: [],
    destinations: [],
    applicationProtocols: [],
    transportProtocol: '',
    source: null,
    http: null,
    ...parts,
  }
}

function tlsChains(
  context: ListenerContext,
  virtualServices: readonly VirtualService[],
  service: Service,
  port: ServicePort,
  bind: string,
  cidr: string,
): OutboundChain[] {
  const chains: OutboundChain[] = []
  const seen = new Set<string>()
  // As in istiod, the subnets of a match hold for those after it that name none.
  let destinations: readonly string[] = cidr ? [cidr] : []
  for (const vs of virtualServices) {
    for (const tls of vs.spec.tls ?? []) {
      if (!tls.route?.length) continue
      for (const match of tls.match) {
        if (!l4MatchApplies(match, context.proxy, MESH_GATEWAY, port.port)) continue
        const subnets = match.destinationSubnets ?? []
        if (subnets.length > 0 && port.port > 0) destinations = subnets
        const runtime = `${match.sniHosts}|${subnets}`
        if (seen.has(runtime)) continue
        seen.add(runtime)
        chains.push(
          chain({
            serverNames: match.sniHosts,
            destinations,
            source: vs,
            filters: routeFilters(context, tls.route, port, vs.metadata),
          }),
        )
      }
    }
  }
  if (chains.length > 0) return chains
  // With an address of its own the destination is known; only a shared wildcard needs the server name to tell services apart.
  const address = primaryAddress(service, context.proxy)
  const bySni = isDynamicDns(service) || (address === null ? bind === wildcardOf(context.proxy) : address.includes('/'))
  const aliases = service.aliases.flatMap((alias) => hostDomains(alias, context.proxy.dnsDomain))
  return [
    chain({
      serverNames: bySni ? [service.hostname, ...aliases] : [],
      destinations: cidr ? [cidr] : [],
      filters: singleDestinationFilters(context, service, port, servicePort(service, port)),
    }),
  ]
}

function tcpChains(
  context: ListenerContext,
  virtualServices: readonly VirtualService[],
  service: Service,
  port: ServicePort,
  cidr: string,
): OutboundChain[] {
  const chains: OutboundChain[] = []
  const own = cidr ? [cidr] : []
  let covered = false
  for (const vs of virtualServices) {
    for (const tcp of vs.spec.tcp ?? []) {
      if (!tcp.route?.length) continue
      const subnets = matchedSubnets(context, tcp.match, port.port)
      if (subnets?.length === 0) continue
      const filters = routeFilters(context, tcp.route, port, vs.metadata)
      if (!subnets) return [...chains, chain({ destinations: own, source: vs, filters })]
      // Istiod does not say whose a chain for subnets is.
      chains.push(chain({ destinations: subnets, filters }))
      covered ||= subnets.length === 1 && subnets[0] === cidr
    }
  }
  if (!covered) {
    chains.push(
      chain({
        destinations: own,
        filters: singleDestinationFilters(context, service, port, servicePort(service, port)),
      }),
    )
  }
  return chains
}

/** The subnets that the matches of a route take for this proxy, empty when none applies; null: every destination. */
function matchedSubnets(
  { proxy }: ListenerContext,
  matches: readonly L4MatchAttributes[] | undefined,
  port: number,
): string[] | null {
  if (!matches?.length) return null
  const subnets: string[] = []
  for (const match of matches) {
    if (!l4MatchApplies(match, proxy, MESH_GATEWAY, port)) continue
    if (!match.destinationSubnets?.length || port === 0) return null
    subnets.push(...match.destinationSubnets)
  }
  return subnets
}

/** A Sidecar may listen on another port than the service's: with a single port it is clear which is meant. */
function servicePort(service: Service, port: ServicePort): number {
  return service.ports.length === 1 ? service.ports[0]!.port : port.port
}

/** The parts of a match that are known now: gateway and port. At a gateway nothing else is asked, as in istiod. */
export function l4MatchAppliesAt(
  match: L4MatchAttributes | TlsMatchAttributes,
  gateway: string,
  port: number,
): boolean {
  if (match.gateways?.length && !match.gateways.includes(gateway)) return false
  return !match.port || match.port === port
}

/** The same for a sidecar, and who asks. */
function l4MatchApplies(
  match: L4MatchAttributes | TlsMatchAttributes,
  proxy: Pick<ProxyNode, 'labels' | 'namespace'>,
  gateway: string,
  port: number,
): boolean {
  if (!l4MatchAppliesAt(match, gateway, port)) return false
  if (match.sourceNamespace && match.sourceNamespace !== proxy.namespace) return false
  return labelsMatch(match.sourceLabels, proxy.labels)
}
