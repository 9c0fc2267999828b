// Listeners of a router: one an address and port, a chain for HTTP or one a TLS server name.
import { create } from '@bufbuild/protobuf'
import { TrafficDirection, type TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { Filter, FilterChain } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { L4MatchAttributes, TlsMatchAttributes, VirtualService } from '../../config/index.ts'
import { httpSecurity } from '../authorization/workload.ts'
import {
  commonHosts,
  isHttpServer,
  isPassthrough,
  type MergedPort,
  type MergedServer,
  mergedGateways,
} from '../gateway/merge.ts'
import { isOfTlsRoute } from '../gateway-api/names.ts'
import { hostSubsetOf } from '../model/host.ts'
import { isHttp } from '../model/protocol.ts'
import type { ServicePort } from '../model/service.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { serverSources } from '../xds/credential-secrets.ts'
import { addressOf } from '../xds/messages.ts'
import { outboundSni } from '../xds/names.ts'
import { chainMatch, filterChain, MUTUAL_TLS_ALPN, type OutboundChain } from './chain.ts'
import { connectionSettingsOf } from './connection-settings.ts'
import type { ListenerContext } from './context.ts'
import { exactBalance } from './exact-balance.ts'
import { PROXY_PROTOCOL, tcpMetadataFilters, tlsInspector } from './filters.ts'
import { gatewayTlsSocket } from './gateway-tls.ts'
import { httpChainFilters } from './http-connection-manager.ts'
import { l4MatchAppliesAt } from './l4-chains.ts'
import { passthroughFilters, routeFilters } from './tcp-proxy.ts'
import { additionalAddresses, wildcardOf, wildcardsOf } from './wildcard.ts'

export function gatewayListeners(context: ListenerContext): Listener[] {
  const chains = new Map<string, { port: MergedPort; list: FilterChain[] }>()
  const sniTaken = new Map<number, Map<string, string>>()
  for (const port of mergedGateways(context.proxy, context.push).ports) {
    // The Service in front translates low ports; one that is not translated is out of reach for an unprivileged pod.
    if (context.proxy.unprivileged && port.port < 1024) continue
    const name = `${port.bind || wildcardOf(context.proxy)}_${port.port}`
    const own = isHttp(port.protocol)
      ? [filterChain(httpFilters(context, port.servers.at(-1)!, name, port.port), undefined, null)]
      : tlsAndTcpChains(context, port, name, sniTaken)
    const known = chains.get(name)
    if (known) known.list.push(...own)
    else chains.set(name, { port, list: own })
  }
  // Without a chain, no server of the port has anything to do: nothing listens.
  return [...chains].flatMap(([name, { port, list }]) =>
    list.length > 0 ? gatewayListener(context, name, port, list) : [],
  )
}

function gatewayListener(
  context: ListenerContext,
  name: string,
  port: MergedPort,
  chains: readonly FilterChain[],
): Listener {
  const { telemetry } = context
  const bind = port.bind || wildcardOf(context.proxy)
  const inspects = chains.some((chain) => chain.transportSocket || chain.filterChainMatch?.serverNames.length)
  return create(ListenerSchema, {
    name,
    address: addressOf(bind, port.port),
    additionalAddresses: port.bind ? [] : additionalAddresses(wildcardsOf(context.proxy), port.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    perConnectionBufferLimitBytes: connectionSettingsOf(context)?.listenerPerConnectionBufferLimitBytes,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildAccessLogs(context.push, context.proxy, telemetry.client, 'listener'),
    listenerFilters: [
      ...(context.proxyConfig.gatewayTopology?.proxyProtocol ? [PROXY_PROTOCOL] : []),
      ...(inspects ? [tlsInspector()] : []),
    ],
    filterChains: [...chains],
    connectionBalanceConfig: exactBalance(context.proxy, 'OUTBOUND'),
  })
}

function httpFilters(context: ListenerContext, server: MergedServer, listenerName: string, port: number): Filter[] {
  return httpChainFilters(context, {
    kind: 'gateway',
    statPrefix: isHttp(server.protocol) || !server.server.name ? `outbound_${listenerName};` : server.server.name,
    routes: server.routeName,
    grpcWeb: server.protocol === 'GRPC-Web',
    security: httpSecurity(context.push, context.proxy),
    port,
  })
}

/** A chain for each server, several for what is passed through by name, in the order of the servers. */
function tlsAndTcpChains(
  context: ListenerContext,
  port: MergedPort,
  name: string,
  sniTaken: Map<number, Map<string, string>>,
): FilterChain[] {
  const chains: FilterChain[] = []
  const secrets = serverSources(context.proxy, context.push)
  let taken = sniTaken.get(port.port)
  if (!taken) sniTaken.set(port.port, (taken = new Map()))
  for (const merged of port.servers) {
    const { server, sniHosts } = merged
    const socket = server.tls && (() => gatewayTlsSocket(server.tls!, context.mesh, merged.protocol, secrets))
    if (socket && isHttpServer(server))
      chains.push(chain(sniHosts, httpFilters(context, merged, name, port.port), socket()))
    else if (server.tls?.mode === 'AUTO_PASSTHROUGH') chains.push(...autoPassthroughChains(context, merged))
    else if (server.tls && isPassthrough(server)) chains.push(...passthroughChains(context, merged, taken))
    else {
      const filters = tcpRouteFilters(context, merged)
      if (filters) chains.push(chain(sniHosts, filters, socket?.()))
    }
  }
  return chains
}

function chain(
  serverNames: readonly string[],
  filters: readonly Filter[],
  socket: TransportSocket | undefined,
  source: VirtualService | null = null,
): FilterChain {
  const parts: OutboundChain = {
    serverNames,
    destinations: [],
    applicationProtocols: [],
    transportProtocol: '',
    source,
    http: null,
    filters,
  }
  const open = serverNames.length === 0 || serverNames.includes('*')
  return filterChain(filters, open ? undefined : chainMatch(parts), source, socket)
}

function serverPort({ server: { port }, protocol }: MergedServer): ServicePort {
  return { name: port.name, port: port.number, protocol, targetPort: 0, targetPortName: '' }
}

/** VirtualServices bound to a server's Gateway that share a host with it. */
function boundTo(context: ListenerContext, { gateway, hosts }: MergedServer): VirtualService[] {
  return context.push.virtualServices
    .visible(context.proxy.namespace, gateway)
    .filter((vs) => commonHosts(hosts, vs.spec.hosts ?? [], vs.metadata.namespace).length > 0)
}

/** The first tcp route for the server's port. Where TLS ends here, a TLSRoute's will do. */
function tcpRouteFilters(context: ListenerContext, merged: MergedServer): Filter[] | null {
  const { server, gateway } = merged
  const applies = (match: L4MatchAttributes | TlsMatchAttributes): boolean =>
    l4MatchAppliesAt(match, gateway, server.port.number)
  for (const vs of boundTo(context, merged)) {
    const { tcp = [], tls = [] } = vs.spec
    const route =
      tcp.find((one) => one.route?.length && (!one.match?.length || one.match.some(applies)))?.route ??
      (isOfTlsRoute(vs) ? tls.find(({ match }) => match.some(applies))?.route : undefined)
    if (!route) continue
    const filters = routeFilters(context, route, serverPort(merged), vs.metadata, 'gateway')
    // Within the mesh peers tell each other who they are.
    return server.tls?.mode === 'ISTIO_MUTUAL' ? [...tcpMetadataFilters(context), ...filters] : filters
  }
  return null
}

/** TLS that is not ended here: routed by server name. A name serves the first route that has it, on each address. */
function passthroughChains(context: ListenerContext, merged: MergedServer, taken: Map<string, string>): FilterChain[] {
  const { server, gateway } = merged
  const chains: FilterChain[] = []
  for (const vs of boundTo(context, merged)) {
    for (const tls of vs.spec.tls ?? []) {
      if (!tls.route?.length) continue
      for (const match of tls.match) {
        if (!l4MatchAppliesAt(match, gateway, server.port.number)) continue
        const bind = server.bind ?? ''
        if (match.sniHosts.some((name) => taken.get(name) === bind)) continue
        for (const name of match.sniHosts) taken.set(name, bind)
        const filters = routeFilters(context, tls.route, serverPort(merged), vs.metadata, 'gateway')
        chains.push(chain(match.sniHosts, filters, undefined))
      }
    }
  }
  return chains
}

/**
 * TLS passed on to the cluster that its server name spells out: how one network's workloads reach another's. Only mutual
 * TLS of the mesh gets in, by its ALPN, and only to endpoints that insist on it.
 */
function autoPassthroughChains(context: ListenerContext, { hosts }: MergedServer): FilterChain[] {
  const chains: FilterChain[] = []
  for (const service of context.scope.services) {
    if (service.meshExternal) continue
    if (!hosts.some(({ host }) => hostSubsetOf(service.hostname, host))) continue
    const subsets = context.scope.destinationRule(service, context.proxy.labels)?.rule.spec.subsets ?? []
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue
      for (const subset of ['', ...subsets.map(({ name }) => name)]) {
        const parts: OutboundChain = {
          serverNames: [outboundSni(port.port, subset, service.hostname)],
          destinations: [],
          applicationProtocols: MUTUAL_TLS_ALPN,
          transportProtocol: '',
          source: null,
          http: null,
          filters: passthroughFilters(context, service, port, subset),
        }
        chains.push(filterChain(parts.filters, chainMatch(parts), null))
      }
    }
  }
  return chains
}
