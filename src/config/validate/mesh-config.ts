// What istiod refuses of a MeshConfig, and what it only warns of.
import { isIP } from 'node:net'
import type { MeshConfig, ProxyConfig } from '../mesh-config.ts'
import type { ClientTls } from '../resources/destination-rule.ts'
import type { ConnectionSettings, ExtensionProvider } from '../resources/mesh-config.ts'
import type { Problems } from '../schema.ts'
import { checkPort, checkWildcardDomain } from './common.ts'
import { validateConnectionPool, validateLocalityLb, validateOutlier, validateZoneAwareLb } from './destination-rule.ts'

const HOUR_MS = 3_600_000
/** Envoy's least HTTP/2 window. */
const LEAST_WINDOW = 65_535
const DNS_LABEL = /^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/
const ECDH_CURVES = ['P-224', 'P-256', 'P-521', 'P-384', 'X25519', 'X25519Kyber768Draft00', 'X25519MLKEM768']

/** Checks a MeshConfig with its defaults in place. */
export function validateMeshConfig(mesh: MeshConfig, problems: Problems): void {
  checkPort(mesh.proxyListenPort, 'proxyListenPort', problems)
  if (mesh.connectTimeout < 1 || mesh.connectTimeout > HOUR_MS || mesh.connectTimeout % 1 !== 0)
    problems.error('connectTimeout', 'must be whole milliseconds between 1ms and 1h')
  if (mesh.protocolDetectionTimeout % 1 !== 0) problems.error('protocolDetectionTimeout', 'must be whole milliseconds')
  validateProxyConfig(mesh.defaultConfig, 'defaultConfig', problems)
  validateLocalityLb(mesh.localityLbSetting, 'localityLbSetting', problems)
  if (mesh.zoneAwareLbSetting) validateZoneAwareLb(mesh.zoneAwareLbSetting, 'zoneAwareLbSetting', problems)
  mesh.serviceSettings?.forEach(({ hosts = [] }, i) => {
    hosts.forEach((host, j) => {
      checkWildcardDomain(host, `serviceSettings[${i}].hosts[${j}]`, problems)
    })
  })
  checkTrustDomain(mesh.trustDomain, 'trustDomain', problems)
  mesh.trustDomainAliases.forEach((alias, i) => {
    checkTrustDomain(alias, `trustDomainAliases[${i}]`, problems)
  })
  mesh.extensionProviders.forEach((provider) => {
    validateProvider(provider, problems)
  })
  if (mesh.meshMTLS?.ecdhCurves)
    problems.error('meshMTLS.ecdhCurves', 'cannot be chosen for traffic within the mesh', 'remove it')
  const unknown = (mesh.tlsDefaults?.ecdhCurves ?? []).filter((curve) => curve !== '' && !ECDH_CURVES.includes(curve))
  if (unknown.length > 0) problems.warning('tlsDefaults.ecdhCurves', `unrecognized curves: ${unknown.join(', ')}`)
  const { connectionPool, outlierDetection } = mesh.defaultTrafficPolicy ?? {}
  if (connectionPool) validateConnectionPool(connectionPool, 'defaultTrafficPolicy.connectionPool', problems)
  if (outlierDetection) validateOutlier(outlierDetection, 'defaultTrafficPolicy.outlierDetection', problems)
}

function validateProxyConfig(config: ProxyConfig, path: string, problems: Problems): void {
  for (const name of ['configPath', 'binaryPath', 'serviceCluster', 'discoveryAddress'] as const) {
    if (config[name] === '' && !(name === 'serviceCluster' && config.tracingServiceName))
      problems.error(`${path}.${name}`, 'must not be empty')
  }
  if (config.drainDuration < 1000 || config.drainDuration % 1000 !== 0)
    problems.error(`${path}.drainDuration`, 'must be whole seconds, at least 1s')
  const { zipkin, lightstep, datadog, tlsSettings } = config.tracing ?? {}
  const addresses: [string, string | undefined][] = [
    ['discoveryAddress', config.discoveryAddress || undefined],
    ['statsdUdpAddress', config.statsdUdpAddress || undefined],
    ['envoyMetricsServiceAddress', config.envoyMetricsServiceAddress || undefined],
    ['envoyMetricsService.address', config.envoyMetricsService?.address || undefined],
    ['envoyAccessLogService.address', config.envoyAccessLogService?.address || undefined],
    ['tracing.lightstep.address', lightstep && (lightstep.address ?? '')],
    ['tracing.zipkin.address', zipkin && (zipkin.address ?? '').replace('$(HOST_IP)', '127.0.0.1')],
    ['tracing.datadog.address', datadog && (datadog.address ?? '').replace('$(HOST_IP)', '127.0.0.1')],
  ]
  for (const [name, address] of addresses) {
    if (address !== undefined) checkProxyAddress(address, `${path}.${name}`, problems)
  }
  if (lightstep && !lightstep.accessToken) problems.error(`${path}.tracing.lightstep.accessToken`, 'is required')
  if (tlsSettings) checkTls(tlsSettings, `${path}.tracing.tlsSettings`, problems)
  if (config.proxyMetadata?.ISTIO_META_DNS_AUTO_ALLOCATE !== undefined) {
    problems.warning(
      `${path}.proxyMetadata.ISTIO_META_DNS_AUTO_ALLOCATE`,
      'is deprecated',
      'addresses are allocated in the status of ServiceEntries',
    )
  }
  checkPort(config.proxyAdminPort, `${path}.proxyAdminPort`, problems)
  checkPort(config.statusPort, `${path}.statusPort`, problems)
  const provider = config.privateKeyProvider
  if (provider) {
    const polling = provider.cryptomb ?? provider.qat
    if (!polling) problems.error(`${path}.privateKeyProvider`, 'needs cryptomb or qat')
    else if (!polling.pollDelay) problems.error(`${path}.privateKeyProvider`, 'needs a pollDelay above 0s')
  }
  if (config.connectionSettings)
    checkConnectionSettings(config.connectionSettings, `${path}.connectionSettings`, problems)
}

function checkConnectionSettings(settings: ConnectionSettings, path: string, problems: Problems): void {
  const least = (names: readonly (keyof ConnectionSettings)[], min: number): void => {
    for (const name of names) {
      const value = settings[name]
      if (typeof value === 'number' && value < min) problems.error(`${path}.${name}`, `must be at least ${min}`)
    }
  }
  least(['listenerPerConnectionBufferLimitBytes', 'clusterPerConnectionBufferLimitBytes'], 0)
  least(['httpIdleTimeout', 'httpMaxConnectionDuration', 'httpDrainTimeout', 'httpRequestTimeout'], 0)
  least(['httpRequestHeadersTimeout', 'httpStreamIdleTimeout', 'httpMaxStreamDuration'], 0)
  least(['httpMaxConcurrentStreams', 'listenerConnectionLimit', 'globalDownstreamConnectionLimit'], 1)
  least(['http2InitialStreamWindowSize', 'http2InitialConnectionWindowSize'], LEAST_WINDOW)
}

/** `host:port`, the host a name or an IP address. */
function checkProxyAddress(address: string, path: string, problems: Problems): void {
  const found = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[^:]*)):(?<port>\d+)$/.exec(address)?.groups
  if (!found) {
    problems.error(path, `"${address}" is not host:port`)
    return
  }
  checkPort(Number(found.port), path, problems)
  const host = found.v6 ?? found.name ?? ''
  if (isIP(host) === 0 && !isDnsName(host)) problems.error(path, `"${host}" is neither a host name nor an IP address`)
}

function isDnsName(host: string): boolean {
  const labels = host.endsWith('.') ? host.slice(0, -1).split('.') : host.split('.')
  return host.length <= 255 && labels.every((label) => DNS_LABEL.test(label)) && !/^\d+$/.test(labels.at(-1)!)
}

function checkTrustDomain(domain: string, path: string, problems: Problems): void {
  const labels = domain.endsWith('.') ? domain.slice(0, -1).split('.') : domain.split('.')
  if (!labels.every((label) => DNS_LABEL.test(label))) problems.error(path, `"${domain}" is not a trust domain`)
}

function checkTls(tls: ClientTls, path: string, problems: Problems): void {
  const named = tls.credentialName !== undefined && tls.credentialName !== ''
  const { mode } = tls
  if (mode !== 'SIMPLE' && mode !== 'MUTUAL') return
  if (tls.insecureSkipVerify && (tls.caCertificates || tls.subjectAltNames || (mode === 'SIMPLE' && named)))
    problems.error(`${path}.insecureSkipVerify`, 'cannot stand beside what would be verified')
  if (named) {
    if (tls.clientCertificate || tls.caCertificates || tls.privateKey || tls.caCrl)
      problems.error(path, 'certificates cannot stand beside credentialName')
    return
  }
  if (mode === 'SIMPLE') return
  if (!tls.clientCertificate) problems.error(`${path}.clientCertificate`, 'is required in mode MUTUAL')
  if (!tls.privateKey) problems.error(`${path}.privateKey`, 'is required in mode MUTUAL')
}

/** A provider that cannot be used is one only for what uses it. */
function validateProvider(provider: ExtensionProvider, problems: Problems): void {
  const path = `extensionProviders ${provider.name}`
  const { name, prometheus, stackdriver, envoyFileAccessLog, lightstep, opencensus, sds, ...others } = provider
  if (name === '') problems.warning('extensionProviders', 'a provider has no name')
  for (const [kind, address] of Object.entries({ ...others, lightstep, opencensus, sds })) {
    if (typeof address !== 'object') continue
    const { service, port } = address as { service?: unknown; port?: unknown }
    const usable = typeof service === 'string' && (isIP(service) !== 0 || isDnsName(service.split('/').at(-1)!))
    if (!usable) problems.warning(`${path}.${kind}.service`, `${JSON.stringify(service)} is not the name of a service`)
    if (typeof port !== 'number' || port < 1 || port > 65_535)
      problems.warning(`${path}.${kind}.port`, 'must be in range 1..65535')
  }
}
