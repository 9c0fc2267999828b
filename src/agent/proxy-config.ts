// ProxyConfig (istio.mesh.v1alpha1) as the agent reads it: PROXY_CONFIG, then the pod's annotation over it.
import { parse } from 'yaml'
import { ConfigError, errorText } from '../base/errors.ts'
import { count, duration, isRecord, port, stringMap, text, texts } from './raw-fields.ts'
import { type RemoteService, readRemoteService, readTracer, type Tracer } from './remote-services.ts'
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
  readonly tracer?: Tracer
  readonly statsdUdpAddress: string
  readonly envoyMetricsService?: RemoteService
  readonly envoyAccessLogService?: RemoteService
  /** Roots that peers are verified by, beside the mesh's. PEM. */
  readonly caCertificatesPem: readonly string[]
  readonly fileFlushIntervalMs: number
  readonly fileFlushMinSizeKb: number
  /** Whether the page of the stats is compressed for who asks for it. */
  readonly statsCompression: boolean
  /** A bootstrap to start the data plane from instead of the agent's; empty: none. */
  readonly customConfigFile: string
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
 * them on in `raw`.
 */
const PASSED_ON = new Set([
  ...['statNameLength', 'interceptionMode', 'meshId', 'gatewayTopology'],
  ...['image', 'proxyHeaders', 'connectionSettings'],
  ...['availabilityZone', 'discoveryRefreshDelay', 'sds'],
])
const READ = new Set([
  ...['configPath', 'binaryPath', 'serviceCluster', 'drainDuration', 'terminationDrainDuration', 'discoveryAddress'],
  ...['proxyAdminPort', 'statusPort', 'controlPlaneAuthPolicy', 'concurrency', 'holdApplicationUntilProxyStarts'],
  ...['proxyStatsMatcher', 'extraStatTags', 'runtimeValues', 'proxyMetadata', 'environmentVariables', 'readinessProbe'],
  ...['tracingServiceName', 'tracing', 'zipkinAddress', 'statsdUdpAddress', 'envoyMetricsService'],
  ...['envoyMetricsServiceAddress', 'envoyAccessLogService', 'caCertificatesPem', 'fileFlushInterval'],
  ...['fileFlushMinSizeKb', 'statsCompression', 'customConfigFile'],
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
    tracer: readTracer(raw),
    statsdUdpAddress: raw.statsdUdpAddress === undefined ? '' : text(raw, 'statsdUdpAddress'),
    envoyMetricsService:
      readRemoteService(raw.envoyMetricsService, 'envoyMetricsService') ??
      readRemoteService(
        raw.envoyMetricsServiceAddress && { address: raw.envoyMetricsServiceAddress },
        'envoyMetricsServiceAddress',
      ),
    envoyAccessLogService: readRemoteService(raw.envoyAccessLogService, 'envoyAccessLogService'),
    caCertificatesPem: texts(raw, 'caCertificatesPem'),
    fileFlushIntervalMs: raw.fileFlushInterval === undefined ? FLUSH_MS : duration(raw, 'fileFlushInterval'),
    fileFlushMinSizeKb: raw.fileFlushMinSizeKb === undefined ? FLUSH_KB : count(raw, 'fileFlushMinSizeKb'),
    statsCompression: raw.statsCompression !== false,
    customConfigFile: raw.customConfigFile === undefined ? '' : text(raw, 'customConfigFile'),
    runtimeValues: stringMap(raw, 'runtimeValues'),
    proxyMetadata: stringMap(raw, 'proxyMetadata'),
    readinessProbe: parseReadinessProbe(raw.readinessProbe),
    raw,
  }
}

/** Istio starts Envoy with it. */
const FLUSH_MS = 1000
/** Envoy's own. */
const FLUSH_KB = 64

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
  try {
    JSON.stringify(value)
  } catch (error) {
    throw new ConfigError(from, 'a YAML alias stands within what it names', { cause: error })
  }
  return value
}
