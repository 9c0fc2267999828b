// MeshConfig with Istio's defaults applied: what the control plane reads; nothing past here sees an unset default.
import { errorText, ok, type Result } from '../base/errors.ts'
import { type MeshConfigSpec, meshConfig, type ProxyConfigSpec, proxyConfig } from './resources/mesh-config.ts'
import { isRecord, Problems } from './schema.ts'
import { validateLocalityLb } from './validate/destination-rule.ts'

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

function merge(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...base }
  for (const key of Object.keys(over)) {
    const mine = merged[key]
    const theirs = over[key]
    merged[key] = isRecord(mine) && isRecord(theirs) ? merge(mine, theirs) : theirs
  }
  return merged
}

/**
 * Parses a MeshConfig (YAML or JSON already read; null or undefined for none) and lays it over Istio's defaults:
 * messages merge field by field, lists and scalars replace, `extensionProviders` merge by name.
 */
export function parseMeshConfig(input: unknown): Result<MeshConfig> {
  const problems = new Problems()
  const spec = meshConfig.parse(input ?? {}, '', problems) ?? {}
  checkLogFormat(spec, problems)
  if (spec.localityLbSetting) validateLocalityLb(spec.localityLbSetting, 'localityLbSetting', problems)
  if (problems.failed) return { ok: false, problems: problems.list }
  const own = spec.extensionProviders ?? []
  const extensionProviders = [...own, ...DEFAULT_PROVIDERS.filter((d) => !own.some((p) => p.name === d.name))]
  const merged = merge(DEFAULTS, {
    ...spec,
    extensionProviders,
    defaultConfig: merge(PROXY_DEFAULTS, spec.defaultConfig ?? {}),
  })
  return ok(merged as unknown as MeshConfig)
}

/** Lays the ProxyConfig of one proxy (as its node says it) over the mesh's: messages merge field by field. */
export function parseProxyConfig(input: unknown, base: ProxyConfig): Result<ProxyConfig> {
  const problems = new Problems()
  const spec = proxyConfig.parse(input ?? {}, '', problems) ?? {}
  if (problems.failed) return { ok: false, problems: problems.list }
  return ok(merge(base, spec) as unknown as ProxyConfig)
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
  const parsed = parseMeshConfig({})
  if (!parsed.ok) throw new Error('the default MeshConfig does not parse')
  return parsed.value
}
