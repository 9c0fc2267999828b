// tcp_proxy to one cluster, to weighted clusters, or to one of the fixed clusters.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack, type Duration } from '@bufbuild/protobuf/wkt'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { TcpProxySchema } from '../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { type Destination, parseDuration, type RouteDestination, type TrafficPolicy } from '../../config/index.ts'
import { networkSecurity } from '../authorization/workload.ts'
import { statName } from '../cds/stat-name.ts'
import type { Service, ServicePort } from '../model/service.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { isDynamicDns, serviceDnsCache, sniForwardProxyFilter } from '../xds/dynamic-dns.ts'
import { durationOf } from '../xds/messages.ts'
import {
  BLACK_HOLE_CLUSTER,
  destinationClusterName,
  outboundClusterName,
  outboundSni,
  PASSTHROUGH_CLUSTER,
} from '../xds/names.ts'
import type { ListenerClass, ListenerContext } from './context.ts'
import { mongoFilter, networkFilter, tcpFilters, tcpStatsFilters } from './filters.ts'

type TcpProxyInit = MessageInitShape<typeof TcpProxySchema>

/** How long a connection may be idle, and live, in milliseconds: a DestinationRule's for the whole host. */
export type TcpLimits = Pick<
  NonNullable<NonNullable<TrafficPolicy['connectionPool']>['tcp']>,
  'idleTimeout' | 'maxConnectionDuration'
>

export interface TcpProxyOptions {
  readonly kind: ListenerClass
  readonly statPrefix: string
  readonly target: TcpProxyInit['clusterSpecifier']
  readonly hashSourceIp?: boolean
  readonly tunnel?: TrafficPolicy['tunnel']
  readonly limits?: TcpLimits
  /** The loop guards never log, and nothing idles in them. */
  readonly silent?: boolean
}

export function tcpProxy(context: ListenerContext, options: TcpProxyOptions): Filter {
  const side = options.kind === 'inbound' ? context.telemetry.server : context.telemetry.client
  const { tunnel, limits } = options
  return networkFilter(
    'envoy.filters.network.tcp_proxy',
    anyPack(
      TcpProxySchema,
      create(TcpProxySchema, {
        statPrefix: options.statPrefix,
        clusterSpecifier: options.target,
        idleTimeout:
          limits?.idleTimeout !== undefined
            ? durationOf(limits.idleTimeout)
            : options.silent
              ? undefined
              : idleTimeout(context),
        maxDownstreamConnectionDuration:
          limits?.maxConnectionDuration === undefined ? undefined : durationOf(limits.maxConnectionDuration),
        hashPolicy: options.hashSourceIp ? [{ policySpecifier: { case: 'sourceIp', value: {} } }] : [],
        accessLog: options.silent ? [] : buildAccessLogs(context.push, context.proxy, side, 'tcp'),
        tunnelingConfig: tunnel
          ? { hostname: `${tunnel.targetHost}:${tunnel.targetPort}`, usePost: tunnel.protocol === 'POST' }
          : undefined,
      }),
    ),
  )
}

/** Metadata IDLE_TIMEOUT of the node. */
function idleTimeout({ proxy }: ListenerContext): Duration | undefined {
  const ms = proxy.idleTimeout === '' ? undefined : parseDuration(proxy.idleTimeout)
  return ms === undefined ? undefined : durationOf(ms)
}

/** `istio.stats` and tcp_proxy to a fixed cluster. */
export function fixedClusterFilters(context: ListenerContext, cluster: string, silent = false): Filter[] {
  return [
    ...tcpStatsFilters(context, 'outbound'),
    tcpProxy(context, { kind: 'outbound', statPrefix: cluster, target: { case: 'cluster', value: cluster }, silent }),
  ]
}

/** Where traffic to unknown destinations goes. */
export function catchAllFilters(context: ListenerContext): Filter[] {
  const { mode, egressProxy } = context.scope.outboundTrafficPolicy
  const cluster =
    mode === 'REGISTRY_ONLY'
      ? BLACK_HOLE_CLUSTER
      : egressProxy
        ? outboundClusterName(egressProxy.port, egressProxy.subset, egressProxy.host)
        : PASSTHROUGH_CLUSTER
  return [
    ...tcpStatsFilters(context, 'outbound'),
    tcpProxy(context, { kind: 'outbound', statPrefix: cluster, target: { case: 'cluster', value: cluster } }),
  ]
}

/** One cluster of a service. */
export function singleDestinationFilters(
  context: ListenerContext,
  service: Service,
  listenerPort: Pick<ServicePort, 'protocol'>,
  port: number,
): Filter[] {
  const dynamic = isDynamicDns(service) ? [sniForwardProxyFilter(serviceDnsCache(service, context.proxy), port)] : []
  const cluster = outboundClusterName(port, '', service.hostname)
  return [
    ...tcpFilters(context, 'outbound', port),
    ...dynamic,
    // Without a VirtualService the template does not learn the port's name, as in istiod.
    ...clusterFilters(context, {
      cluster,
      service,
      subset: '',
      listenerPort: { port, name: '', protocol: listenerPort.protocol },
      kind: 'outbound',
    }),
  ]
}

/** What decides a tcp_proxy to one cluster. */
interface ClusterTarget {
  readonly cluster: string
  /** Undefined: no service that the proxy knows has the name. */
  readonly service: Service | undefined
  readonly subset: string
  readonly listenerPort: Pick<ServicePort, 'protocol' | 'name' | 'port'>
  readonly kind: ListenerClass
}

function clusterFilters(context: ListenerContext, target: ClusterTarget): Filter[] {
  const { cluster, service, subset, listenerPort, kind } = target
  const policy = service && policyOf(context, service, subset)
  const template = context.mesh.outboundClusterStatName
  const statPrefix = service
    ? statName(template, {
        name: cluster,
        subject: service,
        port: listenerPort.port,
        portName: listenerPort.name,
        subset,
        targetPort: 0,
      })
    : cluster
  return [
    ...(listenerPort.protocol === 'Mongo' ? [mongoFilter(statPrefix)] : []),
    tcpProxy(context, {
      kind,
      statPrefix,
      target: { case: 'cluster', value: cluster },
      hashSourceIp: policy?.loadBalancer?.consistentHash?.useSourceIp,
      tunnel: policy?.tunnel,
      limits: policy?.limits,
    }),
  ]
}

/** An AUTO_PASSTHROUGH gateway's chain to one cluster of a service: no policy of the gateway's own applies. */
export function passthroughFilters(
  context: ListenerContext,
  service: Service,
  servicePort: ServicePort,
  subset: string,
): Filter[] {
  const { port } = servicePort
  const cluster = outboundSni(port, subset, service.hostname)
  const { loadBalancer, limits } = policyOf(context, service, subset) ?? {}
  const statPrefix = statName(context.mesh.outboundClusterStatName, {
    name: cluster,
    subject: service,
    port,
    portName: servicePort.name,
    subset,
    targetPort: 0,
  })
  return [
    ...tcpFilters(context, 'gateway', port),
    ...(servicePort.protocol === 'Mongo' ? [mongoFilter(statPrefix)] : []),
    tcpProxy(context, {
      kind: 'gateway',
      statPrefix,
      target: { case: 'cluster', value: cluster },
      hashSourceIp: loadBalancer?.consistentHash?.useSourceIp,
      limits,
    }),
  ]
}

/** The destinations of a VirtualService's tcp or tls route. */
export function routeFilters(
  context: ListenerContext,
  routes: readonly RouteDestination[],
  listenerPort: ServicePort,
  owner: { readonly name: string; readonly namespace: string },
  kind: ListenerClass = 'outbound',
): Filter[] {
  const first = routes[0]
  if (!first) return []
  const { protocol, port: number } = listenerPort
  const clusterOf = ({ destination }: RouteDestination): string => destinationCluster(context, destination, number)
  const service = context.scope.servicesByHost.get(first.destination.host)
  const cluster = clusterOf(first)
  const security = kind === 'gateway' ? networkSecurity(context.push, context.proxy) : undefined
  const before = tcpFilters(context, kind, number, security)
  if (routes.length === 1) {
    const subset = first.destination.subset ?? ''
    return [...before, ...clusterFilters(context, { cluster, service, subset, listenerPort, kind })]
  }
  const clusters = routes.flatMap((route) => (route.weight ? { name: clusterOf(route), weight: route.weight } : []))
  if (clusters.length === 0) return []
  // The first destination's rule speaks for the connection: it is hashed and limited before it has a destination.
  const policy = service && policyOf(context, service, '')
  const statPrefix = `${owner.name}.${owner.namespace}`
  return [
    ...before,
    ...(protocol === 'Mongo' ? [mongoFilter(statPrefix)] : []),
    tcpProxy(context, {
      kind,
      statPrefix,
      target: { case: 'weightedClusters', value: { clusters } },
      hashSourceIp: policy?.loadBalancer?.consistentHash?.useSourceIp,
      tunnel: policy?.tunnel,
      limits: policy?.limits,
    }),
  ]
}

/** The cluster a destination means: without a port, the service's only one, else the listener's. */
function destinationCluster(
  { scope }: Pick<ListenerContext, 'scope'>,
  { host, subset, port }: Destination,
  listenerPort: number,
): string {
  const service = scope.servicesByHost.get(host)
  const only = service?.ports.length === 1 ? service.ports[0]!.port : listenerPort
  return destinationClusterName(port?.number || only, subset, host, service?.attributes.externalName)
}

/** The DestinationRule's policy for a subset of a service, as far as tcp_proxy needs it: settings of ports do not count. */
function policyOf(
  { scope, proxy }: ListenerContext,
  service: Service,
  subset: string,
): (Pick<TrafficPolicy, 'loadBalancer' | 'tunnel'> & { readonly limits: TcpLimits | undefined }) | undefined {
  const merged = scope.destinationRule(service, proxy.labels)
  if (!merged) return undefined
  const { trafficPolicy, subsets } = merged.rule.spec
  const own = subsets?.find((s) => s.name === subset)?.trafficPolicy
  return {
    loadBalancer: own?.loadBalancer ?? trafficPolicy?.loadBalancer,
    tunnel: own?.tunnel ?? trafficPolicy?.tunnel,
    limits: trafficPolicy?.connectionPool?.tcp,
  }
}
