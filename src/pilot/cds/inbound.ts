// Inbound clusters: from the sidecar to its own application.
import { create, type JsonObject } from '@bufbuild/protobuf'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { BindConfigSchema } from '../../api/gen/envoy/config/core/v3/address_pb.js'
import type { IstioIngressListener } from '../../config/index.ts'
import { hasIpv4, hasIpv6, type ProxyNode, runsExtension, type ServiceInstance } from '../model/node.ts'
import { isHttp2, parseProtocol } from '../model/protocol.ts'
import type { PushContext } from '../model/push-context.ts'
import { resourcePath } from '../model/resource.ts'
import type { Service, ServicePort } from '../model/service.ts'
import type { MergedDestinationRule } from '../model/sidecar-scope.ts'
import { addressOf, durationOf } from '../xds/messages.ts'
import { inboundClusterName } from '../xds/names.ts'
import { type HttpOptions, writeHttpOptions } from './http-options.ts'
import { applyRetryBudget, preservesCase, serviceMetadata } from './outbound.ts'
import { clusterPolicy } from './policy.ts'
import { statName } from './stat-name.ts'
import { applyConnectionPool, unlimitedCircuitBreakers } from './traffic-policy.ts'

/** Connections from the sidecar to the application come from here, so that iptables lets them pass. */
const INBOUND_SOURCE_V4 = '127.0.0.6'
const INBOUND_SOURCE_V6 = '::6'
/** An original-destination host is never cleaned up: istiod's largest Go duration in whole seconds. */
const NEVER_CLEANED_MS = 9223372035_000

/** The clusters of a sidecar's own ports, sorted by port. */
export function inboundClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const scope = push.sidecarScope(proxy)
  const instances = push.serviceInstances(proxy)
  const ingress = scope.sidecar?.spec.ingress
  if (ingress?.length) return ingress.map((listener) => ingressCluster(listener, instances, proxy, push))
  // Nothing is captured: only what a Sidecar binds reaches the application through the proxy.
  if (proxy.interceptionMode === 'NONE') return []
  const byPort = new Map<number, ServiceInstance[]>()
  for (const instance of instances) {
    const same = byPort.get(instance.targetPort)
    if (same) same.push(instance)
    else byPort.set(instance.targetPort, [instance])
  }
  return [...byPort].sort(([a], [b]) => a - b).map(([port, list]) => portCluster(port, list, proxy, push))
}

/** Where connections to the application come from; with TPROXY a listener filter puts the client's own address instead. */
export function inboundBindConfig(proxy: ProxyNode) {
  const sources = [
    ...(proxy.ips.some((ip) => !ip.includes(':')) ? [INBOUND_SOURCE_V4] : []),
    ...(proxy.ips.some((ip) => ip.includes(':')) ? [INBOUND_SOURCE_V6] : []),
  ].map((address) => ({ address, portSpecifier: { case: 'portValue' as const, value: 0 } }))
  // Our proxy knows one source address a cluster.
  const others = runsExtension(proxy, 'envoy.filters.http.wasm') ? sources.slice(1) : []
  return create(BindConfigSchema, {
    sourceAddress: sources[0],
    extraSourceAddresses: others.map((address) => ({ address })),
  })
}

function portCluster(
  targetPort: number,
  instances: readonly ServiceInstance[],
  proxy: ProxyNode,
  push: PushContext,
): Cluster {
  const first = instances[0]!
  const cluster = baseCluster(targetPort, first.service, first.port, push)
  if (push.mesh.inboundTrafficPolicy.mode === 'LOCALHOST') {
    setStatic(cluster, hasIpv6(proxy) && !hasIpv4(proxy) ? '::1' : '127.0.0.1', targetPort)
  } else {
    cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST }
    cluster.lbPolicy = Cluster_LbPolicy.CLUSTER_PROVIDED
    cluster.cleanupInterval = durationOf(NEVER_CLEANED_MS)
    cluster.upstreamBindConfig = inboundBindConfig(proxy)
  }
  // The services that clients know under the port that this cluster is built for.
  const named = new Map(
    instances.filter(({ port }) => port.port === first.port.port).map(({ service }) => [service.hostname, service]),
  )
  finish(
    cluster,
    first.service,
    first.service.meshExternal ? null : [...named.values()],
    first.port,
    targetPort,
    proxy,
    push,
  )
  return cluster
}

function ingressCluster(
  listener: IstioIngressListener,
  instances: readonly ServiceInstance[],
  proxy: ProxyNode,
  push: PushContext,
): Cluster {
  const port = listener.port.number ?? 0
  const service = instances.find((i) => i.targetPort === port)?.service ?? null
  const protocol = parseProtocol(listener.port.protocol ?? '')
  const named: ServicePort = { name: listener.port.name ?? '', port, protocol, targetPort: port, targetPortName: '' }
  // What no service has is known by its Sidecar.
  const { sidecar, namespace } = push.sidecarScope(proxy)
  const cluster = baseCluster(port, service ?? { hostname: `${sidecar!.metadata.name}.${namespace}` }, named, push)
  const endpoint = ingressEndpoint(listener.defaultEndpoint ?? '', proxy)
  if (endpoint) setStatic(cluster, endpoint.address, endpoint.port)
  else {
    cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST }
    cluster.lbPolicy = Cluster_LbPolicy.CLUSTER_PROVIDED
    cluster.cleanupInterval = durationOf(NEVER_CLEANED_MS)
  }
  // Only loopback is left alone by iptables.
  if (!endpoint || !LOOPBACK.includes(endpoint.address)) cluster.upstreamBindConfig = inboundBindConfig(proxy)
  finish(cluster, service, service && !service.meshExternal ? [service] : null, named, port, proxy, push)
  return cluster
}

const LOOPBACK = ['127.0.0.1', '::1']

/** Where a Sidecar's ingress sends to; null: to the address that the client asked for. */
function ingressEndpoint(text: string, proxy: ProxyNode): { address: string; port: number } | null {
  if (text === '') return null
  if (text.startsWith('unix://')) return { address: text, port: 0 }
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, colon).replace(/^\[|\]$/g, '')
  const own = (v6: boolean) => proxy.ips.find((ip) => ip.includes(':') === v6)
  const v4Only = own(true) === undefined
  const v6Only = own(false) === undefined
  // 0.0.0.0 and :: stand for the instance's own address; loopback stays loopback, of a family that the instance has.
  const addresses: Record<string, string> = {
    '0.0.0.0': own(false) ?? '127.0.0.1',
    '::': own(true) ?? '::1',
    '127.0.0.1': v6Only ? '::1' : '127.0.0.1',
    '::1': v4Only ? '127.0.0.1' : '::1',
  }
  return { address: addresses[host] ?? host, port: Number(text.slice(colon + 1)) }
}

function baseCluster(
  port: number,
  subject: Service | { readonly hostname: string },
  servicePort: ServicePort,
  push: PushContext,
): Cluster {
  const name = inboundClusterName(port)
  const { port: number, name: portName } = servicePort
  const stat = statName(push.mesh.inboundClusterStatName, { name, subject, port: number, portName, targetPort: port })
  return create(ClusterSchema, {
    name,
    altStatName: `${stat};`,
    connectTimeout: durationOf(push.mesh.connectTimeout),
    commonLbConfig: {},
    circuitBreakers: unlimitedCircuitBreakers(),
  })
}

function setStatic(cluster: Cluster, host: string, port: number): void {
  cluster.clusterDiscoveryType = { case: 'type', value: Cluster_DiscoveryType.STATIC }
  cluster.loadAssignment = {
    $typeName: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
    clusterName: cluster.name,
    namedEndpoints: {},
    endpoints: [
      {
        $typeName: 'envoy.config.endpoint.v3.LocalityLbEndpoints',
        priority: 0,
        lbConfig: { case: undefined },
        lbEndpoints: [
          {
            $typeName: 'envoy.config.endpoint.v3.LbEndpoint',
            healthStatus: 0,
            hostIdentifier: {
              case: 'endpoint',
              value: {
                $typeName: 'envoy.config.endpoint.v3.Endpoint',
                hostname: '',
                observabilityName: '',
                additionalAddresses: [],
                address: addressOf(host, port),
              },
            },
          },
        ],
      },
    ],
  }
}

function setMetadata(cluster: Cluster, served: readonly Service[], rule: MergedDestinationRule | null): void {
  const services = served.map(serviceMetadata)
  const istio: JsonObject = rule ? { config: resourcePath(rule.rule), services } : { services }
  cluster.metadata = { $typeName: 'envoy.config.core.v3.Metadata', filterMetadata: { istio }, typedFilterMetadata: {} }
}

/**
 * What rules and metadata say. The server side must hold what its clients' limits let through, so the service's own rule
 * counts here, too; a Sidecar's limits go before it.
 */
function finish(
  cluster: Cluster,
  service: Service | null,
  served: readonly Service[] | null,
  port: ServicePort,
  number: number,
  proxy: ProxyNode,
  push: PushContext,
): void {
  const scope = push.sidecarScope(proxy)
  const rule = service && scope.destinationRule(service, null)
  if (served) setMetadata(cluster, served, rule?.rule.spec.trafficPolicy ? rule : null)
  const { ingress, inboundConnectionPool } = scope.sidecar?.spec ?? {}
  const listened = ingress?.find((listener) => listener.port.number === number && listener.connectionPool)
  const pool = listened?.connectionPool ?? inboundConnectionPool
  const policy = clusterPolicy(rule, null, port.port, push.mesh)
  const limits = pool ?? policy.connectionPool
  const asClient = port.protocol === 'Unsupported' || limits?.http?.useClientProtocol
  const http: HttpOptions = {
    protocol: asClient ? 'downstream' : isHttp2(port.protocol) ? 'http2' : 'http1',
    preservesCase: preservesCase(port.protocol, proxy, push),
  }
  applyConnectionPool(cluster, http, limits, push.mesh)
  applyRetryBudget(cluster, policy, proxy)
  writeHttpOptions(cluster, http)
}
