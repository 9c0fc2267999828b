// virtualInbound: what enters a workload, by destination port, TLS and application protocol.
import { create } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { FilterChain, ListenerFilter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { IstioIngressListener } from '../../config/index.ts'
import type { ServerMutualTls } from '../model/peer-authentication.ts'
import { type Protocol, parseProtocol } from '../model/protocol.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { addressOf, durationOf } from '../xds/messages.ts'
import { inboundClusterName } from '../xds/names.ts'
import { canBind, isOwnPort, type ListenerContext } from './context.ts'
import { exactBalance } from './exact-balance.ts'
import { httpInspector, ORIGINAL_DST, ORIGINAL_SRC, tlsInspector } from './filters.ts'
import { blackHoleChain, type InboundPort, inboundChains, passthroughChains } from './inbound-chains.ts'
import { httpDisabledOn, inspectedPorts, tlsDisabledOn } from './inspectors.ts'
import { additionalAddresses, wildcardOf, wildcardsOf } from './wildcard.ts'

/** virtualInbound, then listeners that a Sidecar binds itself. */
export function inboundListeners(context: ListenerContext): Listener[] {
  const { proxy, push } = context
  const mtls = push.peerAuthentications.forWorkload(proxy.namespace, proxy.labels)
  const ports = inboundPorts(context)
  const captured = ports.filter((port) => !port.bindToPort)
  const listeners: Listener[] = []
  if (proxy.interceptionMode !== 'NONE') listeners.push(virtualInbound(context, captured, mtls))
  for (const port of ports) if (port.bindToPort) listeners.push(ownListener(context, port, mtls))
  return listeners
}

function virtualInbound(context: ListenerContext, ports: readonly InboundPort[], mtls: ServerMutualTls): Listener {
  const { mesh, proxy, push, telemetry } = context
  const served = new Set(ports.map((port) => port.targetPort))
  const otherPorts = [...mtls.ports.keys()].filter((port) => !served.has(port)).sort((a, b) => a - b)
  const chains = [
    blackHoleChain(context, mesh.proxyInboundListenPort),
    ...passthroughChains(context, 0, mtls.mode),
    ...otherPorts.flatMap((port) => passthroughChains(context, port, mtls.ports.get(port)!)),
    ...ports.flatMap((port) => inboundChains(context, port, mtls.ports.get(port.targetPort) ?? mtls.mode)),
  ]
  const transparent = proxy.interceptionMode === 'TPROXY'
  return create(ListenerSchema, {
    name: 'virtualInbound',
    address: addressOf(wildcardOf(proxy), mesh.proxyInboundListenPort),
    additionalAddresses: additionalAddresses(wildcardsOf(proxy), mesh.proxyInboundListenPort),
    trafficDirection: TrafficDirection.INBOUND,
    transparent: transparent ? true : undefined,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildAccessLogs(push, proxy, telemetry.server, 'listener'),
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: durationOf(mesh.protocolDetectionTimeout),
    listenerFilters: [ORIGINAL_DST, ...(transparent ? [ORIGINAL_SRC] : []), ...inspectors(chains)],
    filterChains: chains,
    connectionBalanceConfig: exactBalance(proxy, 'INBOUND'),
  })
}

/** Inspectors that some chain needs, switched off for the ports whose chains do not. */
function inspectors(chains: readonly FilterChain[]): ListenerFilter[] {
  const filters: ListenerFilter[] = []
  const needs = inspectedPorts(chains)
  if (needs.tls.size > 0) {
    const filter = tlsInspector()
    filter.filterDisabled = tlsDisabledOn(needs)
    filters.push(filter)
  }
  if (needs.http.size > 0) {
    const filter = httpInspector()
    filter.filterDisabled = httpDisabledOn(needs)
    filters.push(filter)
  }
  return filters
}

/** The ports a workload serves: what its Sidecar's ingress says, else the ports of its services. */
function inboundPorts(context: ListenerContext): InboundPort[] {
  const { proxy, push, scope } = context
  const byPort = new Map<number, InboundPort>()
  const ingress = scope.sidecar?.spec.ingress ?? []
  if (ingress.length > 0) {
    for (const listener of ingress) {
      const port = ingressPort(context, listener)
      if (!canBind(context, port.targetPort, port.bindToPort)) continue
      if (!byPort.has(port.targetPort)) byPort.set(port.targetPort, port)
    }
  } else if (proxy.interceptionMode !== 'NONE') {
    for (const { service, port, targetPort } of push.serviceInstances(proxy)) {
      // A name that stands for no port (the pod is not known) has its cluster, but nothing can be asked for there.
      if (targetPort === 0 || isOwnPort(context, targetPort)) continue
      // Of two services on one port the first one speaks for it.
      const first = byPort.get(targetPort)
      if (first) {
        if (first.protocol !== port.protocol && first.host !== service.hostname) {
          context.remarks.push({
            metric: 'pilot_conflict_inbound_listener',
            key: proxy.id,
            message: `port ${targetPort} is ${first.host}'s, which speaks another protocol than ${service.hostname}`,
          })
        }
        continue
      }
      byPort.set(targetPort, {
        name: `${wildcardOf(proxy)}_${targetPort}`,
        bind: wildcardOf(proxy),
        bindToPort: false,
        port: port.port,
        portName: port.name,
        service,
        targetPort,
        protocol: port.protocol,
        host: service.hostname,
        cluster: inboundClusterName(targetPort),
        source: null,
      })
    }
  }
  return [...byPort.values()].sort((a, b) => a.targetPort - b.targetPort)
}

const AFTER_TLS: Partial<Record<Protocol, Protocol>> = { HTTPS: 'HTTP', TLS: 'TCP' }

function ingressPort(context: ListenerContext, listener: IstioIngressListener): InboundPort {
  const { proxy, scope } = context
  const number = listener.port.number ?? 0
  const bind = listener.bind || proxy.ip
  const protocol: Protocol = parseProtocol(listener.port.protocol ?? '')
  const { name } = scope.sidecar!.metadata
  return {
    name: `${bind}_${number}`,
    bind,
    bindToPort: listener.captureMode === 'NONE' || proxy.interceptionMode === 'NONE',
    port: number,
    portName: listener.port.name ?? '',
    service: null,
    targetPort: number,
    protocol: listener.tls ? (AFTER_TLS[protocol] ?? protocol) : protocol,
    host: `${name}.${scope.namespace}`,
    cluster: inboundClusterName(number),
    // The root namespace's Sidecar speaks as one of the workload's own namespace.
    source: scope.sidecar && { ...scope.sidecar, metadata: { ...scope.sidecar.metadata, namespace: scope.namespace } },
    tls: listener.tls,
  }
}

/** A Sidecar ingress that binds its port itself (captureMode NONE). */
function ownListener(context: ListenerContext, port: InboundPort, mtls: ServerMutualTls): Listener {
  const { mesh, proxy, push, telemetry } = context
  const chains = inboundChains(context, port, mtls.ports.get(port.targetPort) ?? mtls.mode)
  return create(ListenerSchema, {
    name: `${port.bind}_${port.targetPort}`,
    address: addressOf(port.bind, port.targetPort),
    trafficDirection: TrafficDirection.INBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildAccessLogs(push, proxy, telemetry.server, 'listener'),
    continueOnListenerFiltersTimeout: true,
    listenerFiltersTimeout: durationOf(mesh.protocolDetectionTimeout),
    listenerFilters: inspectors(chains),
    filterChains: chains,
    connectionBalanceConfig: exactBalance(proxy, 'INBOUND'),
  })
}
