// Debug pages about connected proxies: who they are, what they watch, whether they have what they were sent.
import type { JsonValue } from '@bufbuild/protobuf'
import type { WatchedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import type { Locality } from '../model/service.ts'
import type { Client } from '../push/client.ts'
import { goTime } from './service-json.ts'

/** `pod.namespace-7`: as istiod names a connection. The last part counts connections. */
function connectionId({ connection, proxy }: Client): string {
  return `${proxy.name}.${proxy.namespace}${connection.id.slice(connection.id.lastIndexOf('-'))}`
}

/** The client a `proxyID` names: connection id, `pod.namespace`, a pod name that is unique, or any part of a connection id. */
export function findProxy(clients: Iterable<Client>, proxyId: string): Client | undefined {
  let byName: Client | undefined
  let byPart: Client | undefined
  let byId: Client | undefined
  let count = 0
  for (const client of clients) {
    const { proxy, connection } = client
    const id = connectionId(client)
    if (id === proxyId || connection.node.id === proxyId) return client
    // Of several streams of one pod the newest is the living one.
    if (`${proxy.name}.${proxy.namespace}` === proxyId) byId = client
    if (proxy.name === proxyId) {
      byName = client
      count++
    }
    if (byPart === undefined && id.includes(proxyId)) byPart = client
  }
  if (byId) return byId
  return count === 0 ? byPart : count === 1 ? byName : undefined
}

/** `/debug/connections`. */
export function connections(clients: Iterable<Client>): JsonValue {
  const list = [...clients].map((client) => connectionOf(client))
  return { totalClients: list.length, clients: list }
}

function connectionOf(client: Client): { [field: string]: JsonValue } {
  const { connection } = client
  return {
    connectionId: connectionId(client),
    connectedAt: goTime(connection.connectedMs),
    address: connection.peer.address,
  }
}

/** `/debug/adsz`. */
export function adsz(clients: Iterable<Client>): JsonValue {
  const list: JsonValue[] = []
  for (const client of clients) {
    const { connection, proxy } = client
    const watches: { [type: string]: JsonValue } = {}
    for (const type of connection.watchedTypes()) watches[type] = [...(connection.watched(type)?.names ?? [])].sort()
    list.push({
      ...connectionOf(client),
      labels: { ...proxy.labels, ...(proxy.clusterId && { [CLUSTER_LABEL]: proxy.clusterId }) },
      metadata: { ...proxy.metadata },
      locality: localityJson(proxy.locality),
      watches,
    })
  }
  return { totalClients: list.length, clients: list }
}

const CLUSTER_LABEL = 'topology.istio.io/cluster'

function localityJson({ region, zone, subzone }: Locality): JsonValue {
  return { ...(region && { region }), ...(zone && { zone }), ...(subzone && { sub_zone: subzone }) }
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
      istio_version: proxy.istioVersion,
    }
    for (const [field, type] of SYNC_FIELDS) {
      const watched = connection.watched(type)
      if (watched?.nonceSent) entry[`${field}_sent`] = watched.nonceSent
      if (watched?.nonceAcked) entry[`${field}_acked`] = watched.nonceAcked
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

/** Go's zero time. */
const NEVER = '0001-01-01T00:00:00Z'

function syncOf(watched: WatchedResource): JsonValue {
  return {
    ...(watched.nonceSent && { sent: watched.nonceSent }),
    ...(watched.nonceAcked && { acked: watched.nonceAcked }),
    sentTime: watched.lastSentMs > 0 ? goTime(watched.lastSentMs) : NEVER,
    ...(watched.lastError && { lastError: watched.lastError }),
  }
}
