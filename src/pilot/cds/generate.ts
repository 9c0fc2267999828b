// The CDS answer of one proxy, in Istio's order: outbound, BlackHole, Passthrough, inbound, InboundPassthrough.
import { create } from '@bufbuild/protobuf'
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { addedClusters, patchCluster } from '../envoy-filter/clusters.ts'
import type { PatchContext } from '../envoy-filter/compile.ts'
import { NO_PATCHES, patchesFor } from '../envoy-filter/select.ts'
import { mergedGateways } from '../gateway/merge.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { EXTERNAL_SDS_CLUSTER, EXTERNAL_SDS_SOCKET, ownSources } from '../xds/credential-secrets.ts'
import { anyHostDnsCache, dynamicForwardProxyType } from '../xds/dynamic-dns.ts'
import { addressOf, durationOf } from '../xds/messages.ts'
import {
  ANY_DYNAMIC_DNS_CLUSTER,
  BLACK_HOLE_CLUSTER,
  INBOUND_PASSTHROUGH_CLUSTER,
  inboundClusterName,
  PASSTHROUGH_CLUSTER,
} from '../xds/names.ts'
import { type HttpOptions, writeHttpOptions } from './http-options.ts'
import { inboundBindConfig, inboundClusters } from './inbound.ts'
import {
  buildOutboundCluster,
  metadataExchangeFilters,
  type OutboundSpec,
  outboundSpecs,
  passthroughClusters,
  preservesCase,
} from './outbound.ts'
import { explicitTls } from './tls.ts'
import { applyConnectionPool, unlimitedCircuitBreakers } from './traffic-policy.ts'

/** Idle connections through the passthrough clusters end after this. */
const PASSTHROUGH_IDLE_MS = 300_000

/** Every cluster of a proxy. */
export function generateClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const clusters: Cluster[] = []
  for (const spec of outboundSpecs(proxy, push)) {
    const cluster = patchedOutboundCluster(spec, proxy, push)
    if (cluster) clusters.push(cluster)
  }
  clusters.push(...fixedClusters(proxy, push))
  return clusters
}

/** One outbound cluster after EnvoyFilters; null: there is none, or it was removed. */
export function patchedOutboundCluster(spec: OutboundSpec, proxy: ProxyNode, push: PushContext): Cluster | null {
  const cluster = buildOutboundCluster(spec, proxy, push)
  return cluster && patchCluster(cluster, outboundContext(proxy), patchesFor(proxy, push))
}

function outboundContext(proxy: ProxyNode): PatchContext {
  return proxy.type === 'sidecar' ? 'SIDECAR_OUTBOUND' : 'GATEWAY'
}

/** What follows the outbound clusters: the fixed ones and, for sidecars, those of their own ports. */
export function fixedClusters(proxy: ProxyNode, push: PushContext): Cluster[] {
  const clusters = fixedAndInbound(proxy, push)
  return ownSources(proxy).socket ? [...clusters, externalSds(push)] : clusters
}

/** The SDS server of the pod itself. */
function externalSds({ mesh }: PushContext): Cluster {
  const cluster = create(ClusterSchema, {
    name: EXTERNAL_SDS_CLUSTER,
    altStatName: `${EXTERNAL_SDS_CLUSTER};`,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    connectTimeout: durationOf(mesh.connectTimeout),
    loadAssignment: {
      clusterName: EXTERNAL_SDS_CLUSTER,
      endpoints: [
        {
          lbEndpoints: [
            {
              hostIdentifier: {
                case: 'endpoint',
                value: { address: addressOf(`unix://${EXTERNAL_SDS_SOCKET}`, 0) },
              },
            },
          ],
        },
      ],
    },
  })
  writeHttpOptions(cluster, { protocol: 'http2' })
  return cluster
}

function fixedAndInbound(proxy: ProxyNode, push: PushContext): Cluster[] {
  const set = patchesFor(proxy, push)
  const context = outboundContext(proxy)
  const kept = (cluster: Cluster, where: PatchContext, hosts?: readonly string[]): Cluster[] => {
    const patched = patchCluster(cluster, where, set, hosts)
    return patched ? [patched] : []
  }
  const clusters = kept(blackHole(push), context)
  if (proxy.type !== 'sidecar') {
    if (passesThrough(proxy, push)) {
      for (const cluster of passthroughClusters(proxy, push)) clusters.push(...kept(cluster, context))
    }
    return [...clusters, ...addedClusters(context, set)]
  }
  const passthrough = passthroughCluster(PASSTHROUGH_CLUSTER, proxy, push)
  passthrough.filters = metadataExchangeFilters(proxy)
  clusters.push(...kept(passthrough, context))
  if (push.sidecarScope(proxy).outboundTrafficPolicy.mode === 'ALLOW_ANY_DYNAMIC_DNS') {
    clusters.push(...kept(anyDynamicDnsCluster(proxy, push), context))
  }
  clusters.push(...addedClusters(context, set))
  const instances = set === NO_PATCHES ? [] : push.serviceInstances(proxy)
  for (const cluster of inboundClusters(proxy, push)) {
    const hosts = instances
      .filter((i) => inboundClusterName(i.targetPort) === cluster.name)
      .map((i) => i.service.hostname)
    clusters.push(...kept(cluster, 'SIDECAR_INBOUND', hosts))
  }
  const inboundPassthrough = passthroughCluster(INBOUND_PASSTHROUGH_CLUSTER, proxy, push)
  inboundPassthrough.upstreamBindConfig = inboundBindConfig(proxy)
  clusters.push(...kept(inboundPassthrough, 'SIDECAR_INBOUND'), ...addedClusters('SIDECAR_INBOUND', set))
  return clusters
}

/** Some server of the router's Gateways has TLS mode AUTO_PASSTHROUGH. */
export function passesThrough(proxy: ProxyNode, push: PushContext): boolean {
  return mergedGateways(proxy, push).autoPassthrough
}

function blackHole(push: PushContext): Cluster {
  return create(ClusterSchema, {
    name: BLACK_HOLE_CLUSTER,
    altStatName: `${BLACK_HOLE_CLUSTER};`,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
    connectTimeout: durationOf(push.mesh.connectTimeout),
  })
}

function passthroughCluster(name: string, proxy: ProxyNode, push: PushContext): Cluster {
  const cluster = create(ClusterSchema, {
    name,
    altStatName: `${PASSTHROUGH_CLUSTER};`,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    connectTimeout: durationOf(push.mesh.connectTimeout),
    circuitBreakers: unlimitedCircuitBreakers(),
  })
  // A baseline of the mesh limits what goes to places unknown, too; the idle time is this cluster's own.
  const own: HttpOptions = { protocol: 'downstream' }
  applyConnectionPool(cluster, own, push.mesh.defaultTrafficPolicy?.connectionPool, push.mesh)
  writeHttpOptions(cluster, {
    protocol: 'downstream',
    idleTimeoutMs: PASSTHROUGH_IDLE_MS,
    preservesCase: preservesCase('Unsupported', proxy, push),
  })
  return cluster
}

/** Where plaintext HTTP to unknown hosts goes in outbound mode ALLOW_ANY_DYNAMIC_DNS; with TLS when the mesh says so. */
function anyDynamicDnsCluster(proxy: ProxyNode, push: PushContext): Cluster {
  const { mesh } = push
  const { tls } = mesh.outboundTrafficPolicy
  const plain = !tls || (tls.mode ?? 'DISABLE') === 'DISABLE'
  const insecure = plain || tls.insecureSkipVerify === true || (tls.sni ?? '') !== ''
  const cluster = create(ClusterSchema, {
    name: ANY_DYNAMIC_DNS_CLUSTER,
    altStatName: `${ANY_DYNAMIC_DNS_CLUSTER};`,
    clusterDiscoveryType: dynamicForwardProxyType(anyHostDnsCache(proxy), insecure),
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    connectTimeout: durationOf(mesh.connectTimeout),
    circuitBreakers: unlimitedCircuitBreakers(),
    filters: metadataExchangeFilters(proxy),
  })
  const http: HttpOptions = plain
    ? {
        protocol: 'downstream',
        idleTimeoutMs: PASSTHROUGH_IDLE_MS,
        preservesCase: preservesCase('Unsupported', proxy, push),
      }
    : { protocol: 'http1', autoSni: !tls.sni, autoSan: !tls.insecureSkipVerify }
  if (!plain) {
    cluster.transportSocket =
      explicitTls(tls, {
        mesh,
        http2: false,
        sni: '',
        subjectAltNames: [],
        external: false,
        router: false,
        selecting: false,
        secrets: ownSources(proxy),
      })?.socket ?? undefined
  }
  applyConnectionPool(cluster, http, undefined, mesh)
  writeHttpOptions(cluster, http)
  return cluster
}
