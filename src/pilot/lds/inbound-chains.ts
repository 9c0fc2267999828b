// The filter chains of one inbound port, by mutual TLS mode and protocol class.
import { create } from '@bufbuild/protobuf'
import {
  type Filter,
  type FilterChain,
  FilterChainSchema,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Resource, ServerTls } from '../../config/index.ts'
import { httpSecurity, networkSecurity } from '../authorization/workload.ts'
import { statName } from '../cds/stat-name.ts'
import type { MutualTlsMode } from '../model/peer-authentication.ts'
import { isGrpc, isHttp, isHttp2, listenerProtocol, type Protocol } from '../model/protocol.ts'
import { resourcePath } from '../model/resource.ts'
import type { Service } from '../model/service.ts'
import { inboundRouteConfiguration } from '../rds/inbound.ts'
import { serverSources } from '../xds/credential-secrets.ts'
import { BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER } from '../xds/names.ts'
import { MUTUAL_TLS_ALPN, PLAINTEXT_HTTP_ALPN } from './chain.ts'
import type { ListenerContext } from './context.ts'
import { mutualTlsSocket } from './downstream-tls.ts'
import { mongoFilter, tcpFilters, tcpMetadataFilters, tcpStatsFilters } from './filters.ts'
import { gatewayTlsSocket } from './gateway-tls.ts'
import { httpChainFilters } from './http-connection-manager.ts'
import { tcpProxy } from './tcp-proxy.ts'

/** One port that the workload serves. */
export interface InboundPort {
  /** Name of its chains: `<bind>_<port>`. */
  readonly name: string
  readonly bind: string
  readonly bindToPort: boolean
  /** Service port. */
  readonly port: number
  readonly portName: string
  /** The service that it is for; null: none, and stats show the host. */
  readonly service: Service | null
  /** Port at the workload. */
  readonly targetPort: number
  readonly protocol: Protocol
  /** Host name that traces show. */
  readonly host: string
  readonly cluster: string
  /** The Sidecar whose ingress made it. */
  readonly source: Resource | null
  /** TLS that a Sidecar's ingress ends itself, on a port without mutual TLS. */
  readonly tls?: ServerTls
}

const MTLS_HTTP = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2']
const MTLS_TCP = ['istio-peer-exchange', 'istio']

/** One chain to make: which connections, whether mutual TLS ends here, what runs. */
interface ChainKind {
  readonly transport: 'tls' | 'raw_buffer'
  readonly alpn: readonly string[]
  readonly terminate: boolean
  readonly kind: 'http' | 'tcp'
}

/** The chains of a protocol class under a mode, in Istio's order. */
function chainKinds(mode: MutualTlsMode, protocol: 'HTTP' | 'TCP' | 'AUTO'): ChainKind[] {
  const plain = (kind: 'http' | 'tcp', alpn: readonly string[] = []): ChainKind => ({
    transport: 'raw_buffer',
    alpn,
    terminate: false,
    kind,
  })
  const mtls = (kind: 'http' | 'tcp', alpn: readonly string[] = []): ChainKind => ({
    transport: 'tls',
    alpn,
    terminate: true,
    kind,
  })
  const opaqueTls: ChainKind = { transport: 'tls', alpn: [], terminate: false, kind: 'tcp' }
  switch (protocol) {
    case 'HTTP':
      if (mode === 'STRICT') return [mtls('http')]
      if (mode === 'DISABLE') return [plain('http')]
      return [mtls('http', MUTUAL_TLS_ALPN), plain('http')]
    case 'TCP':
      if (mode === 'STRICT') return [mtls('tcp')]
      if (mode === 'DISABLE') return [plain('tcp')]
      return [mtls('tcp', MUTUAL_TLS_ALPN), opaqueTls, plain('tcp')]
    case 'AUTO':
      if (mode === 'STRICT') return [mtls('http', MTLS_HTTP), mtls('tcp')]
      if (mode === 'DISABLE') return [plain('http', PLAINTEXT_HTTP_ALPN), plain('tcp')]
      return [
        mtls('http', MTLS_HTTP),
        plain('http', PLAINTEXT_HTTP_ALPN),
        mtls('tcp', MTLS_TCP),
        plain('tcp'),
        opaqueTls,
      ]
  }
}

/** A connection made to the inbound listener's own port would come back for ever. */
export function blackHoleChain(context: ListenerContext, port: number): FilterChain {
  return create(FilterChainSchema, {
    name: 'virtualInbound-blackhole',
    filterChainMatch: { destinationPort: port },
    filters: [
      ...tcpMetadataFilters(context),
      ...tcpStatsFilters(context, 'inbound'),
      tcpProxy(context, {
        kind: 'inbound',
        statPrefix: BLACK_HOLE_CLUSTER,
        target: { case: 'cluster', value: BLACK_HOLE_CLUSTER },
        silent: true,
      }),
    ],
  })
}

/** Chains for ports that no service names; `port` 0 for all of them. */
export function passthroughChains(context: ListenerContext, port: number, mode: MutualTlsMode): FilterChain[] {
  const passthrough: InboundPort = {
    name: 'virtualInbound',
    bind: '',
    bindToPort: false,
    port: 0,
    portName: 'virtualInbound',
    service: null,
    targetPort: port,
    protocol: 'Unsupported',
    host: '',
    cluster: INBOUND_PASSTHROUGH_CLUSTER,
    source: null,
  }
  return chainKinds(mode, 'AUTO').map((kind) => {
    const name = kind.kind === 'http' ? 'virtualInbound-catchall-http' : 'virtualInbound'
    return build(context, passthrough, kind, name, INBOUND_PASSTHROUGH_CLUSTER)
  })
}

export function inboundChains(context: ListenerContext, port: InboundPort, mode: MutualTlsMode): FilterChain[] {
  if (port.tls && mode === 'DISABLE') return [ingressTlsChain(context, port, port.tls)]
  const known = listenerProtocol(port.protocol)
  // A UDP port is a port all the same: TCP connections to it are passed on.
  const protocol = known === 'UNKNOWN' ? 'TCP' : known
  return chainKinds(mode, protocol).map((kind) => build(context, port, kind, port.name, `inbound_${port.name}`))
}

/** TLS of outside clients, ended with certificates of the Sidecar's ingress; HTTPS is HTTP behind it. */
function ingressTlsChain(context: ListenerContext, port: InboundPort, tls: ServerTls): FilterChain {
  const kind = port.protocol === 'HTTPS' || isHttp(port.protocol) ? 'http' : 'tcp'
  const chain = build(
    context,
    port,
    { transport: 'tls', alpn: [], terminate: false, kind },
    port.name,
    `inbound_${port.name}`,
  )
  chain.transportSocket = gatewayTlsSocket(tls, context.mesh, port.protocol, serverSources(context.proxy, context.push))
  return chain
}

function build(
  context: ListenerContext,
  port: InboundPort,
  kind: ChainKind,
  name: string,
  httpStatPrefix: string,
): FilterChain {
  return create(FilterChainSchema, {
    name,
    filterChainMatch: {
      destinationPort: port.targetPort === 0 ? undefined : port.targetPort,
      transportProtocol: kind.transport,
      applicationProtocols: [...kind.alpn],
    },
    metadata: port.source ? { filterMetadata: { istio: { config: resourcePath(port.source) } } } : undefined,
    transportSocket: kind.terminate ? mutualTlsSocket(context.mesh, kind.kind) : undefined,
    filters: [
      ...tcpMetadataFilters(context),
      ...(kind.kind === 'http' ? httpFiltersOf(context, port, httpStatPrefix) : tcpFiltersOf(context, port)),
    ],
  })
}

function httpFiltersOf(context: ListenerContext, port: InboundPort, statPrefix: string): Filter[] {
  return httpChainFilters(context, {
    kind: 'inbound',
    statPrefix: `${statPrefix};`,
    routes: inboundRouteConfiguration({
      mesh: context.mesh,
      cluster: port.cluster,
      port: port.port,
      host: port.host,
      grpc: isGrpc(port.protocol),
    }),
    grpcWeb: port.protocol === 'GRPC-Web',
    http2: isHttp2(port.protocol),
    security: httpSecurity(context.push, context.proxy),
    port: port.targetPort,
  })
}

function tcpFiltersOf(context: ListenerContext, port: InboundPort): Filter[] {
  const statPrefix = statName(context.mesh.inboundClusterStatName, {
    name: port.cluster,
    subject: port.service ?? { hostname: port.host },
    port: port.port,
    portName: port.portName,
    targetPort: null,
  })
  return [
    ...tcpFilters(context, 'inbound', port.port, networkSecurity(context.push, context.proxy)),
    ...(port.protocol === 'Mongo' ? [mongoFilter(statPrefix)] : []),
    tcpProxy(context, {
      kind: 'inbound',
      statPrefix,
      target: { case: 'cluster', value: port.cluster },
    }),
  ]
}
