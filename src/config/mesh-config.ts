// MeshConfig with Istio's defaults applied: what the control plane reads; nothing past here sees an unset default.
import { errorText, ok, type Problem, type Result } from '../base/errors.ts'
import {
  type ExtensionProvider,
  type MeshConfigSpec,
  meshConfig,
  type ProxyConfigSpec,
  proxyConfig,
} from './resources/mesh-config.ts'
import { isRecord, Problems } from './schema.ts'
import { validateMeshConfig } from './validate/mesh-config.ts'

/** Fields that always have a value, with Istio's default (durations in milliseconds). */
const DEFAULTS = {
  proxyListenPort: 15001,
  proxyInboundListenPort: 15006,
  proxyHttpPort: 0,
  connectTimeout: 10_000,
  protocolDetectionTimeout: 0,
  ingressClass: 'istio',
  ingressService: 'istio-ingressgateway',
  ingressControllerMode: 'STRICT',
  enableTracing: true,
  accessLogFile: '',
  accessLogFormat: '',
  accessLogEncoding: 'TEXT',
  enableEnvoyAccessLogService: false,
  disableEnvoyListenerLog: false,
  enableAutoMtls: true,
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  defaultServiceExportTo: ['*'],
  defaultVirtualServiceExportTo: ['*'],
  defaultDestinationRuleExportTo: ['*'],
  rootNamespace: 'istio-system',
  dnsRefreshRate: 60_000,
  h2UpgradePolicy: 'DO_NOT_UPGRADE',
  inboundClusterStatName: '',
  outboundClusterStatName: '',
  enablePrometheusMerge: true,
  outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
  inboundTrafficPolicy: { mode: 'PASSTHROUGH' },
  localityLbSetting: { enabled: true },
  discoverySelectors: [],
  defaultProviders: {},
} as const satisfies MeshConfigSpec

/** Providers every Istio installation knows by name; a mesh's own entry of the same name replaces one. */
const DEFAULT_PROVIDERS = [
  { name: 'prometheus', prometheus: {} },
  { name: 'stackdriver', stackdriver: {} },
  { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } },
] as const satisfies MeshConfigSpec['extensionProviders']

/** Defaults of ProxyConfig: what an agent and injection use when neither mesh nor pod says otherwise. */
const PROXY_DEFAULTS = {
  configPath: './etc/istio/proxy',
  binaryPath: '/usr/local/bin/envoy',
  serviceCluster: 'istio-proxy',
  drainDuration: 45_000,
  terminationDrainDuration: 5_000,
  proxyAdminPort: 15000,
  discoveryAddress: 'istiod.istio-system.svc:15012',
  statNameLength: 189,
  statusPort: 15020,
  controlPlaneAuthPolicy: 'MUTUAL_TLS',
} as const satisfies ProxyConfigSpec

type WithDefaults<Spec, Defaults> = Omit<Spec, keyof Defaults> & {
  readonly [K in keyof Defaults & keyof Spec]-?: NonNullable<Spec[K]>
}

export type ProxyConfig = WithDefaults<ProxyConfigSpec, typeof PROXY_DEFAULTS>
export type MeshConfig = WithDefaults<
  MeshConfigSpec,
  typeof DEFAULTS & { defaultConfig: unknown; extensionProviders: unknown }
> & { readonly defaultConfig: ProxyConfig }

const DEFAULT: MeshConfig = {
  ...DEFAULTS,
  defaultConfig: PROXY_DEFAULTS,
  extensionProviders: DEFAULT_PROVIDERS,
}

/** A MeshConfig, and what is to be said of it that does not keep it from being used. */
export type ParsedMeshConfig = Result<MeshConfig> & { readonly warnings: readonly Problem[] }

/**
 * Parses a MeshConfig (YAML or JSON already read; null or undefined for none) and lays it over `base`, as istiod does: a
 * field replaces the whole field, except that ProxyConfig is laid over field by field, `defaultProviders` by their kinds
 * and `extensionProviders` by name. What is not known is left out with a warning: a mesh of another version of Istio
 * may say more than we read.
 */
export function parseMeshConfig(input: unknown, base: MeshConfig = DEFAULT): ParsedMeshConfig {
  const problems = new Problems(true)
  const spec = meshConfig.parse(input ?? {}, '', problems) ?? {}
  checkLogFormat(spec, problems)
  const merged: MeshConfig = {
    ...base,
    ...spec,
    outboundTrafficPolicy: spec.outboundTrafficPolicy
      ? { mode: 'REGISTRY_ONLY', ...spec.outboundTrafficPolicy }
      : base.outboundTrafficPolicy,
    inboundTrafficPolicy: spec.inboundTrafficPolicy
      ? { mode: 'PASSTHROUGH', ...spec.inboundTrafficPolicy }
      : base.inboundTrafficPolicy,
    trustDomainAliases: [...new Set([...base.trustDomainAliases, ...(spec.trustDomainAliases ?? [])])].sort(),
    defaultProviders: { ...base.defaultProviders, ...spec.defaultProviders },
    extensionProviders: mergeProviders(base.extensionProviders, spec.extensionProviders ?? []),
    defaultConfig: mergeProxyConfig(base.defaultConfig, spec.defaultConfig ?? {}),
  }
  validateMeshConfig(merged, problems)
  const warnings = problems.list.filter(({ level }) => level === 'warning')
  if (problems.failed) return { ok: false, problems: problems.list, warnings }
  return { ...ok(merged), warnings }
}

/** Lays the ProxyConfig of one proxy (as its node says it) over another: istiod's defaults when left out. */
export function parseProxyConfig(input: unknown, base: ProxyConfig = PROXY_DEFAULTS): Result<ProxyConfig> {
  const problems = new Problems(true)
  const spec = proxyConfig.parse(input ?? {}, '', problems) ?? {}
  if (problems.failed) return { ok: false, problems: problems.list }
  return ok(mergeProxyConfig(base, spec))
}

/** A MeshConfig in protobuf JSON. */
export function meshConfigJson(mesh: MeshConfig): unknown {
  return meshConfig.json!(mesh)
}

/** A ProxyConfig in protobuf JSON, without what are Istio's defaults. */
export function proxyConfigJson(config: ProxyConfig): Readonly<Record<string, unknown>> {
  const defaults: Readonly<Record<string, unknown>> = PROXY_DEFAULTS
  const own = Object.entries(config).filter(([key, value]) => value !== defaults[key] && value !== '')
  return proxyConfig.json!(Object.fromEntries(own)) as Readonly<Record<string, unknown>>
}

function mergeProviders(base: readonly ExtensionProvider[], over: readonly ExtensionProvider[]): ExtensionProvider[] {
  const merged = new Map(base.map((provider) => [provider.name, provider]))
  for (const provider of over) merged.set(provider.name, provider)
  return [...merged.values()]
}

/** Field by field; `proxyMetadata` adds up, and what `proxyHeaders` leaves out of these stays as it was. */
const KEPT_HEADERS = ['forwardedClientCert', 'requestId', 'attemptCount', 'server', 'envoyDebugHeaders'] as const

function mergeProxyConfig(base: ProxyConfig, over: ProxyConfigSpec): ProxyConfig {
  const merged: { -readonly [K in keyof ProxyConfig]: ProxyConfig[K] } = { ...base, ...over }
  // The two are one choice.
  if (over.tracingServiceName) merged.serviceCluster = ''
  if (base.proxyMetadata && over.proxyMetadata) {
    merged.proxyMetadata = { ...base.proxyMetadata, ...over.proxyMetadata }
  }
  if (base.proxyHeaders && over.proxyHeaders) {
    const kept = KEPT_HEADERS.flatMap((name) => {
      const value = over.proxyHeaders![name]
      const unset = value === undefined || value === 'UNDEFINED'
      return unset && base.proxyHeaders![name] !== undefined ? [[name, base.proxyHeaders![name]]] : []
    })
    merged.proxyHeaders = { ...over.proxyHeaders, ...Object.fromEntries(kept) }
  }
  return merged
}

/** With JSON encoding the format is a JSON object of strings; a typo would otherwise show only when a proxy refuses it. */
function checkLogFormat({ accessLogEncoding, accessLogFormat }: MeshConfigSpec, problems: Problems): void {
  if (accessLogEncoding !== 'JSON' || !accessLogFormat) return
  try {
    if (isRecord(JSON.parse(accessLogFormat))) return
    problems.error('accessLogFormat', 'must be a JSON object when accessLogEncoding is JSON')
  } catch (error) {
    problems.error(
      'accessLogFormat',
      `is not JSON: ${errorText(error)}`,
      'write one object, or set accessLogEncoding to TEXT',
    )
  }
}

/** Istio's defaults alone. */
export function defaultMeshConfig(): MeshConfig {
  return DEFAULT
}
