// TCP and TLS chains of one service port: by VirtualService, else one chain to the service's own cluster.
import type { L4MatchAttributes, TlsMatchAttributes, VirtualService } from '../../config/index.ts'
import { hostMatches, labelsMatch } from '../model/host.ts'
import type { ProxyNode } from '../model/node.ts'
import { isTls } from '../model/protocol.ts'
import type { Service, ServicePort } from '../model/service.ts'
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
  for (const vs of virtualServices) {
    for (const tls of vs.spec.tls ?? []) {
      for (const match of tls.match) {
        if (!l4MatchApplies(match, context.proxy, MESH_GATEWAY, port.port)) continue
        const subnets = match.destinationSubnets ?? []
        const runtime = `${[...match.sniHosts].sort()}|${[...subnets].sort()}`
        if (seen.has(runtime)) continue
        seen.add(runtime)
        chains.push(
          chain({
            serverNames: match.sniHosts,
            destinations: subnets.length > 0 && port.port > 0 ? subnets : cidr ? [cidr] : [],
            source: vs,
            filters: routeFilters(context, tls.route ?? [], port, vs.metadata),
          }),
        )
      }
    }
  }
  if (chains.length > 0) return chains
  // With an address of its own the destination is known; only a shared wildcard needs the server name to tell services apart.
  const bySni =
    cidr !== '' || isDynamicDns(service) || (service.addresses.length === 0 && bind === wildcardOf(context.proxy))
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
  for (const vs of virtualServices) {
    for (const tcp of vs.spec.tcp ?? []) {
      const subnets: string[] = []
      let everything = !tcp.match?.length
      for (const match of tcp.match ?? []) {
        if (!l4MatchApplies(match, context.proxy, MESH_GATEWAY, port.port)) continue
        if (!match.destinationSubnets?.length || port.port === 0) {
          everything = true
          break
        }
        subnets.push(...match.destinationSubnets)
      }
      if (!everything && subnets.length === 0) continue
      const filters = routeFilters(context, tcp.route ?? [], port, vs.metadata)
      chains.push(chain({ destinations: everything ? own : subnets, source: vs, filters }))
      if (everything) return chains
      if (subnets.length === 1 && subnets[0] === cidr) return chains
    }
  }
  chains.push(
    chain({
      destinations: own,
      filters: singleDestinationFilters(context, service, port, servicePort(service, port)),
    }),
  )
  return chains
}

/** A Sidecar may listen on another port than the service's: with a single port it is clear which is meant. */
function servicePort(service: Service, port: ServicePort): number {
  return service.ports.length === 1 ? service.ports[0]!.port : port.port
}

/** The parts of a match that are known now: gateway, port, who asks. */
export function l4MatchApplies(
  match: L4MatchAttributes | TlsMatchAttributes,
  proxy: Pick<ProxyNode, 'labels' | 'namespace'>,
  gateway: string,
  port: number,
): boolean {
  if (match.gateways?.length && !match.gateways.includes(gateway)) return false
  if (match.port && match.port !== port) return false
  if (match.sourceNamespace && match.sourceNamespace !== proxy.namespace) return false
  return labelsMatch(match.sourceLabels, proxy.labels)
}
