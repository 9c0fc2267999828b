// MeshConfig with every default written down: contract §3.
import { ConfigError } from '../../base/errors.ts'

export type OutboundMode = 'ALLOW_ANY' | 'REGISTRY_ONLY' | 'ALLOW_ANY_DYNAMIC_DNS'
export type PathNormalization = 'DEFAULT' | 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'

/** The parts of MeshConfig that generators read. Durations are Envoy duration texts (`10s`). */
export interface MeshConfig {
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAliases: readonly string[]
  readonly enableAutoMtls: boolean
  readonly enableTracing: boolean
  readonly accessLogFile: string
  readonly accessLogFormat: string
  readonly accessLogEncoding: 'TEXT' | 'JSON'
  readonly disableEnvoyListenerLog: boolean
  readonly connectTimeout: string
  readonly dnsRefreshRate: string
  readonly protocolDetectionTimeout: string
  readonly proxyListenPort: number
  readonly proxyInboundListenPort: number
  readonly proxyHttpPort: number
  readonly outboundTrafficPolicy: { readonly mode: OutboundMode }
  readonly inboundTrafficPolicy: { readonly mode: 'PASSTHROUGH' | 'LOCALHOST' }
  readonly localityLbSetting: JsonObject | null
  readonly h2UpgradePolicy: 'DO_NOT_UPGRADE' | 'UPGRADE'
  readonly tcpKeepalive: JsonObject | null
  readonly pathNormalization: { readonly normalization: PathNormalization }
  readonly defaultHttpRetryPolicy: JsonObject | null
  readonly defaultInboundHttpRetryPolicy: JsonObject | null
  readonly defaultTrafficPolicy: JsonObject | null
  readonly defaultServiceExportTo: readonly string[]
  readonly defaultVirtualServiceExportTo: readonly string[]
  readonly defaultDestinationRuleExportTo: readonly string[]
  readonly ingressClass: string
  readonly ingressService: string
  readonly ingressSelector: string
  readonly ingressControllerMode: 'STRICT' | 'DEFAULT' | 'OFF'
  readonly meshMTLS: JsonObject | null
  readonly tlsDefaults: JsonObject | null
  readonly inboundClusterStatName: string
  readonly outboundClusterStatName: string
  readonly enablePrometheusMerge: boolean
  readonly defaultProviders: {
    readonly metrics: readonly string[]
    readonly tracing: readonly string[]
    readonly accessLogging: readonly string[]
  }
  readonly extensionProviders: readonly JsonObject[]
  readonly serviceSettings: readonly JsonObject[]
  readonly discoverySelectors: readonly JsonObject[]
  readonly defaultConfig: JsonObject
}

type JsonObject = { readonly [key: string]: unknown }

export const DEFAULT_MESH_CONFIG: MeshConfig = {
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  enableAutoMtls: true,
  enableTracing: true,
  accessLogFile: '',
  accessLogFormat: '',
  accessLogEncoding: 'TEXT',
  disableEnvoyListenerLog: false,
  connectTimeout: '10s',
  dnsRefreshRate: '60s',
  protocolDetectionTimeout: '0s',
  proxyListenPort: 15001,
  proxyInboundListenPort: 15006,
  proxyHttpPort: 0,
  outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
  inboundTrafficPolicy: { mode: 'PASSTHROUGH' },
  localityLbSetting: { enabled: true },
  h2UpgradePolicy: 'DO_NOT_UPGRADE',
  tcpKeepalive: null,
  pathNormalization: { normalization: 'DEFAULT' },
  defaultHttpRetryPolicy: null,
  defaultInboundHttpRetryPolicy: null,
  defaultTrafficPolicy: null,
  defaultServiceExportTo: ['*'],
  defaultVirtualServiceExportTo: ['*'],
  defaultDestinationRuleExportTo: ['*'],
  ingressClass: 'istio',
  ingressService: 'istio-ingressgateway',
  ingressSelector: 'ingressgateway',
  ingressControllerMode: 'STRICT',
  meshMTLS: null,
  tlsDefaults: null,
  inboundClusterStatName: '',
  outboundClusterStatName: '',
  enablePrometheusMerge: true,
  defaultProviders: { metrics: [], tracing: [], accessLogging: [] },
  extensionProviders: [
    { name: 'prometheus', prometheus: {} },
    { name: 'stackdriver', stackdriver: {} },
    { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } },
  ],
  serviceSettings: [],
  discoverySelectors: [],
  defaultConfig: {},
}

/**
 * Lays a MeshConfig document over the defaults. Throws ConfigError naming the field for a value of the wrong type.
 * Fields we do not translate are returned in `untranslated`, for the log.
 */
export function parseMeshConfig(document: unknown): { mesh: MeshConfig; untranslated: string[] } {
  if (document === null || document === undefined) return { mesh: DEFAULT_MESH_CONFIG, untranslated: [] }
  if (typeof document !== 'object' || Array.isArray(document)) throw new ConfigError('mesh', 'must be a mapping')
  const mesh: Record<string, unknown> = { ...DEFAULT_MESH_CONFIG }
  const untranslated: string[] = []
  for (const [key, value] of Object.entries(document)) {
    if (!(key in mesh)) {
      untranslated.push(key)
      continue
    }
    if (value === null || value === undefined) continue
    const standard = DEFAULT_MESH_CONFIG[key as keyof MeshConfig]
    if (standard !== null && (typeof standard !== typeof value || Array.isArray(standard) !== Array.isArray(value))) {
      throw new ConfigError(`mesh.${key}`, `must be ${Array.isArray(standard) ? 'a list' : `a ${typeof standard}`}`)
    }
    // Providers merge by name and nested messages field by field, as istiod lays user settings over its own.
    if (key === 'extensionProviders') mesh[key] = mergeProviders(value as JsonObject[])
    else if (typeof value === 'object' && !Array.isArray(value)) mesh[key] = { ...(standard as object), ...value }
    else mesh[key] = value
  }
  return { mesh: mesh as unknown as MeshConfig, untranslated }
}

function mergeProviders(given: readonly JsonObject[]): JsonObject[] {
  const names = new Set(given.map((p) => p.name))
  return [...DEFAULT_MESH_CONFIG.extensionProviders.filter((p) => !names.has(p.name)), ...given]
}
