// Everything the agent takes from outside: environment, files of the pod, command line. Read here and nowhere else.
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, hostname, networkInterfaces } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigError, UserError } from '../base/errors.ts'
import { type ProxyConfig, parseProxyConfig } from './proxy-config.ts'

export type ProxyRole = 'sidecar' | 'router'

/** The command line of `outrigger agent`. */
export interface AgentFlags {
  readonly role: ProxyRole
  /** DNS domain of the node id; default `<namespace>.svc.cluster.local`. */
  readonly domain?: string
  /** `outrigger`: our proxy in this process. `envoy` or a path: that binary as a child. */
  readonly proxy: string
  readonly proxyLogLevel: string
  readonly proxyComponentLogLevel?: string
  readonly concurrency?: number
  readonly serviceCluster?: string
  /** Folder that relative paths (ProxyConfig.configPath, sockets, token, root certificate) start from. */
  readonly workdir: string
  /** Folder with the pod's `labels` and `annotations` files (downward API). */
  readonly podInfo: string
}

export interface AgentSettings {
  readonly role: ProxyRole
  readonly proxy: string
  readonly podName: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly instanceIps: readonly string[]
  readonly domain: string
  readonly trustDomain: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly config: ProxyConfig
  readonly serviceCluster: string
  /** Certificate authority; by default the control plane. */
  readonly caAddress: string
  readonly clusterId: string
  /** ISTIO_META_X and ISTIO_METAJSON_X. */
  readonly metadata: Readonly<Record<string, unknown>>
  readonly keyType: 'RSA' | 'ECDSA'
  readonly certTtlSeconds: number
  readonly graceRatio: number
  readonly graceJitter: number
  readonly concurrency: number
  readonly proxyLogLevel: string
  readonly proxyComponentLogLevel?: string
  readonly skipDeprecatedLogs: boolean
  readonly workdir: string
  readonly tokenPath: string
  readonly rootCertPath: string
  /** ISTIO_KUBE_APP_PROBERS: path to probe. */
  readonly appProbers: unknown
  /** ISTIO_PROMETHEUS_ANNOTATIONS: where the application's own metrics are. */
  readonly appScrape: { readonly port: number; readonly path: string } | null
  readonly exitOnZeroActiveConnections: boolean
  readonly minimumDrainMs: number
}

/** Reads the settings; throws UserError or ConfigError with the name of what is wrong. */
export function readSettings(flags: AgentFlags, env: NodeJS.ProcessEnv): AgentSettings {
  const labels = readKeyValues(join(flags.podInfo, 'labels'))
  const annotations = readKeyValues(join(flags.podInfo, 'annotations'))
  // The kubelet would put the node's address in its place in a variable, not within this text.
  const hostIp = (text: string): string => text.replaceAll('$(HOST_IP)', env.HOST_IP || '127.0.0.1')
  const sources = [{ from: 'PROXY_CONFIG', text: hostIp(env.PROXY_CONFIG ?? '{}') }]
  const overlay = annotations['proxy.istio.io/config']
  if (overlay !== undefined) sources.push({ from: 'annotation proxy.istio.io/config', text: hostIp(overlay) })
  const config = parseProxyConfig(sources)
  const namespace = env.POD_NAMESPACE || 'default'
  const instanceIps = env.INSTANCE_IP ? env.INSTANCE_IP.split(',') : localAddresses()
  if (instanceIps.length === 0) throw new UserError('no address of this workload is known; set INSTANCE_IP')
  const workdir = resolve(flags.workdir)
  return {
    role: flags.role,
    proxy: flags.proxy,
    podName: env.POD_NAME || hostname(),
    namespace,
    serviceAccount: env.SERVICE_ACCOUNT || 'default',
    instanceIps,
    domain: flags.domain || `${namespace}.svc.cluster.local`,
    trustDomain: env.TRUST_DOMAIN || 'cluster.local',
    labels,
    annotations,
    config,
    serviceCluster:
      flags.serviceCluster ?? serviceCluster(config, labels, namespace, env.ISTIO_META_WORKLOAD_NAME || 'istio-proxy'),
    caAddress: env.CA_ADDR || config.discoveryAddress,
    clusterId: env.ISTIO_META_CLUSTER_ID || 'Kubernetes',
    metadata: readMetadata(env),
    keyType: keyType(env),
    certTtlSeconds: seconds(env, 'SECRET_TTL', 86_400),
    graceRatio: fraction(env, 'SECRET_GRACE_PERIOD_RATIO', 0.5),
    graceJitter: fraction(env, 'SECRET_GRACE_PERIOD_RATIO_JITTER', 0.01),
    concurrency: concurrency(flags, config, env),
    proxyLogLevel: flags.proxyLogLevel,
    proxyComponentLogLevel: flags.proxyComponentLogLevel,
    skipDeprecatedLogs: env.ENVOY_SKIP_DEPRECATED_LOGS !== 'false',
    workdir,
    tokenPath: resolve(workdir, './var/run/secrets/tokens/istio-token'),
    rootCertPath: resolve(workdir, './var/run/secrets/istio/root-cert.pem'),
    appProbers: env.ISTIO_KUBE_APP_PROBERS ? json(env, 'ISTIO_KUBE_APP_PROBERS') : {},
    appScrape: appScrape(env),
    exitOnZeroActiveConnections: env.EXIT_ON_ZERO_ACTIVE_CONNECTIONS === 'true',
    minimumDrainMs: seconds(env, 'MINIMUM_DRAIN_DURATION', 5) * 1000,
  }
}

/** `<app or canonical name>.<namespace>`; ProxyConfig.serviceCluster when it was set to something else than its default. */
function serviceCluster(
  config: ProxyConfig,
  labels: Readonly<Record<string, string>>,
  namespace: string,
  workload: string,
): string {
  const canonical =
    labels['service.istio.io/canonical-name'] ?? labels['app.kubernetes.io/name'] ?? labels.app ?? workload
  if (config.tracingServiceName === 'CANONICAL_NAME_ONLY') return canonical
  if (config.tracingServiceName === 'CANONICAL_NAME_AND_NAMESPACE') return `${canonical}.${namespace}`
  if (config.serviceCluster !== 'istio-proxy') return config.serviceCluster
  const name = labels.app ?? labels['service.istio.io/canonical-name']
  return name === undefined ? `istio-proxy.${namespace}` : `${name}.${namespace}`
}

function concurrency(flags: AgentFlags, config: ProxyConfig, env: NodeJS.ProcessEnv): number {
  const wanted = flags.concurrency ?? config.concurrency
  if (wanted === 0) return availableParallelism()
  if (wanted !== undefined) return wanted
  const limit = Number(env.ISTIO_CPU_LIMIT)
  // Without a limit Istio's injected default applies: two workers.
  return Number.isFinite(limit) && limit > 0 ? Math.min(Math.ceil(limit), availableParallelism()) : 2
}

function readMetadata(env: NodeJS.ProcessEnv): Record<string, unknown> {
  const metadata: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(env)) {
    if (key.startsWith('ISTIO_META_')) metadata[key.slice('ISTIO_META_'.length)] = value
    else if (key.startsWith('ISTIO_METAJSON_')) metadata[key.slice('ISTIO_METAJSON_'.length)] = json(env, key)
  }
  return metadata
}

function json(env: NodeJS.ProcessEnv, key: string): unknown {
  try {
    return JSON.parse(env[key]!)
  } catch (error) {
    throw new ConfigError(key, 'is not JSON', { cause: error })
  }
}

function keyType(env: NodeJS.ProcessEnv): 'RSA' | 'ECDSA' {
  const word = env.ECC_SIGNATURE_ALGORITHM
  if (word === undefined || word === '') return 'RSA'
  if (word === 'ECDSA') return 'ECDSA'
  throw new ConfigError('ECC_SIGNATURE_ALGORITHM', `must be ECDSA or empty, is "${word}"`)
}

function seconds(env: NodeJS.ProcessEnv, key: string, otherwise: number): number {
  const value = env[key]
  if (value === undefined || value === '') return otherwise
  const match = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(value)
  if (match === null) throw new ConfigError(key, `must be a duration such as "24h0m0s", is "${value}"`)
  return Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0)
}

function fraction(env: NodeJS.ProcessEnv, key: string, otherwise: number): number {
  const value = env[key]
  if (value === undefined || value === '') return otherwise
  const number = Number(value)
  if (!(number >= 0 && number <= 1)) throw new ConfigError(key, `must be from 0 to 1, is "${value}"`)
  return number
}

function appScrape(env: NodeJS.ProcessEnv): { port: number; path: string } | null {
  if (!env.ISTIO_PROMETHEUS_ANNOTATIONS) return null
  const value = json(env, 'ISTIO_PROMETHEUS_ANNOTATIONS') as { scrape?: string; port?: string; path?: string }
  if (value.scrape === 'false') return null
  const port = Number(value.port ?? 80)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new ConfigError('ISTIO_PROMETHEUS_ANNOTATIONS', `port "${value.port}" is not a port`)
  // Scraping a port of the proxy or of the agent itself would go in circles (istio-contract 1).
  if (OWN_PORTS.has(port)) return null
  const path = value.path || '/metrics'
  return { port, path: path.startsWith('/') ? path : `/${path}` }
}

const OWN_PORTS: ReadonlySet<number> = new Set([15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090])

/** The downward API's format: `key="value with \n escapes"`, one a line. A missing file is an empty map. */
function readKeyValues(path: string): Record<string, string> {
  if (!existsSync(path)) return {}
  const values: Record<string, string> = {}
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const at = line.indexOf('=')
    if (at < 0) continue
    try {
      values[line.slice(0, at)] = JSON.parse(line.slice(at + 1)) as string
    } catch (error) {
      throw new ConfigError(path, `line "${line}" is not key="value"`, { cause: error })
    }
  }
  return values
}

function localAddresses(): string[] {
  const found: string[] = []
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { internal, address, family } of addresses ?? []) if (!internal && family === 'IPv4') found.push(address)
  }
  return found
}
