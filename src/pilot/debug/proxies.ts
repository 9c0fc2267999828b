// Debug pages about connected proxies: who they are, what they watch, whether they have what they were sent.
import type { JsonValue } from '@bufbuild/protobuf'
import type { WatchedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import { localityText } from '../model/service.ts'
import type { Client } from '../push/discovery-server.ts'

/** The client a `proxyID` names: connection id, `pod.namespace`, a pod name that is unique, or any part of a connection id. */
export function findProxy(clients: Iterable<Client>, proxyId: string): Client | undefined {
  let byName: Client | undefined
  let byPart: Client | undefined
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
    if (byPart === undefined && connection.id.includes(proxyId)) byPart = client
  }
  if (byId) return byId
  return count === 0 ? byPart : count === 1 ? byName : undefined
}

/** `/debug/connections`. */
export function connections(clients: Iterable<Client>): JsonValue {
  const list = [...clients].map((client) => connectionOf(client))
  return { totalClients: list.length, clients: list }
}

function connectionOf({ connection }: Client): { [field: string]: JsonValue } {
  return {
    connectionId: connection.id,
    connectedAt: new Date(connection.connectedMs).toISOString(),
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

function syncOf(watched: WatchedResource): JsonValue {
  return {
    sent: watched.nonceSent,
    acked: watched.nonceAcked,
    sentTime: watched.lastSentMs > 0 ? new Date(watched.lastSentMs).toISOString() : '',
    lastError: watched.lastError ?? '',
  }
}
