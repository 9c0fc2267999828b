// Listeners for what a sidecar's workload calls: one for all HTTP services of a port, one a virtual address for the rest.

import { isIP } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { FilterChainSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { isHttp, type ListenerProtocol, listenerProtocol, type Protocol, parseProtocol } from '../model/protocol.ts'
import { type Service, type ServicePort, serviceKey } from '../model/service.ts'
import type { EgressListener } from '../model/sidecar-scope.ts'
import { isDynamicDns } from '../xds/dynamic-dns.ts'
import { addressOf, durationOf } from '../xds/messages.ts'
import { chainMatch, filterChain, matchesAll, type OutboundChain, PLAINTEXT_HTTP_ALPN, sameMatch } from './chain.ts'
import { isOwnPort, type ListenerContext } from './context.ts'
import { httpInspector, NO_SECURITY, tlsInspector } from './filters.ts'
import { httpChainFilters } from './http-connection-manager.ts'
import { l4Chains } from './l4-chains.ts'
import { catchAllFilters } from './tcp-proxy.ts'
import { localhostOf, secondAddress, wildcardOf } from './wildcard.ts'

/** A listener while services still join it. */
interface Entry {
  readonly bind: string
  readonly port: number
  readonly bindToPort: boolean
  /** The Sidecar names the address: there is no second one in another family. */
  readonly named: boolean
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
  const bind = egress.bind !== '' ? egress.bind : bindToPort ? localhostOf(context.proxy) : ''
  const listenPort: ServicePort = { name: port.name, port: port.number, protocol, targetPort: 0, targetPortName: '' }
  for (const service of egress.services) {
    add(context, entries, { egress, service, port: listenPort, bind, cidr: '', bindToPort })
  }
}

function everyPort(
  context: ListenerContext,
  entries: Map<string, Entry>,
  egress: EgressListener,
  bindToPort: boolean,
): void {
  for (const entry of entries.values()) entry.locked = true
  const bind = egress.bind !== '' ? egress.bind : bindToPort ? localhostOf(context.proxy) : ''
  for (const service of egress.services) {
    for (const port of service.ports) {
      if (!canBind(context, port.port, bindToPort)) continue
      const addresses = bind === '' ? headlessAddresses(context, service, port) : null
      if (!addresses) add(context, entries, { egress, service, port, bind, cidr: '', bindToPort })
      else
        for (const address of addresses)
          add(context, entries, { egress, service, port, bind: address, cidr: '', bindToPort })
    }
  }
}

/** A listener on every address would take the place of one that the proxy has for itself. */
function isReserved(context: ListenerContext, { bind, port }: Candidate): boolean {
  if (bind === '' ? !isHttp(port.protocol) : bind !== wildcardOf(context.proxy)) return false
  return isOwnPort(context, port.port)
}

/** A privileged port that the proxy would have to bind itself is out of reach for an unprivileged one. */
function canBind({ proxy }: ListenerContext, port: number, bindToPort: boolean): boolean {
  return !(bindToPort && proxy.unprivileged && port < 1024)
}

/**
 * For TCP ports of headless services: one listener an endpoint, the proxy's own address left out. Null: listen as usual.
 */
function headlessAddresses(context: ListenerContext, service: Service, port: ServicePort): string[] | null {
  if (service.resolution !== 'Passthrough' || service.addresses.length > 0 || isHttp(port.protocol)) return null
  const set = context.push.endpoints.get(serviceKey(service.hostname, service.attributes.namespace))
  const endpoints = set?.endpoints.filter((endpoint) => endpoint.portName === port.name) ?? []
  const { registry, selector } = service.attributes
  // A ServiceEntry that names no endpoints at all: any destination on that port.
  if (registry !== 'Kubernetes' && endpoints.length === 0 && !selector) return null
  return endpoints.map((e) => e.address).filter((address) => isIP(address) !== 0 && address !== context.proxy.ips[0])
}

interface Candidate {
  readonly egress: EgressListener
  readonly service: Service
  readonly port: ServicePort
  /** Empty: by the service's address. */
  readonly bind: string
  readonly cidr: string
  readonly bindToPort: boolean
}

/**
 * Addresses of a service as listeners see them: a ServiceEntry listens on each, a Kubernetes Service on its cluster IP,
 * that of the proxy's own family first.
 */
function listenAddresses(context: ListenerContext, service: Service): readonly string[] {
  const { metadata } = context.proxy
  if (service.addresses.length === 0) {
    const own = metadata.DNS_CAPTURE === 'true' ? service.autoAllocatedAddresses : []
    return own.length > 0 ? own : [wildcardOf(context.proxy)]
  }
  if (service.attributes.registry !== 'Kubernetes') return service.addresses
  const v6 = context.proxy.ips[0]?.includes(':') ?? false
  return [service.addresses.find((address) => address.includes(':') === v6) ?? service.addresses[0]!]
}

/** Adds one service port to the listener it belongs to. */
function add(context: ListenerContext, entries: Map<string, Entry>, candidate: Candidate): void {
  const { service, port } = candidate
  if (service.resolution === 'Alias') return
  const kind = listenerProtocol(port.protocol)
  if (kind === 'UNKNOWN' || isReserved(context, candidate)) return
  if (candidate.bind !== '') addAt(context, entries, candidate, kind)
  else if (kind === 'HTTP') addAt(context, entries, { ...candidate, bind: wildcardOf(context.proxy) }, kind)
  else {
    for (const address of listenAddresses(context, service)) {
      const isRange = address.includes('/')
      addAt(
        context,
        entries,
        { ...candidate, bind: isRange ? wildcardOf(context.proxy) : address, cidr: isRange ? address : '' },
        kind,
      )
    }
  }
}

function addAt(
  context: ListenerContext,
  entries: Map<string, Entry>,
  candidate: Candidate,
  kind: ListenerProtocol,
): void {
  const { service, port, bind, bindToPort } = candidate
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
      bind,
      port: port.port,
      bindToPort,
      named: candidate.egress.bind !== '',
      chains,
      protocol,
      locked: false,
    })
    return
  }
  if (cannotShare(port.protocol, current.protocol)) return
  for (const chain of chains) {
    if (!current.chains.some((other) => sameMatch(chain, other))) current.chains.push(chain)
    else if (kind === 'TCP') {
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
  const name = `${entry.bind}_${entry.port}`
  const needsTls = entry.chains.some((chain) => chain.serverNames.length > 0)
  const needsHttp = entry.chains.some((chain) => chain.applicationProtocols.length > 0)
  const listener = create(ListenerSchema, {
    name,
    address: addressOf(entry.bind, entry.port),
    additionalAddresses: entry.named ? [] : secondAddress(entry.bind, entry.port, context.proxy),
    trafficDirection: TrafficDirection.OUTBOUND,
    bindToPort: entry.bindToPort ? undefined : false,
    maxConnectionsToAcceptPerSocketEvent: entry.bindToPort ? 1 : undefined,
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: needsHttp ? durationOf(context.mesh.protocolDetectionTimeout) : NO_TIMEOUT,
    listenerFilters: [...(needsTls ? [tlsInspector()] : []), ...(needsHttp ? [httpInspector()] : [])],
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
  const bind = localhostOf(context.proxy)
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
    additionalAddresses: secondAddress(bind, port, context.proxy),
    trafficDirection: TrafficDirection.OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: NO_TIMEOUT,
    filterChains: [filterChain(filters, undefined, null)],
  })
}
