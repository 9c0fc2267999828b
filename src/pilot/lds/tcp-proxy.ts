// tcp_proxy to one cluster, to weighted clusters, or to one of the fixed clusters.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack, type Duration } from '@bufbuild/protobuf/wkt'
import type { Filter } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { TcpProxySchema } from '../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { parseDuration, type RouteDestination, type TrafficPolicy } from '../../config/index.ts'
import type { Protocol } from '../model/protocol.ts'
import type { Service } from '../model/service.ts'
import { buildAccessLogs } from '../telemetry/access-log.ts'
import { durationOf } from '../xds/messages.ts'
import { BLACK_HOLE_CLUSTER, outboundClusterName, PASSTHROUGH_CLUSTER } from '../xds/names.ts'
import type { ListenerClass, ListenerContext } from './context.ts'
import { mongoFilter, networkFilter, tcpStatsFilters } from './filters.ts'

type TcpProxyInit = MessageInitShape<typeof TcpProxySchema>

export interface TcpProxyOptions {
  readonly kind: ListenerClass
  readonly statPrefix: string
  readonly target: TcpProxyInit['clusterSpecifier']
  readonly hashSourceIp?: boolean
  readonly tunnel?: TrafficPolicy['tunnel']
  /** The loop guards never log. */
  readonly silent?: boolean
}

export function tcpProxy(context: ListenerContext, options: TcpProxyOptions): Filter {
  const side = options.kind === 'inbound' ? context.telemetry.server : context.telemetry.client
  const { tunnel } = options
  return networkFilter(
    'envoy.filters.network.tcp_proxy',
    anyPack(
      TcpProxySchema,
      create(TcpProxySchema, {
        statPrefix: options.statPrefix,
        clusterSpecifier: options.target,
        idleTimeout: idleTimeout(context),
        hashPolicy: options.hashSourceIp ? [{ policySpecifier: { case: 'sourceIp', value: {} } }] : [],
        accessLog: options.silent ? [] : buildAccessLogs(context.mesh, side, 'tcp'),
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
  const policy = mode === 'REGISTRY_ONLY' ? BLACK_HOLE_CLUSTER : PASSTHROUGH_CLUSTER
  return [
    ...tcpStatsFilters(context, 'outbound'),
    tcpProxy(context, { kind: 'outbound', statPrefix: policy, target: { case: 'cluster', value: cluster } }),
  ]
}

/** One cluster of a service. */
export function singleDestinationFilters(
  context: ListenerContext,
  service: Service,
  protocol: Protocol,
  port: number,
  subset = '',
  kind: ListenerClass = 'outbound',
): Filter[] {
  const cluster = outboundClusterName(port, subset, service.hostname)
  const policy = policyOf(context, service, port, subset)
  return [
    ...tcpStatsFilters(context, kind),
    ...(protocol === 'Mongo' ? [mongoFilter(cluster)] : []),
    tcpProxy(context, {
      kind,
      statPrefix: cluster,
      target: { case: 'cluster', value: cluster },
      hashSourceIp: policy?.loadBalancer?.consistentHash?.useSourceIp,
      tunnel: policy?.tunnel,
    }),
  ]
}

/** The destinations of a VirtualService's tcp or tls route. */
export function routeFilters(
  context: ListenerContext,
  routes: readonly RouteDestination[],
  protocol: Protocol,
  listenerPort: number,
  owner: { readonly name: string; readonly namespace: string },
  kind: ListenerClass = 'outbound',
): Filter[] {
  const live = routes.length > 1 ? routes.filter((route) => route.weight) : routes
  const first = live[0]
  if (!first) return []
  const clusterOf = ({ destination }: RouteDestination): string =>
    destinationCluster(context, destination.host, destination.subset ?? '', destination.port?.number, listenerPort)
  if (live.length === 1) {
    const service = context.scope.servicesByHost.get(first.destination.host)
    const cluster = clusterOf(first)
    const port = Number(cluster.split('|')[1])
    const policy = service ? policyOf(context, service, port, first.destination.subset ?? '') : undefined
    return [
      ...tcpStatsFilters(context, kind),
      ...(protocol === 'Mongo' ? [mongoFilter(cluster)] : []),
      tcpProxy(context, {
        kind,
        statPrefix: cluster,
        target: { case: 'cluster', value: cluster },
        hashSourceIp: policy?.loadBalancer?.consistentHash?.useSourceIp,
        tunnel: policy?.tunnel,
      }),
    ]
  }
  const statPrefix = `${owner.name}.${owner.namespace}`
  return [
    ...tcpStatsFilters(context, kind),
    ...(protocol === 'Mongo' ? [mongoFilter(statPrefix)] : []),
    tcpProxy(context, {
      kind,
      statPrefix,
      target: {
        case: 'weightedClusters',
        value: { clusters: live.map((route) => ({ name: clusterOf(route), weight: route.weight ?? 0 })) },
      },
    }),
  ]
}

/** The cluster a destination means: without a port, the service's only one, else the listener's. */
function destinationCluster(
  context: Pick<ListenerContext, 'scope'>,
  host: string,
  subset: string,
  port: number | undefined,
  listenerPort: number,
): string {
  if (port) return outboundClusterName(port, subset, host)
  const ports = context.scope.servicesByHost.get(host)?.ports
  return outboundClusterName(ports?.length === 1 ? ports[0]!.port : listenerPort, subset, host)
}

/** The DestinationRule's policy for one port and subset of a service, as far as tcp_proxy needs it. */
function policyOf(
  { scope, proxy }: ListenerContext,
  service: Service,
  port: number,
  subset: string,
): Pick<TrafficPolicy, 'loadBalancer' | 'tunnel'> | undefined {
  const merged = scope.destinationRule(service, proxy.labels)
  if (!merged) return undefined
  const { trafficPolicy, subsets } = merged.rule.spec
  const own = subsets?.find((s) => s.name === subset)?.trafficPolicy
  const atPort = (policy: TrafficPolicy | undefined) =>
    policy?.portLevelSettings?.find((setting) => setting.port?.number === port)
  const loadBalancer = (atPort(own) ?? own)?.loadBalancer ?? (atPort(trafficPolicy) ?? trafficPolicy)?.loadBalancer
  return { loadBalancer, tunnel: own?.tunnel ?? trafficPolicy?.tunnel }
}
