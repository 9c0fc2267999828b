// Debug pages about connected proxies: who they are, what they were sent, what they would be sent now.
import { create, type JsonValue, toJson } from '@bufbuild/protobuf'
import { anyPack, timestampFromMs } from '@bufbuild/protobuf/wkt'
import { ConfigDumpSchema } from '../../api/gen/envoy/admin/v3/config_dump_pb.js'
import {
  ClustersConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
} from '../../api/gen/envoy/admin/v3/config_dump_shared_pb.js'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../api/gen/envoy/config/route/v3/route_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import type { WatchedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import { generateClusters } from '../cds/generate.ts'
import { generateEndpoints } from '../eds/generate.ts'
import { generateListeners } from '../lds/index.ts'
import type { PushContext } from '../model/push-context.ts'
import { localityText } from '../model/service.ts'
import type { Client } from '../push/discovery-server.ts'
import { generateRoutes } from '../rds/index.ts'

/** The client a `proxyID` names: connection id, `pod.namespace`, or a pod name that is unique. */
export function findProxy(clients: Iterable<Client>, proxyId: string): Client | undefined {
  let byName: Client | undefined
  let byId: Client | undefined
  let count = 0
  for (const client of clients) {
    const { proxy, connection } = client
    if (connection.id === proxyId || connection.node.id === proxyId) return client
    // Of several streams of one pod the newest is the living one.
    if (`${proxy.name}.${proxy.namespace}` === proxyId) byId = client
    if (proxy.name === proxyId) {
      byName = client
      count++
    }
  }
  return byId ?? (count === 1 ? byName : undefined)
}

/** `/debug/adsz`. */
export function adsz(clients: Iterable<Client>): JsonValue {
  const list: JsonValue[] = []
  for (const { connection, proxy } of clients) {
    const watches: { [type: string]: JsonValue } = {}
    for (const type of connection.watchedTypes()) watches[type] = [...(connection.watched(type)?.names ?? [])].sort()
    list.push({
      connectionId: connection.id,
      connectedAt: new Date(connection.connectedMs).toISOString(),
      address: connection.peer.address,
      labels: { ...proxy.labels },
      metadata: { ...proxy.metadata },
      locality: localityText(proxy.locality),
      watches,
    })
  }
  return { totalClients: list.length, clients: list }
}

const SYNC_FIELDS = [
  ['cluster', CDS_TYPE],
  ['listener', LDS_TYPE],
  ['route', RDS_TYPE],
  ['endpoint', EDS_TYPE],
  ['extensionconfig', ECDS_TYPE],
] as const

/** `/debug/syncz`: the nonces sent and acknowledged for each type. */
export function syncz(clients: Iterable<Client>, namespace: string | null): JsonValue {
  const out: JsonValue[] = []
  for (const { connection, proxy } of clients) {
    if (namespace !== null && proxy.namespace !== namespace) continue
    const entry: { [field: string]: JsonValue } = {
      cluster_id: proxy.clusterId,
      proxy: `${proxy.name}.${proxy.namespace}`,
      proxy_type: proxy.type,
      proxy_version: proxy.istioVersion,
      istio_version: proxy.istioVersion,
    }
    for (const [field, type] of SYNC_FIELDS) {
      const watched = connection.watched(type)
      if (!watched) continue
      entry[`${field}_sent`] = watched.nonceSent
      entry[`${field}_acked`] = watched.nonceAcked
    }
    const resources: { [type: string]: JsonValue } = {}
    for (const type of connection.watchedTypes()) {
      const watched = connection.watched(type)
      if (watched) resources[type] = syncOf(watched)
    }
    out.push({ ...entry, resources })
  }
  return out
}

function syncOf(watched: WatchedResource): JsonValue {
  return {
    sent: watched.nonceSent,
    acked: watched.nonceAcked,
    sentTime: watched.lastSentMs > 0 ? new Date(watched.lastSentMs).toISOString() : '',
    lastError: watched.lastError ?? '',
  }
}

/** `/debug/edsz?proxyID=`: the assignments of the clusters that the proxy watches. */
export function edsz(client: Client, push: PushContext): JsonValue {
  return toJson(EndpointsConfigDumpSchema, endpointsDump(client, push), { registry: typeRegistry })
}

function endpointsDump(client: Client, push: PushContext) {
  const names = [...(client.connection.watched(EDS_TYPE)?.names ?? [])].sort()
  const assignments = generateEndpoints(client.proxy, push, names)
  return create(EndpointsConfigDumpSchema, {
    dynamicEndpointConfigs: assignments.map((a) => ({
      versionInfo: push.version,
      endpointConfig: anyPack(ClusterLoadAssignmentSchema, a),
    })),
  })
}

/** `/debug/config_dump?proxyID=`: what the proxy would be sent now, in the form of Envoy's config_dump. */
export function configDump(client: Client, push: PushContext, includeEds: boolean): JsonValue {
  const { proxy, connection } = client
  const versionInfo = push.version
  const lastUpdated = timestampFromMs(connection.watched(CDS_TYPE)?.lastSentMs ?? connection.connectedMs)
  const clusters = create(ClustersConfigDumpSchema, {
    versionInfo,
    dynamicActiveClusters: generateClusters(proxy, push).map((c) => ({
      versionInfo,
      cluster: anyPack(ClusterSchema, c),
      lastUpdated,
    })),
  })
  const listeners = create(ListenersConfigDumpSchema, {
    versionInfo,
    dynamicListeners: generateListeners(proxy, push).map((l) => ({
      name: l.name,
      activeState: { versionInfo, listener: anyPack(ListenerSchema, l), lastUpdated },
    })),
  })
  const names = connection.watched(RDS_TYPE)?.names ?? new Set<string>()
  const routes = create(RoutesConfigDumpSchema, {
    dynamicRouteConfigs: generateRoutes(proxy, push, names).map((r) => ({
      versionInfo,
      routeConfig: anyPack(RouteConfigurationSchema, r),
      lastUpdated,
    })),
  })
  const dumps = [
    anyPack(ClustersConfigDumpSchema, clusters),
    ...(includeEds ? [anyPack(EndpointsConfigDumpSchema, endpointsDump(client, push))] : []),
    anyPack(ListenersConfigDumpSchema, listeners),
    anyPack(RoutesConfigDumpSchema, routes),
  ]
  return toJson(ConfigDumpSchema, create(ConfigDumpSchema, { configs: dumps }), { registry: typeRegistry })
}
