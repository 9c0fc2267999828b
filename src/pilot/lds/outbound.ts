// Listeners for what a sidecar's workload calls: one for all HTTP services of a port, one a virtual address for the rest.

import { isIP } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { FilterChainSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { isHttp, type ListenerProtocol, listenerProtocol, type Protocol, parseProtocol } from '../model/protocol.ts'
import { type Service, type ServicePort, serviceKey } from '../model/service.ts'
import { addressesFor, primaryAddress } from '../model/service-addresses.ts'
import type { EgressListener } from '../model/sidecar-scope.ts'
import { isDynamicDns } from '../xds/dynamic-dns.ts'
import { addressOf, durationOf } from '../xds/messages.ts'
import { chainMatch, filterChain, matchesAll, matchKey, type OutboundChain, PLAINTEXT_HTTP_ALPN } from './chain.ts'
import { canBind, isOwnPort, type ListenerContext } from './context.ts'
import { exactBalance } from './exact-balance.ts'
import { httpInspector, NO_SECURITY, tlsInspector } from './filters.ts'
import { httpChainFilters } from './http-connection-manager.ts'
import { l4Chains } from './l4-chains.ts'
import { catchAllFilters } from './tcp-proxy.ts'
import { additionalAddresses, localhostsOf, wildcardOf, wildcardsOf } from './wildcard.ts'

/** A listener while services still join it. */
interface Entry {
  /** The addresses it stands on; the first names it. */
  readonly binds: readonly string[]
  readonly port: number
  readonly bindToPort: boolean
  chains: OutboundChain[]
  protocol: Protocol
  /** Made by an egress listener with a port: later services may not join. */
  locked: boolean
}

const NO_TIMEOUT = durationOf(0)

export function outboundListeners(context: ListenerContext): Listener[] {
  const entries = new Map<string, Entry>()
  for (const egress of context.scope.egressListeners) {
    const bindToPort = egress.captureMode === 'NONE' || context.proxy.interceptionMode === 'NONE'
    if (egress.port) explicitPort(context, entries, egress, egress.port, bindToPort)
    else everyPort(context, entries, egress, bindToPort)
  }
  return [...entries.values()].map((entry) => finish(context, entry))
}

function explicitPort(
  context: ListenerContext,
  entries: Map<string, Entry>,
  egress: EgressListener,
  port: NonNullable<EgressListener['port']>,
  bindToPort: boolean,
): void {
  if (!canBind(context, port.number, bindToPort)) return
  const protocol = parseProtocol(port.protocol)
  // A captured TCP port without bind listens on its services' own addresses, as any other port does.
  const binds = bindsOf(context, egress, bindToPort)
  const listenPort: ServicePort = { name: port.name, port: port.number, protocol, targetPort: 0, targetPortName: '' }
  for (const service of egress.services) {
    add(context, entries, { egress, service, port: listenPort, binds, cidr: '', bindToPort })
  }
}

function everyPort(
  context: ListenerContext,
  entries: Map<string, Entry>,
  egress: EgressListener,
  bindToPort: boolean,
): void {
  for (const entry of entries.values()) entry.locked = true
  const binds = bindsOf(context, egress, bindToPort)
  for (const service of egress.services) {
    for (const port of service.ports) {
      if (!canBind(context, port.port, bindToPort)) continue
      const endpoints = binds.length === 0 ? headlessEndpoints(context, service, port) : null
      if (!endpoints) add(context, entries, { egress, service, port, binds, cidr: '', bindToPort })
      else
        for (const addresses of endpoints)
          add(context, entries, { egress, service, port, binds: addresses, cidr: '', bindToPort })
    }
  }
}

/** The addresses that the listeners of an egress listener stand on; empty: those of each service. */
function bindsOf({ proxy }: ListenerContext, { bind }: EgressListener, bindToPort: boolean): readonly string[] {
  if (bind !== '') return [bind]
  return bindToPort ? localhostsOf(proxy) : []
}

/** A listener on every address would take the place of one that the proxy has for itself. */
function isReserved(context: ListenerContext, { binds: [bind], port }: Candidate): boolean {
  if (bind === undefined ? !isHttp(port.protocol) : bind !== wildcardOf(context.proxy)) return false
  return isOwnPort(context, port.port)
}

/**
 * For TCP ports of headless services: one listener an endpoint, with its addresses; the proxy's own left out. Null: listen
 * as usual.
 */
function headlessEndpoints(
  { proxy, push }: ListenerContext,
  service: Service,
  port: ServicePort,
): readonly (readonly string[])[] | null {
  if (service.resolution !== 'Passthrough' || isHttp(port.protocol)) return null
  if (primaryAddress(service, proxy) !== null) return null
  const set = push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const endpoints = set?.endpoints.filter((endpoint) => endpoint.portName === port.name) ?? []
  const { registry, selector } = service.attributes
  // A ServiceEntry that names no endpoints at all: any destination on that port.
  if (registry !== 'Kubernetes' && endpoints.length === 0 && !selector) return null
  return endpoints
    .map(({ addresses }) => addresses)
    .filter((addresses) => addresses.every((address) => isIP(address) !== 0) && addresses[0] !== proxy.ips[0])
}

interface Candidate {
  readonly egress: EgressListener
  readonly service: Service
  readonly port: ServicePort
  /** Empty: by the service's address. */
  readonly binds: readonly string[]
  readonly cidr: string
  readonly bindToPort: boolean
}

/** The addresses that a TCP port of a service is listened for on, and the range that tells it from others there. */
function placeOf({ proxy }: ListenerContext, service: Service): Pick<Candidate, 'binds' | 'cidr'> {
  const primary = primaryAddress(service, proxy)
  if (primary === null) return { binds: wildcardsOf(proxy), cidr: '' }
  if (primary.includes('/')) return { binds: wildcardsOf(proxy), cidr: primary }
  return { binds: [primary, ...addressesFor(service, proxy).slice(1)], cidr: '' }
}

/** Adds one service port to the listener it belongs to. */
function add(context: ListenerContext, entries: Map<string, Entry>, candidate: Candidate): void {
  const { service, port } = candidate
  if (service.resolution === 'Alias') return
  const kind = listenerProtocol(port.protocol)
  if (kind === 'UNKNOWN' || isReserved(context, candidate)) return
  if (candidate.binds.length > 0) addAt(context, entries, candidate, kind)
  else if (kind === 'HTTP') addAt(context, entries, { ...candidate, binds: wildcardsOf(context.proxy) }, kind)
  else addAt(context, entries, { ...candidate, ...placeOf(context, service) }, kind)
}

function addAt(
  context: ListenerContext,
  entries: Map<string, Entry>,
  candidate: Candidate,
  kind: ListenerProtocol,
): void {
  const { service, port, binds, bindToPort } = candidate
  const bind = binds[0]!
  const key = `${bind}_${port.port}`
  const current = entries.get(key)
  if (current?.locked) return
  let { protocol } = port
  let chains: OutboundChain[]
  let replaces = false
  if (kind === 'HTTP') {
    // One HTTP listener serves all services of the port; only a TCP one needs merging.
    if (current && listenerProtocol(current.protocol) !== 'TCP') {
      const http = current.chains.find((chain) => chain.http)?.http
      if (isDynamicDns(service)) http?.dynamic.push(service)
      return
    }
    const sniffed = bind === wildcardOf(context.proxy) && port.protocol !== 'HTTP_PROXY'
    chains = [httpChain(String(port.port), service, port, sniffed)]
    if (sniffed) protocol = 'Unsupported'
  } else if (kind === 'TCP') {
    chains = l4Chains(context, candidate.egress.virtualServices, service, port, bind, candidate.cidr)
  } else {
    if (current && current.protocol === 'Unsupported') return
    const routes = bind === wildcardOf(context.proxy) ? String(port.port) : `${service.hostname}:${port.port}`
    chains = [
      ...l4Chains(context, candidate.egress.virtualServices, service, port, bind, candidate.cidr),
      httpChain(routes, service, port, true),
    ]
    replaces = current !== undefined && isHttp(current.protocol)
  }
  if (!current || replaces) {
    entries.set(key, {
      binds,
      port: port.port,
      bindToPort,
      chains,
      protocol,
      locked: false,
    })
    return
  }
  if (cannotShare(port.protocol, current.protocol)) return
  const taken = new Set(current.chains.map(matchKey))
  for (const chain of chains) {
    const match = matchKey(chain)
    if (!taken.has(match)) {
      taken.add(match)
      current.chains.push(chain)
    } else if (kind === 'TCP') {
      context.remarks.push({
        metric: 'pilot_conflict_outbound_listener_tcp_over_current_tcp',
        key: `${bind}_${port.port}`,
        message: `${service.hostname} cannot be told from what is there on port ${port.port}`,
      })
    }
  }
  if (kind !== 'TCP' || isHttp(current.protocol)) current.protocol = 'Unsupported'
}

/** Protocols where the server speaks first cannot share a listener with anything that must be sniffed. */
function cannotShare(incoming: Protocol, existing: Protocol): boolean {
  if (incoming === existing) return false
  return [incoming, existing].some((protocol) => protocol === 'MySQL' || protocol === 'Mongo')
}

function httpChain(routes: string, service: Service, port: ServicePort, sniffed: boolean): OutboundChain {
  return {
    serverNames: [],
    destinations: [],
    applicationProtocols: sniffed ? PLAINTEXT_HTTP_ALPN : [],
    transportProtocol: sniffed ? 'raw_buffer' : '',
    source: null,
    http: { routes, grpcWeb: port.protocol === 'GRPC-Web', dynamic: isDynamicDns(service) ? [service] : [] },
    filters: [],
  }
}

function finish(context: ListenerContext, entry: Entry): Listener {
  const [bind] = entry.binds
  const name = `${bind}_${entry.port}`
  const needsTls = entry.chains.some((chain) => chain.serverNames.length > 0)
  const needsHttp = entry.chains.some((chain) => chain.applicationProtocols.length > 0)
  const listener = create(ListenerSchema, {
    name,
    address: addressOf(bind!, entry.port),
    additionalAddresses: additionalAddresses(entry.binds, entry.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    bindToPort: entry.bindToPort ? undefined : false,
    maxConnectionsToAcceptPerSocketEvent: entry.bindToPort ? 1 : undefined,
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: needsHttp ? durationOf(context.mesh.protocolDetectionTimeout) : NO_TIMEOUT,
    listenerFilters: [...(needsTls ? [tlsInspector()] : []), ...(needsHttp ? [httpInspector()] : [])],
    connectionBalanceConfig: exactBalance(context.proxy, 'OUTBOUND'),
  })
  for (const chain of entry.chains) {
    const filters = chain.http
      ? httpChainFilters(context, {
          kind: 'outbound',
          statPrefix: `outbound_${name};`,
          routes: chain.http.routes,
          grpcWeb: chain.http.grpcWeb,
          dynamic: chain.http.dynamic,
          security: NO_SECURITY,
          port: entry.port,
        })
      : chain.filters
    // The chain without conditions becomes the default, so that a half-matching connection is not dropped.
    if (matchesAll(chain)) listener.defaultFilterChain = filterChain(filters, undefined, chain.source)
    else listener.filterChains.push(filterChain(filters, chainMatch(chain), chain.source))
  }
  if (listener.defaultFilterChain && listener.filterChains.length === 0) {
    listener.filterChains = [listener.defaultFilterChain]
    listener.defaultFilterChain = undefined
  } else if (!listener.defaultFilterChain) {
    listener.defaultFilterChain = create(FilterChainSchema, {
      name: 'PassthroughFilterChain',
      filterChainMatch: {},
      filters: catchAllFilters(context),
    })
  }
  return listener
}

/** The port where applications find an HTTP proxy; null when neither mesh nor node has one. */
export function httpProxyListener(context: ListenerContext): Listener | null {
  const port = context.proxy.httpProxyPort || context.mesh.proxyHttpPort
  if (port === 0) return null
  const binds = localhostsOf(context.proxy)
  const bind = binds[0]!
  const name = `${bind}_${port}`
  const filters = httpChainFilters(context, {
    kind: 'outbound',
    statPrefix: `outbound_${name};`,
    routes: 'http_proxy',
    grpcWeb: false,
    security: NO_SECURITY,
    httpProxy: true,
    port,
  })
  return create(ListenerSchema, {
    name,
    address: addressOf(bind, port),
    additionalAddresses: additionalAddresses(binds, port),
    trafficDirection: TrafficDirection.OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: NO_TIMEOUT,
    filterChains: [filterChain(filters, undefined, null)],
    connectionBalanceConfig: exactBalance(context.proxy, 'OUTBOUND'),
  })
}
