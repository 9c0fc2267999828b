import type { DestinationRule } from '../resource.ts'
import type {
  ClientTls,
  ConnectionPool,
  ConsistentHash,
  LoadBalancer,
  LocalityLbSetting,
  OutlierDetection,
  PortTrafficPolicy,
  TrafficPolicy,
  ZoneAwareLbSetting,
} from '../resources/destination-rule.ts'
import type { Problems } from '../schema.ts'
import {
  checkExportTo,
  checkFqdn,
  checkPort,
  checkSelector,
  checkSubsetName,
  checkWildcardDomain,
  checkWorkloadLabels,
  isIpAddress,
} from './common.ts'

export function validateDestinationRule({ spec, metadata }: DestinationRule, problems: Problems): void {
  const { namespace } = metadata
  checkWildcardDomain(spec.host, 'spec.host', problems)
  if (spec.trafficPolicy) validateTrafficPolicy(spec.trafficPolicy, namespace, 'spec.trafficPolicy', problems)
  const seen = new Set<string>()
  spec.subsets?.forEach((subset, i) => {
    const path = `spec.subsets[${i}]`
    checkSubsetName(subset.name, `${path}.name`, problems)
    if (seen.has(subset.name)) problems.error(`${path}.name`, `"${subset.name}" is defined twice`)
    seen.add(subset.name)
    if (subset.trafficPolicy) validateTrafficPolicy(subset.trafficPolicy, namespace, `${path}.trafficPolicy`, problems)
    checkWorkloadLabels(subset.labels, `${path}.labels`, problems)
  })
  checkExportTo(spec.exportTo, namespace, problems)
  if (spec.workloadSelector && spec.exportTo?.some((entry) => entry !== '.' && entry !== namespace)) {
    problems.error(
      'spec.exportTo',
      'a destination rule with workload selector cannot have exportTo beyond current namespace',
      'leave exportTo out, or write "."',
    )
  }
  checkSelector(spec.workloadSelector, 'spec.workloadSelector', problems)
}

function validateTrafficPolicy(policy: TrafficPolicy, namespace: string, path: string, problems: Problems): void {
  const { portLevelSettings, ...own } = policy
  if (Object.keys(own).length === 0 && !portLevelSettings?.length) problems.error(path, 'must have at least one field')
  if (policy.tunnel && policy.proxyProtocol) problems.error(path, 'tunnel and proxyProtocol must not be set together')
  validateBlocks(policy, namespace, path, problems)
  portLevelSettings?.forEach((port, i) => {
    const at = `${path}.portLevelSettings[${i}]`
    const { number = 0 } = port.port ?? {}
    if (!port.port) problems.error(`${at}.port`, 'port traffic policy must have a port')
    else if (number < 1 || number > 65535)
      problems.warning(`${at}.port.number`, `${number} is the number of no port: these settings have no effect`)
    const { port: _, ...rest } = port
    if (Object.keys(rest).length === 0)
      problems.error(at, 'port traffic policy must have at least one field beside port')
    validateBlocks(port, namespace, at, problems)
  })
  const { tunnel } = policy
  if (tunnel) {
    const at = `${path}.tunnel`
    if (tunnel.protocol && tunnel.protocol !== 'CONNECT' && tunnel.protocol !== 'POST') {
      problems.error(`${at}.protocol`, 'must be CONNECT or POST')
    }
    if (!isIpAddress(tunnel.targetHost)) checkFqdn(tunnel.targetHost, `${at}.targetHost`, problems)
    checkPort(tunnel.targetPort, `${at}.targetPort`, problems)
  }
}

function validateBlocks(
  policy: TrafficPolicy | PortTrafficPolicy,
  namespace: string,
  path: string,
  problems: Problems,
): void {
  if (policy.outlierDetection) validateOutlier(policy.outlierDetection, `${path}.outlierDetection`, problems)
  if (policy.connectionPool) validateConnectionPool(policy.connectionPool, `${path}.connectionPool`, problems)
  if (policy.loadBalancer) {
    validateLoadBalancer(policy.loadBalancer, `${path}.loadBalancer`, problems)
    const { localityLbSetting, zoneAwareLbSetting } = policy.loadBalancer
    for (const [name, setting] of Object.entries({ localityLbSetting, zoneAwareLbSetting })) {
      if (policy.outlierDetection || !(setting?.failover?.length || setting?.failoverPriority?.length)) continue
      problems.warning(`${path}.loadBalancer.${name}`, 'outlier detection policy must be provided for failover')
    }
  }
  if (policy.tls) validateClientTls(policy.tls, namespace, `${path}.tls`, problems)
}

export function validateOutlier(outlier: OutlierDetection, path: string, problems: Problems): void {
  for (const name of ['maxEjectionPercent', 'minHealthPercent'] as const) {
    const value = outlier[name]
    if (value !== undefined && (value < 0 || value > 100)) problems.error(`${path}.${name}`, 'must be in range 0..100')
  }
  if (outlier.consecutiveErrors) {
    problems.warning(
      `${path}.consecutiveErrors`,
      'is deprecated',
      'use consecutiveGatewayErrors or consecutive5xxErrors',
    )
  }
  if (outlier.consecutiveLocalOriginFailures && !outlier.splitExternalLocalOriginErrors) {
    problems.error(`${path}.consecutiveLocalOriginFailures`, 'needs splitExternalLocalOriginErrors: true')
  }
}

export function validateConnectionPool(pool: ConnectionPool, path: string, problems: Problems): void {
  const { http, tcp } = pool
  if (!http && !tcp) problems.error(path, 'must have http or tcp')
  if (http) {
    for (const name of [
      'http1MaxPendingRequests',
      'http2MaxRequests',
      'maxRequestsPerConnection',
      'maxRetries',
      'maxConcurrentStreams',
    ] as const) {
      if ((http[name] ?? 0) < 0) problems.error(`${path}.http.${name}`, 'must not be negative')
    }
    const keepalive = http.http2KeepAlive
    if (keepalive) {
      for (const name of ['interval', 'timeout'] as const) {
        if (keepalive[name] === undefined) problems.error(`${path}.http.http2KeepAlive.${name}`, 'is required')
      }
    }
    if (http.h2UpgradePolicy === 'UPGRADE' && http.useClientProtocol) {
      problems.error(`${path}.http`, 'useClientProtocol cannot be true when h2UpgradePolicy is UPGRADE')
    }
  }
  if (tcp && (tcp.maxConnections ?? 0) < 0) problems.error(`${path}.tcp.maxConnections`, 'must not be negative')
}

function validateLoadBalancer(lb: LoadBalancer, path: string, problems: Problems): void {
  const hash = lb.consistentHash
  if (hash) validateHash(hash, `${path}.consistentHash`, problems)
  if (lb.localityLbSetting && lb.zoneAwareLbSetting)
    problems.error(path, 'only one of localityLbSetting and zoneAwareLbSetting can be set')
  if (lb.zoneAwareLbSetting) validateZoneAwareLb(lb.zoneAwareLbSetting, `${path}.zoneAwareLbSetting`, problems)
  if (lb.localityLbSetting) validateLocalityLb(lb.localityLbSetting, `${path}.localityLbSetting`, problems)
  if (lb.warmup && lb.warmupDurationSecs !== undefined)
    problems.error(path, 'warmup and warmupDurationSecs cannot both be set')
  if (lb.warmupDurationSecs !== undefined && lb.warmupDurationSecs < 1) {
    problems.error(`${path}.warmupDurationSecs`, 'must be at least 1ms')
  }
}

function validateHash(hash: ConsistentHash, path: string, problems: Problems): void {
  const keys = ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'] as const
  if (!keys.some((key) => hash[key] !== undefined))
    problems.warning(path, `sets none of ${keys.join(', ')}: requests have no hash, and go to any host`)
  if (hash.httpHeaderName === '') problems.error(`${path}.httpHeaderName`, 'must not be empty')
  if (hash.httpQueryParameterName === '') problems.error(`${path}.httpQueryParameterName`, 'must not be empty')
  if (hash.httpCookie?.name === '') problems.error(`${path}.httpCookie.name`, 'must not be empty')
  const attributes = hash.httpCookie?.attributes ?? []
  attributes.forEach(({ name }, i) => {
    const at = `${path}.httpCookie.attributes[${i}].name`
    if (name === '') problems.error(at, 'must not be empty')
    else if (attributes.findIndex((other) => other.name === name) < i)
      problems.error(at, `duplicate cookie attribute name: "${name}"`)
  })
  if (hash.minimumRingSize) {
    problems.warning(`${path}.minimumRingSize`, 'is deprecated', 'use ringHash.minimumRingSize')
    if (hash.ringHash || hash.maglev)
      problems.error(path, 'only one of minimumRingSize and maglev or ringHash can be set')
  }
  if (!hash.maglev) return
  const { tableSize = 0 } = hash.maglev
  const at = `${path}.maglev.tableSize`
  if (tableSize === 0) problems.error(at, 'must be set for maglev', 'for example 65537')
  else if (tableSize >= 5_000_011) problems.error(at, 'must be less than 5000011')
  else if (!isPrime(tableSize)) problems.error(at, 'must be a prime number', 'for example 65537')
}

function isPrime(n: number): boolean {
  if (n < 2) return false
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false
  return true
}

/** Labels that say where a workload is; their order of failover is fixed. */
const TOPOLOGY_LABELS = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone', 'topology.istio.io/subzone']

export function validateLocalityLb(setting: LocalityLbSetting, path: string, problems: Problems): void {
  const { distribute = [], failover = [], failoverPriority = [] } = setting
  if (distribute.length > 0 && failover.length > 0) {
    problems.error(path, 'cannot have both distribute and failover')
  }
  if (failover.length > 0) checkTopologyLabels(failoverPriority, `${path}.failoverPriority`, problems)
  distribute.forEach(({ to = {} }, i) => {
    const at = `${path}.distribute[${i}]`
    const weights = Object.values(to)
    if (weights.some((weight) => weight < 1 || weight > 100))
      problems.error(`${at}.to`, 'a weight must be in range 1..100')
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    if (total !== 100) problems.error(`${at}.to`, `the weights must add up to 100, they are ${total}`)
    checkLocalities(Object.keys(to), `${at}.to`, problems)
  })
  checkLocalities(
    distribute.map(({ from }) => from ?? ''),
    `${path}.distribute`,
    problems,
  )
  checkFailover(failover, path, problems)
}

export function validateZoneAwareLb(setting: ZoneAwareLbSetting, path: string, problems: Problems): void {
  checkTopologyLabels(setting.failoverPriority ?? [], `${path}.failoverPriority`, problems)
  checkFailover(setting.failover ?? [], path, problems)
}

function checkTopologyLabels(labels: readonly string[], path: string, problems: Problems): void {
  const found = labels.find((label) => TOPOLOGY_LABELS.includes(label))
  if (found)
    problems.error(path, `"${found}" cannot be in failoverPriority here: regions and zones have their own order`)
}

function checkFailover(
  failover: readonly { readonly from?: string; readonly to?: string }[],
  path: string,
  problems: Problems,
): void {
  failover.forEach(({ from = '', to = '' }, i) => {
    const at = `${path}.failover[${i}]`
    if (from === to) problems.error(at, 'from and to must differ')
    if (from.includes('*') || to.includes('*')) problems.error(at, 'a region must not contain *')
    if (from.includes('/') || to.includes('/')) problems.error(at, 'must name a region only, without zone')
  })
}

/** `region`, `region/zone`, `region/zone/subzone`, each perhaps with * at its end; none may lie within an earlier one. */
function checkLocalities(localities: readonly string[], path: string, problems: Problems): void {
  const seen: string[] = []
  for (const locality of localities) {
    const parts = locality.split('/', 3)
    if (parts.includes('')) problems.error(path, `locality "${locality}" has an empty region, zone or subzone`)
    const star = locality.indexOf('*')
    if (star >= 0 && star !== locality.length - 1)
      problems.error(path, `locality "${locality}" may have one * only, at its end`)
    const overlaps = (earlier: string): boolean =>
      earlier === '*' ||
      earlier === locality ||
      locality.startsWith(`${earlier.replace(/\/\*$/, '')}/`) ||
      earlier.startsWith(`${locality}/`)
    if (seen.some(overlaps)) problems.error(path, `locality "${locality}" overlaps with an earlier one`)
    seen.push(locality)
  }
}

function validateClientTls(tls: ClientTls, namespace: string, path: string, problems: Problems): void {
  const mode = tls.mode ?? 'DISABLE'
  const own = mode === 'SIMPLE' || mode === 'MUTUAL'
  checkConfigMapName(tls.credentialName ?? '', namespace, `${path}.credentialName`, problems)
  if (tls.insecureSkipVerify && own) {
    // The credential of MUTUAL may hold the client's certificate alone.
    const names = [
      'caCertificates',
      'subjectAltNames',
      ...(mode === 'SIMPLE' ? (['credentialName'] as const) : []),
    ] as const
    const found = names.filter((name) => tls[name]?.length)
    if (found.length > 0)
      problems.error(`${path}.insecureSkipVerify`, `cannot stand beside ${found.join(', ')}: nothing is verified`)
  }
  if (own && tls.credentialName) {
    for (const name of ['clientCertificate', 'privateKey', 'caCertificates', 'caCrl'] as const) {
      if (tls[name]) problems.error(`${path}.${name}`, 'cannot stand beside credentialName')
    }
    return
  }
  if (mode === 'MUTUAL') {
    if (!tls.clientCertificate) problems.error(`${path}.clientCertificate`, 'is required in mode MUTUAL')
    if (!tls.privateKey) problems.error(`${path}.privateKey`, 'is required in mode MUTUAL')
  }
}

const CONFIG_MAP = 'configmap://'

/** `configmap://NAMESPACE/NAME`, of the rule's own namespace. */
function checkConfigMapName(name: string, namespace: string, path: string, problems: Problems): void {
  if (!name.startsWith(CONFIG_MAP)) return
  const [owner, ...rest] = name.slice(CONFIG_MAP.length).split('/')
  if (!owner || rest.length === 0 || rest[0] === '') {
    problems.error(path, `"${name}" has no namespace or no name`, `write ${CONFIG_MAP}${namespace}/NAME`)
  } else if (owner !== namespace) {
    problems.error(path, `"${name}": namespace must match the configuration namespace "${namespace}"`)
  }
}
