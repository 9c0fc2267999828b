// Answers to sync questions as istioctl's `proxy-status` and `version` print them.
import { createRegistry, fromBinary, type JsonObject, type JsonValue, toJson } from '@bufbuild/protobuf'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import { type DiscoveryResponse, DiscoveryResponseSchema } from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import {
  type ClientConfig_GenericXdsConfig,
  ClientConfigSchema,
  ConfigStatus,
} from '../api/gen/envoy/service/status/v3/csds_pb.js'
import { UserError } from '../base/errors.ts'
import { tabulate } from './tab-writer.ts'

/** One proxy and how far it has followed the control plane. */
export interface ProxySync {
  /** `pod.namespace`. */
  readonly name: string
  readonly namespace: string
  readonly cluster: string
  readonly version: string
  /** Type URL to state; types that it never asked for are absent. */
  readonly types: ReadonlyMap<string, TypeSync>
}

interface TypeSync {
  readonly status: ConfigStatus
  /** Milliseconds since the epoch; null: never. */
  readonly sentMs: number | null
}

/** Short names of types, in the order of the table. */
const ORDER = ['CDS', 'LDS', 'EDS', 'RDS'] as const
const SHORT_NAMES: Readonly<Record<string, string>> = {
  'type.googleapis.com/envoy.config.cluster.v3.Cluster': 'CDS',
  'type.googleapis.com/envoy.config.listener.v3.Listener': 'LDS',
  'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment': 'EDS',
  'type.googleapis.com/envoy.config.route.v3.RouteConfiguration': 'RDS',
  'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig': 'ECDS',
  'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret': 'SDS',
  'type.googleapis.com/istio.networking.nds.v1.NameTable': 'NDS',
  'type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig': 'PCDS',
}
/** Columns of the verbose table, whoever watches what. */
const ALWAYS = Object.keys(SHORT_NAMES).filter((url) => [...ORDER, 'ECDS'].includes(SHORT_NAMES[url]!))

/** The proxies of an answer, sorted by name. Throws UserError when it is no sync answer. */
export function proxiesOf({ resources }: DiscoveryResponse): ProxySync[] {
  const proxies = resources.map(({ typeUrl, value }) => {
    if (!typeUrl.endsWith(`/${ClientConfigSchema.typeName}`))
      throw new UserError(`unexpected resource type "${typeUrl}"`)
    const { node, genericXdsConfigs } = fromBinary(ClientConfigSchema, value)
    const { CLUSTER_ID = '', NAMESPACE = '', ISTIO_VERSION = '' } = (node?.metadata ?? {}) as Record<string, string>
    return {
      name: node?.id ?? '',
      namespace: NAMESPACE,
      cluster: CLUSTER_ID,
      version: ISTIO_VERSION,
      types: new Map(genericXdsConfigs.map((config) => [config.typeUrl, syncOf(config)])),
    }
  })
  return proxies.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

function syncOf({ configStatus, lastUpdated }: ClientConfig_GenericXdsConfig): TypeSync {
  return { status: configStatus, sentMs: lastUpdated ? timestampMs(lastUpdated) : null }
}

/** `NAME CLUSTER ISTIOD VERSION SUBSCRIBED TYPES`. */
export function statusTable(proxies: readonly ProxySync[], istiod: string): string {
  const urls = [...new Set(proxies.flatMap(({ types }) => [...types.keys()]))].sort(compareTypes)
  const rows = proxies.map(({ name, cluster, version, types }) => {
    const shown = urls.filter((url) => types.has(url) && types.get(url)!.status !== ConfigStatus.UNKNOWN).map(shortName)
    return [name, cluster, istiod, version, shown.length === 0 ? '0' : `${shown.length} (${shown.join(',')})`]
  })
  return tabulate([['NAME', 'CLUSTER', 'ISTIOD', 'VERSION', 'SUBSCRIBED TYPES'], ...rows], 5)
}

/** One column for each type, sorted by type. */
export function verboseTable(proxies: readonly ProxySync[], istiod: string, nowMs: number): string {
  const urls = [...new Set([...ALWAYS, ...proxies.flatMap(({ types }) => [...types.keys()])])].sort()
  const rows = proxies.map(({ name, cluster, version, types }) => [
    name,
    cluster,
    ...urls.map((url) => syncText(types.get(url), nowMs)),
    istiod,
    version,
  ])
  return tabulate([['NAME', 'CLUSTER', ...urls.map(shortName), 'ISTIOD', 'VERSION'], ...rows], 5)
}

function shortName(url: string): string {
  return SHORT_NAMES[url] ?? url
}

function compareTypes(a: string, b: string): number {
  const rank = (url: string) => {
    const index = (ORDER as readonly string[]).indexOf(shortName(url))
    return index < 0 ? ORDER.length : index
  }
  return rank(a) - rank(b) || (a < b ? -1 : 1)
}

/** `SYNCED (12s)`, `STALE (3m)`, `ERROR (1h)`, `NOT SENT`, or IGNORED for a type the proxy never asked for. */
function syncText(sync: TypeSync | undefined, nowMs: number): string {
  if (!sync || sync.status === ConfigStatus.UNKNOWN) return 'IGNORED'
  if (sync.status === ConfigStatus.NOT_SENT) return 'NOT SENT'
  const status = ConfigStatus[sync.status] ?? String(sync.status)
  return sync.sentMs === null ? status : `${status} (${ageText(nowMs - sync.sentMs)})`
}

/** Kubernetes' short durations: 12s, 3m20s, 15m, 4h. */
function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`
  if (minutes < 180) return `${minutes}m`
  const hours = Math.floor(minutes / 60)
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`
  if (hours < 48) return `${hours}h`
  const days = Math.floor(hours / 24)
  if (days < 8) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`
  if (days < 365 * 2) return `${days}d`
  const years = Math.floor(days / 365)
  if (years < 8) return days % 365 === 0 ? `${years}y` : `${years}y${days % 365}d`
  return `${years}y`
}

/** `1.32.0 (2 proxies), 1.33.0 (1 proxies)`, or none. */
export function versionsText(proxies: readonly ProxySync[]): string {
  const counts = new Map<string, number>()
  for (const { version } of proxies) counts.set(version, (counts.get(version) ?? 0) + 1)
  const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
  return sorted.map(([version, count]) => `${version} (${count} proxies)`).join(', ') || 'none'
}

/** The answer as protobuf JSON; of one namespace only when it is given. */
export function syncJson(answer: DiscoveryResponse, namespace: string | undefined): JsonValue {
  const names = new Set(proxiesOf(answer).flatMap((one) => (one.namespace === namespace ? [one.name] : [])))
  const resources =
    namespace === undefined
      ? answer.resources
      : answer.resources.filter(({ value }) => names.has(fromBinary(ClientConfigSchema, value).node?.id ?? ''))
  const registry = createRegistry(ClientConfigSchema)
  const json = toJson(DiscoveryResponseSchema, { ...answer, resources }, { registry }) as { resources?: JsonObject[] }
  return { ...json, resources: (json.resources ?? []).map((one) => ({ '@type': one['@type']!, ...one })) }
}
