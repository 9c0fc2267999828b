// Proxyless gRPC: configuration for clients and servers that speak xDS themselves (node metadata GENERATOR=grpc).
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TransportSocketSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { type Listener, ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteSchema, VirtualHostSchema } from '../../api/gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { HTTPFaultSchema } from '../../api/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { RouterSchema } from '../../api/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import {
  CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { StringMatcherSchema } from '../../api/gen/envoy/type/matcher/v3/string_pb.js'
import { acceptedNames } from '../cds/outbound.ts'
import { clusterPolicy } from '../cds/policy.ts'
import { unlimitedCircuitBreakers } from '../cds/traffic-policy.ts'
import { assignmentInputs } from '../eds/generate.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { outboundRouteConfiguration } from '../rds/outbound.ts'
import { ADS_WITHOUT_TIMEOUT, addressOf } from '../xds/messages.ts'
import { outboundClusterName, outboundSni, parseOutboundClusterName } from '../xds/names.ts'

/** What a gRPC server asks for: this, and then `ip:port`. */
const SERVER_LISTENER = 'xds.istio.io/grpc/lds/inbound/'

const FAULT = 'envoy.filters.http.fault'
const ROUTER = 'envoy.filters.http.router'

/** Listeners by name: `host:port` for clients, `xds.istio.io/grpc/lds/inbound/ip:port` for servers. */
export function generateGrpcListeners(proxy: ProxyNode, push: PushContext, names: Iterable<string>): Listener[] {
  const out: Listener[] = []
  for (const name of names) {
    const listener = name.startsWith(SERVER_LISTENER)
      ? serverListener(name, proxy, push)
      : clientListener(name, proxy, push)
    if (listener) out.push(listener)
  }
  return out
}

function clientListener(name: string, proxy: ProxyNode, push: PushContext): Listener | null {
  const colon = name.lastIndexOf(':')
  const port = Number(name.slice(colon + 1))
  const service = push.sidecarScope(proxy).servicesByHost.get(name.slice(0, colon))
  if (!service?.ports.some((p) => p.port === port)) return null
  const manager = create(HttpConnectionManagerSchema, {
    routeSpecifier: {
      case: 'rds',
      value: { configSource: ADS_WITHOUT_TIMEOUT, routeConfigName: outboundClusterName(port, '', service.hostname) },
    },
    httpFilters: httpFilters(),
  })
  return create(ListenerSchema, {
    name,
    apiListener: { apiListener: anyPack(HttpConnectionManagerSchema, manager) },
  })
}

function httpFilters() {
  return [
    {
      name: FAULT,
      configType: { case: 'typedConfig' as const, value: anyPack(HTTPFaultSchema, create(HTTPFaultSchema)) },
    },
    { name: ROUTER, configType: { case: 'typedConfig' as const, value: anyPack(RouterSchema, create(RouterSchema)) } },
  ]
}

/** A server that does not enforce mutual TLS is plaintext: gRPC servers cannot tell the two apart on one port. */
function serverListener(name: string, proxy: ProxyNode, push: PushContext): Listener | null {
  const address = name.slice(SERVER_LISTENER.length)
  const colon = address.lastIndexOf(':')
  const port = Number(address.slice(colon + 1))
  if (!Number.isInteger(port) || port <= 0) return null
  const manager = create(HttpConnectionManagerSchema, {
    routeSpecifier: {
      case: 'routeConfig',
      value: {
        name: 'inbound',
        virtualHosts: [
          create(VirtualHostSchema, {
            domains: ['*'],
            routes: [
              create(RouteSchema, {
                match: { pathSpecifier: { case: 'prefix', value: '/' } },
                action: { case: 'nonForwardingAction', value: {} },
              }),
            ],
          }),
        ],
      },
    },
    httpFilters: httpFilters(),
  })
  const strict = push.peerAuthentications.forPort(proxy.namespace, proxy.labels, port) === 'STRICT'
  return create(ListenerSchema, {
    name,
    address: addressOf(address.slice(0, colon).replace(/^\[|\]$/g, ''), port),
    filterChains: [
      {
        name: `inbound-${port}`,
        filters: [
          {
            name: 'inbound-hcm',
            configType: { case: 'typedConfig', value: anyPack(HttpConnectionManagerSchema, manager) },
          },
        ],
        transportSocket: strict ? serverTls() : undefined,
      },
    ],
  })
}

/** Routes by cluster name, `outbound|port||host`: the virtual host that a sidecar would have, under every name of it. */
export function generateGrpcRoutes(proxy: ProxyNode, push: PushContext, names: Iterable<string>): RouteConfiguration[] {
  const out: RouteConfiguration[] = []
  for (const name of names) {
    const parts = parseOutboundClusterName(name)
    if (!parts) continue
    const table = outboundRouteConfiguration(String(parts.port), proxy, push, [])
    const host = table.virtualHosts.find((h) => h.name === `${parts.host}:${parts.port}`)
    // A service whose port no route table has (TCP by name) is reached all the same.
    const routes = host?.routes ?? [plainRoute(name)]
    const domains = [...new Set([...(host?.domains ?? [parts.host]), parts.host])]
    out.push(
      create(RouteConfigurationSchema, {
        name,
        virtualHosts: [
          create(VirtualHostSchema, {
            name: `${parts.host}:${parts.port}`,
            domains: [...domains, ...domains.map((d) => `${d}:${parts.port}`)],
            routes,
          }),
        ],
      }),
    )
  }
  return out
}

function plainRoute(cluster: string) {
  return create(RouteSchema, {
    match: { pathSpecifier: { case: 'prefix', value: '' } },
    action: { case: 'route', value: { clusterSpecifier: { case: 'cluster', value: cluster } } },
  })
}

/** Clusters by name. gRPC balances round robin or by ring hash and finds endpoints by EDS, nothing else. */
export function generateGrpcClusters(proxy: ProxyNode, push: PushContext, names: Iterable<string>): Cluster[] {
  const out: Cluster[] = []
  for (const name of names) {
    const inputs = assignmentInputs(name, proxy, push)
    if (!inputs) continue
    const { service, subset, rule, port } = inputs
    const policy = clusterPolicy(rule, subset, port, push.mesh)
    const cluster = create(ClusterSchema, {
      name,
      clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: { serviceName: name, edsConfig: ADS_WITHOUT_TIMEOUT },
      lbPolicy: policy.loadBalancer?.consistentHash ? Cluster_LbPolicy.RING_HASH : Cluster_LbPolicy.ROUND_ROBIN,
      circuitBreakers: policy.connectionPool?.http?.http2MaxRequests ? unlimitedCircuitBreakers() : undefined,
    })
    const limit = policy.connectionPool?.http?.http2MaxRequests
    if (limit) cluster.circuitBreakers!.thresholds[0]!.maxRequests = limit
    if (policy.tls?.mode === 'ISTIO_MUTUAL') {
      const sni = policy.tls.sni || outboundSni(port, subset?.name ?? '', service.hostname)
      const names = policy.tls.subjectAltNames?.length ? policy.tls.subjectAltNames : acceptedNames(service, push)
      cluster.transportSocket = clientTls(sni, names)
    }
    out.push(cluster)
  }
  return out
}

/** The certificate provider that Istio's gRPC bootstrap defines. */
const PROVIDER = 'default'

function providerContext(names: readonly string[]) {
  return create(CommonTlsContextSchema, {
    tlsCertificateCertificateProviderInstance: { instanceName: PROVIDER, certificateName: 'default' },
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          matchSubjectAltNames: names.map((value) =>
            create(StringMatcherSchema, { matchPattern: { case: 'exact', value } }),
          ),
        },
        validationContextCertificateProviderInstance: { instanceName: PROVIDER, certificateName: 'ROOTCA' },
      },
    },
  })
}

function clientTls(sni: string, names: readonly string[]) {
  const context = create(UpstreamTlsContextSchema, { sni, commonTlsContext: providerContext(names) })
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: { case: 'typedConfig', value: anyPack(UpstreamTlsContextSchema, context) },
  })
}

function serverTls() {
  const context = create(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: providerContext([]),
  })
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: { case: 'typedConfig', value: anyPack(DownstreamTlsContextSchema, context) },
  })
}
