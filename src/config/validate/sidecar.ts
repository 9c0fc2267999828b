import type { Sidecar } from '../resource.ts'
import type { IstioEgressListener, IstioIngressListener } from '../resources/sidecar.ts'
import type { Problems } from '../schema.ts'
import {
  checkFqdn,
  checkFullName,
  checkLabels,
  checkPort,
  checkPortName,
  checkProtocol,
  checkSubsetName,
  isHttpProtocol,
  isIpAddress,
  isTlsProtocol,
} from './common.ts'
import { validateConnectionPool } from './destination-rule.ts'
import { validateServerTls } from './gateway.ts'

export function validateSidecar({ spec, metadata }: Sidecar, problems: Problems): void {
  const { labels } = spec.workloadSelector ?? {}
  if (labels) checkLabels(labels, 'spec.workloadSelector.labels', problems)
  if (spec.workloadSelector && Object.keys(labels ?? {}).length === 0) {
    problems.warning(
      'spec.workloadSelector',
      'workload selector specified without labels, will be applied to all services in namespace',
    )
  }
  if (
    !spec.ingress?.length &&
    !spec.egress?.length &&
    spec.outboundTrafficPolicy === undefined &&
    spec.inboundConnectionPool === undefined
  ) {
    problems.error(
      'spec',
      'empty configuration provided',
      'set ingress, egress, outboundTrafficPolicy or inboundConnectionPool',
    )
  }
  const ports = new Set<number>()
  spec.ingress?.forEach((listener, i) => {
    validateIngress(listener, `spec.ingress[${i}]`, ports, problems)
  })
  if (spec.inboundConnectionPool)
    validateConnectionPool(spec.inboundConnectionPool, 'spec.inboundConnectionPool', problems)
  let catchAll = false
  const bound = new Set<number | string>()
  spec.egress?.forEach((listener, i) => {
    const path = `spec.egress[${i}]`
    if (catchAll) problems.error(path, 'only the last egress listener may be without a port')
    if (!listener.port) catchAll = true
    validateEgress(listener, metadata.namespace, path, problems)
    if (!listener.port) return
    // Istio's listeners are one a port, whatever their addresses.
    const { number = 0 } = listener.port
    const key = number || (listener.bind ?? '')
    if (bound.has(key)) {
      if (number) problems.error(`${path}.port.number`, `port ${number} is used by another egress listener`)
      else problems.error(`${path}.bind`, `"${listener.bind}" is used by another egress listener`)
    }
    bound.add(key)
  })
  if (spec.outboundTrafficPolicy?.mode === 'ALLOW_ANY_DYNAMIC_DNS') {
    problems.error(
      'spec.outboundTrafficPolicy.mode',
      'ALLOW_ANY_DYNAMIC_DNS is for the whole mesh only',
      'set outboundTrafficPolicy.mode in MeshConfig',
    )
  }
  const proxy = spec.outboundTrafficPolicy?.egressProxy
  if (proxy) {
    if (spec.outboundTrafficPolicy?.mode !== 'ALLOW_ANY') {
      problems.error('spec.outboundTrafficPolicy.egressProxy', 'needs mode ALLOW_ANY')
    }
    const at = 'spec.outboundTrafficPolicy.egressProxy'
    checkFqdn(proxy.host, `${at}.host`, problems)
    if (proxy.subset) checkSubsetName(proxy.subset, `${at}.subset`, problems)
    if (proxy.port?.number) checkPort(proxy.port.number, `${at}.port.number`, problems)
    else problems.error(`${at}.port`, 'is required')
  }
}

function validateIngress(listener: IstioIngressListener, path: string, ports: Set<number>, problems: Problems): void {
  const { port } = listener
  const number = port.number ?? 0
  checkPort(number, `${path}.port.number`, problems)
  checkListenerPort(port, `${path}.port`, problems)
  if (ports.has(number)) problems.error(`${path}.port.number`, `port ${number} is used by another ingress listener`)
  ports.add(number)
  if (listener.bind && !isIpAddress(listener.bind))
    problems.error(`${path}.bind`, `"${listener.bind}" is not an IP address`)
  const { defaultEndpoint } = listener
  if (defaultEndpoint) validateDefaultEndpoint(defaultEndpoint, `${path}.defaultEndpoint`, problems)
  if (listener.tls) {
    if (listener.tls.mode === 'ISTIO_MUTUAL' || listener.tls.mode === 'AUTO_PASSTHROUGH') {
      problems.error(`${path}.tls.mode`, `cannot be ${listener.tls.mode} in sidecar ingress tls`)
    }
    if (!isTlsProtocol(port.protocol)) {
      problems.error(`${path}.tls`, 'server cannot have TLS settings for non HTTPS/TLS ports')
    }
    for (const name of INGRESS_TLS_UNSUPPORTED) {
      const value = listener.tls[name]
      if (Array.isArray(value) ? value.length > 0 : value)
        problems.error(`${path}.tls.${name}`, 'is not supported in sidecar ingress tls')
    }
    validateServerTls(listener.tls, `${path}.tls`, problems)
  }
  const pool = listener.connectionPool
  if (!pool) return
  validateConnectionPool(pool, `${path}.connectionPool`, problems)
  if (pool.http && !isHttpProtocol(port.protocol)) {
    problems.warning(
      `${path}.connectionPool.http`,
      `port ${number} is not HTTP (${port.protocol ?? ''}): only TCP settings will apply`,
    )
  }
}

/** A listener of a sidecar has its certificates in files. */
const INGRESS_TLS_UNSUPPORTED = [
  'subjectAltNames',
  'httpsRedirect',
  'credentialName',
  'credentialNames',
  'tlsCertificates',
] as const

function checkListenerPort(
  port: { readonly name?: string; readonly protocol?: string; readonly targetPort?: number },
  path: string,
  problems: Problems,
): void {
  if (port.name) checkPortName(port.name, `${path}.name`, problems)
  checkProtocol(port.protocol, `${path}.protocol`, problems)
  if (port.targetPort) problems.error(`${path}.targetPort`, 'targetPort has no impact on Sidecars', 'leave it out')
}

/** `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT`, `[::]:PORT` or `unix:///path`. */
function validateDefaultEndpoint(endpoint: string, path: string, problems: Problems): void {
  if (endpoint.startsWith('unix://')) {
    const socket = endpoint.slice('unix://'.length)
    if (!socket.startsWith('/') && !socket.startsWith('@')) problems.error(path, `"${socket}" must be an absolute path`)
    return
  }
  const found = /^(127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]|):(\d+)$/.exec(endpoint)
  if (!found) problems.error(path, `"${endpoint}" is not supported`, 'use 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path')
  else checkPort(Number(found[2]), path, problems)
}

function validateEgress(listener: IstioEgressListener, namespace: string, path: string, problems: Problems): void {
  const { bind = '', port, captureMode } = listener
  const unix = bind.startsWith('unix://')
  if (unix && captureMode !== undefined && captureMode !== 'DEFAULT' && captureMode !== 'NONE') {
    problems.error(`${path}.captureMode`, 'must be DEFAULT or NONE for a Unix socket')
  }
  if (bind && !unix && !isIpAddress(bind))
    problems.error(`${path}.bind`, `"${bind}" is not an IP address or unix://path`)
  if (port) {
    checkListenerPort(port, `${path}.port`, problems)
    if (!unix) checkPort(port.number ?? 0, `${path}.port.number`, problems)
    else if (port.number) problems.error(`${path}.bind`, `port ${port.number} needs an IP address, not a Unix socket`)
  }
  if (listener.hosts.length === 0) problems.error(`${path}.hosts`, 'must have at least one host')
  listener.hosts.forEach((host, i) => {
    checkEgressHost(host, `${path}.hosts[${i}]`, problems)
  })
  warnDuplicateHosts(listener.hosts, namespace, `${path}.hosts`, problems)
}

/** A host that an earlier entry of its namespace already names. */
function warnDuplicateHosts(hosts: readonly string[], namespace: string, path: string, problems: Problems): void {
  const seen = new Map<string, Set<string>>()
  hosts.forEach((host, i) => {
    const slash = host.indexOf('/')
    if (slash < 0 || host.startsWith('~')) return
    const owner = host.startsWith('./') ? namespace : host.slice(0, slash)
    const name = host.slice(slash + 1)
    const names = seen.get(owner) ?? new Set()
    seen.set(owner, names)
    if (name === '*' ? names.size > 0 : names.has(name) || names.has('*')) {
      problems.warning(`${path}[${i}]`, `duplicated egress host: ${host}`)
    }
    names.add(name)
  })
  if (seen.get('*')?.has('*') && seen.size > 1) {
    problems.warning(path, '"*/*" host select all resources, no other hosts can be added')
  }
}

/** `namespace/dnsName`; `~namespace/dnsName` excludes, and `~` alone excludes from every namespace. */
function checkEgressHost(host: string, path: string, problems: Problems): void {
  const parts = host.split('/')
  if (parts.length !== 2) {
    problems.error(path, `"${host}" must be in the form namespace/dnsName`)
    return
  }
  const [namespace, name] = parts as [string, string]
  if (!/^~?([*.]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$|^~$/.test(namespace))
    problems.error(
      path,
      `"${namespace}" is not a namespace`,
      'use a name, ".", "*", or one of them after "~" to exclude',
    )
  checkFullName(name, path, problems)
}
