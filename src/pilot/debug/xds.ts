// The debug pages over xDS, as istioctl asks for them: each request is answered once, nothing is watched.
import { create, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  type ClientConfig_GenericXdsConfig,
  ClientConfig_GenericXdsConfigSchema,
  ClientConfigSchema,
  ConfigStatus,
} from '../../api/gen/envoy/service/status/v3/csds_pb.js'
import { GRPC_STATUS, GrpcStatusError } from '../../base/grpc-status.ts'
import type { OneTimeAnswer, WatchedResource, XdsConnection } from '../../xds/server-types.ts'
import type { Client } from '../push/client.ts'
import { mayRead, provedNamespace, type Reach, reachOf } from './access.ts'
import { configDump } from './config-dump.ts'
import { answerText, type DebugSources, debugPage } from './pages.ts'
import { findProxy } from './proxies.ts'

/** Any page by its name and query (`syncz`, `edsz?proxyID=a.default`): one resource, the page itself. */
const DEBUG_TYPE = 'istio.io/debug'
/** A ClientConfig of every proxy in reach. */
const SYNC_TYPE = 'istio.io/debug/syncz'
/** The sections of one proxy's config_dump, the resource's name being its proxyID. */
const CONFIG_DUMP_TYPE = 'istio.io/debug/config_dump'

const CLIENT_CONFIG_TYPE = `type.googleapis.com/${ClientConfigSchema.typeName}`

export interface DebugXdsOptions {
  readonly sources: () => DebugSources
  readonly systemNamespace: () => string
  /** ControlPlane.identifier of sync answers, which name the instance that gave them. */
  readonly controlPlane: string
}

/**
 * Answers debug types; null: another type. Throws GrpcStatusError, as istiod: UNAUTHENTICATED for callers that proved
 * nothing (the plaintext port), PERMISSION_DENIED for pages out of a caller's reach.
 */
export function answerDebug(
  connection: XdsConnection,
  typeUrl: string,
  names: readonly string[],
  options: DebugXdsOptions,
): OneTimeAnswer | null {
  if (typeUrl !== DEBUG_TYPE && !typeUrl.startsWith(`${DEBUG_TYPE}/`)) return null
  const namespace = provedNamespace(connection.peer.identities)
  if (namespace === null) {
    throw new GrpcStatusError(
      GRPC_STATUS.UNAUTHENTICATED,
      'authentication required: debug pages are served on the TLS port, to callers with a certificate or a token',
    )
  }
  const reach = reachOf(namespace, options.systemNamespace())
  const sources = options.sources()
  const version = sources.discovery.pushContext?.version ?? ''
  if (typeUrl === SYNC_TYPE) {
    return { resources: syncStatus(sources, reach), version, controlPlane: options.controlPlane }
  }
  if (typeUrl === CONFIG_DUMP_TYPE) return { resources: proxyDump(names, sources, reach), version }
  if (typeUrl !== DEBUG_TYPE) return { resources: [], version }
  return { resources: [page(names, sources, reach, connection.peer.identities)], version }
}

function page(names: readonly string[], sources: DebugSources, reach: Reach, identities: readonly string[]) {
  const [name] = names
  if (name === undefined || names.length > 1) {
    throw new GrpcStatusError(GRPC_STATUS.INVALID_ARGUMENT, 'exactly one debug request is required')
  }
  const mark = name.indexOf('?')
  const path = mark < 0 ? name : name.slice(0, mark)
  const query = new URLSearchParams(mark < 0 ? '' : name.slice(mark + 1))
  if (!mayRead(path, reach)) {
    const denied = `the debug info is not available for current identity: "${identities.join(', ')}"`
    throw new GrpcStatusError(GRPC_STATUS.PERMISSION_DENIED, denied)
  }
  const answer = debugPage(path, query, sources, reach)
  const body = answer === null ? '404 page not found\n' : answerText(answer, query).body
  return { name, typeUrl: DEBUG_TYPE, body: Buffer.from(body) }
}

function proxyDump(names: readonly string[], sources: DebugSources, reach: Reach): OneTimeAnswer['resources'] {
  const { discovery, generator } = sources
  const push = discovery.pushContext
  if (names.length !== 1 || !push) return []
  const client = findProxy(discovery.connected(), names[0]!)
  if (!client || (reach !== null && client.proxy.namespace !== reach)) return []
  const { configs } = configDump({ client, push, generator }, false)
  return configs.map(({ typeUrl, value }) => ({ name: '', typeUrl, body: value }))
}

function syncStatus({ discovery }: DebugSources, reach: Reach): OneTimeAnswer['resources'] {
  return [...discovery.connected()]
    .filter((client) => isProxy(client) && (reach === null || client.proxy.namespace === reach))
    .map((client) => ({
      name: `${client.proxy.name}.${client.proxy.namespace}`,
      typeUrl: CLIENT_CONFIG_TYPE,
      body: toBinary(ClientConfigSchema, clientConfig(client)),
    }))
}

/** Proxies tell their ProxyConfig; who only asks for debug pages does not. */
function isProxy({ proxy }: Client): boolean {
  return proxy.metadata.PROXY_CONFIG !== undefined
}

function clientConfig({ proxy, connection }: Client) {
  const metadata = {
    ...(proxy.clusterId && { CLUSTER_ID: proxy.clusterId }),
    ...(proxy.istioVersion && { ISTIO_VERSION: proxy.istioVersion }),
    ...(proxy.namespace && { NAMESPACE: proxy.namespace }),
  }
  const types = [...connection.watchedTypes()].sort()
  return create(ClientConfigSchema, {
    node: { id: `${proxy.name}.${proxy.namespace}`, metadata },
    genericXdsConfigs: types.map((typeUrl) => xdsConfig(connection.watched(typeUrl)!)),
  })
}

function xdsConfig(watched: WatchedResource): ClientConfig_GenericXdsConfig {
  const lastUpdated = timestampFromMs(watched.lastSentMs)
  return create(ClientConfig_GenericXdsConfigSchema, {
    typeUrl: watched.typeUrl,
    configStatus: statusOf(watched),
    lastUpdated,
    ...(watched.lastError === null
      ? {}
      : { errorState: { lastUpdateAttempt: lastUpdated, details: watched.lastError } }),
  })
}

function statusOf({ lastError, nonceSent, nonceAcked }: WatchedResource): ConfigStatus {
  if (lastError !== null) return ConfigStatus.ERROR
  if (nonceSent === '') return ConfigStatus.NOT_SENT
  return nonceAcked === nonceSent ? ConfigStatus.SYNCED : ConfigStatus.STALE
}
