// ProxyConfig (istio.mesh.v1alpha1) as the agent reads it: PROXY_CONFIG, then the pod's annotation over it.
import { parse } from 'yaml'
import { ConfigError, errorText } from '../base/errors.ts'
import { parseReadinessProbe, type ReadinessProbe } from './workload-health.ts'

/** The fields that shape the agent and its bootstrap; durations in milliseconds. */
export interface ProxyConfig {
  readonly configPath: string
  readonly binaryPath: string
  readonly serviceCluster: string
  /** How spans name the service, instead of `serviceCluster`. */
  readonly tracingServiceName?: TracingServiceName
  readonly drainDurationMs: number
  readonly terminationDrainDurationMs: number
  readonly discoveryAddress: string
  readonly proxyAdminPort: number
  readonly statusPort: number
  /** NONE: plaintext to the control plane. MUTUAL_TLS: TLS, and a certificate or token as identity. */
  readonly controlPlaneAuthPolicy: 'NONE' | 'MUTUAL_TLS'
  /** undefined: from the CPU limit. 0: one worker for each CPU. */
  readonly concurrency?: number
  readonly holdApplicationUntilProxyStarts: boolean
  readonly proxyStatsMatcher: {
    readonly prefixes: readonly string[]
    readonly suffixes: readonly string[]
    readonly regexps: readonly string[]
  }
  readonly extraStatTags: readonly string[]
  readonly runtimeValues: Readonly<Record<string, string>>
  readonly proxyMetadata: Readonly<Record<string, string>>
  /** How the workload's health is found out where no kubelet does; null: not at all. */
  readonly readinessProbe: ReadinessProbe | null
  /** The merged configuration as written, for node metadata PROXY_CONFIG. */
  readonly raw: Readonly<Record<string, unknown>>
}

/** Istio's defaults (istio-contract 3), with the units of the API. */
const DEFAULTS = {
  configPath: './etc/istio/proxy',
  binaryPath: '/usr/local/bin/envoy',
  serviceCluster: 'istio-proxy',
  drainDuration: '45s',
  terminationDrainDuration: '5s',
  discoveryAddress: 'istiod.istio-system.svc:15012',
  proxyAdminPort: 15000,
  controlPlaneAuthPolicy: 'MUTUAL_TLS',
  statNameLength: 189,
  statusPort: 15020,
} as const

/**
 * Fields of ProxyConfig that the control plane reads from node metadata, or that nothing reads any more; the agent passes
 * them on in `raw`. Service addresses add clusters and sinks to Istio's bootstrap and are refused until they do here.
 */
const PASSED_ON = new Set([
  ...['statNameLength', 'interceptionMode', 'meshId', 'gatewayTopology'],
  ...['image', 'proxyHeaders', 'tracing', 'connectionSettings'],
  ...['availabilityZone', 'discoveryRefreshDelay', 'sds'],
])
const READ = new Set([
  ...['configPath', 'binaryPath', 'serviceCluster', 'drainDuration', 'terminationDrainDuration', 'discoveryAddress'],
  ...['proxyAdminPort', 'statusPort', 'controlPlaneAuthPolicy', 'concurrency', 'holdApplicationUntilProxyStarts'],
  ...['proxyStatsMatcher', 'extraStatTags', 'runtimeValues', 'proxyMetadata', 'environmentVariables', 'readinessProbe'],
  'tracingServiceName',
])

/** Parses the sources (YAML or JSON texts, later ones win field by field; variables add up). Throws ConfigError naming source and field. */
export function parseProxyConfig(sources: readonly { readonly from: string; readonly text: string }[]): ProxyConfig {
  const raw: Record<string, unknown> = { ...DEFAULTS }
  for (const { from, text } of sources) {
    for (const [key, value] of Object.entries(parseObject(from, text))) {
      if (!READ.has(key) && !PASSED_ON.has(key)) {
        throw new ConfigError(
          `${from}: ${key}`,
          'is not a supported ProxyConfig field; remove it or check its spelling',
        )
      }
      const before = raw[key]
      raw[key] = key === 'proxyMetadata' && isRecord(value) && isRecord(before) ? { ...before, ...value } : value
    }
  }
  return read(raw)
}

function read(raw: Record<string, unknown>): ProxyConfig {
  const matcher = isRecord(raw.proxyStatsMatcher) ? raw.proxyStatsMatcher : {}
  const policy = raw.controlPlaneAuthPolicy
  if (policy !== 'NONE' && policy !== 'MUTUAL_TLS') {
    throw new ConfigError('controlPlaneAuthPolicy', `must be NONE or MUTUAL_TLS, is ${JSON.stringify(policy)}`)
  }
  return {
    configPath: text(raw, 'configPath'),
    binaryPath: text(raw, 'binaryPath'),
    serviceCluster: text(raw, 'serviceCluster'),
    tracingServiceName: tracingServiceName(raw.tracingServiceName),
    drainDurationMs: duration(raw, 'drainDuration'),
    terminationDrainDurationMs: duration(raw, 'terminationDrainDuration'),
    discoveryAddress: text(raw, 'discoveryAddress'),
    proxyAdminPort: port(raw, 'proxyAdminPort'),
    statusPort: port(raw, 'statusPort'),
    controlPlaneAuthPolicy: policy,
    concurrency: raw.concurrency === undefined || raw.concurrency === null ? undefined : count(raw, 'concurrency'),
    holdApplicationUntilProxyStarts: raw.holdApplicationUntilProxyStarts === true,
    proxyStatsMatcher: {
      prefixes: texts(matcher, 'inclusionPrefixes'),
      suffixes: texts(matcher, 'inclusionSuffixes'),
      regexps: texts(matcher, 'inclusionRegexps'),
    },
    extraStatTags: texts(raw, 'extraStatTags'),
    runtimeValues: stringMap(raw, 'runtimeValues'),
    proxyMetadata: stringMap(raw, 'proxyMetadata'),
    readinessProbe: parseReadinessProbe(raw.readinessProbe),
    raw,
  }
}

const TRACING_NAMES = ['APP_LABEL_AND_NAMESPACE', 'CANONICAL_NAME_ONLY', 'CANONICAL_NAME_AND_NAMESPACE'] as const
type TracingServiceName = (typeof TRACING_NAMES)[number]

function tracingServiceName(value: unknown): TracingServiceName | undefined {
  if (value === undefined || value === null) return undefined
  const known = TRACING_NAMES.find((name) => name === value)
  if (known) return known
  throw new ConfigError('tracingServiceName', `must be one of ${TRACING_NAMES.join(', ')}, is ${JSON.stringify(value)}`)
}

function parseObject(from: string, source: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parse(source)
  } catch (error) {
    throw new ConfigError(from, `is neither YAML nor JSON: ${errorText(error).split('\n')[0]}`, { cause: error })
  }
  if (value === null || value === undefined) return {}
  if (!isRecord(value)) throw new ConfigError(from, 'must be a map of ProxyConfig fields')
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(raw: Record<string, unknown>, key: string): string {
  const value = raw[key]
  if (typeof value !== 'string' || value === '')
    throw new ConfigError(key, `must be a non-empty string, is ${JSON.stringify(value)}`)
  return value
}

function texts(raw: Record<string, unknown>, key: string): string[] {
  const value = raw[key] ?? []
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string'))
    throw new ConfigError(key, 'must be a list of strings')
  return value
}

function stringMap(raw: Record<string, unknown>, key: string): Record<string, string> {
  const value = raw[key] ?? {}
  if (!isRecord(value) || !Object.values(value).every((item) => typeof item === 'string')) {
    throw new ConfigError(key, 'must be a map of strings')
  }
  return value as Record<string, string>
}

function count(raw: Record<string, unknown>, key: string): number {
  const value = raw[key]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw new ConfigError(key, `must be a whole number from 0, is ${JSON.stringify(value)}`)
  }
  return value
}

function port(raw: Record<string, unknown>, key: string): number {
  const value = count(raw, key)
  if (value > 65_535) throw new ConfigError(key, `must be a port, is ${value}`)
  return value
}

/** Protobuf JSON durations (`5s`, `0.25s`) and Go's (`1m30s`, `500ms`), which Istio's YAML uses. */
function duration(raw: Record<string, unknown>, key: string): number {
  const value = raw[key]
  const unitMs: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 }
  if (typeof value === 'string' && /^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/.test(value)) {
    let ms = 0
    for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)) ms += Number(amount) * unitMs[unit!]!
    return ms
  }
  throw new ConfigError(key, `must be a duration such as "5s", is ${JSON.stringify(value)}`)
}
