import type { Sidecar } from '../resource.ts'
import type { IstioEgressListener, IstioIngressListener } from '../resources/sidecar.ts'
import type { Problems } from '../schema.ts'
import { checkLabels, checkPort, checkWildcardDomain, isIpAddress } from './common.ts'
import { validateConnectionPool } from './destination-rule.ts'
import { validateServerTls } from './gateway.ts'

export function validateSidecar({ spec }: Sidecar, problems: Problems): void {
  const { labels } = spec.workloadSelector ?? {}
  if (labels) checkLabels(labels, 'spec.workloadSelector.labels', problems)
  const ports = new Set<number>()
  spec.ingress?.forEach((listener, i) => {
    validateIngress(listener, `spec.ingress[${i}]`, ports, problems)
  })
  if (spec.inboundConnectionPool)
    validateConnectionPool(spec.inboundConnectionPool, 'spec.inboundConnectionPool', problems)
  let catchAll = false
  spec.egress?.forEach((listener, i) => {
    const path = `spec.egress[${i}]`
    if (catchAll) problems.error(path, 'only the last egress listener may be without a port')
    if (!listener.port) catchAll = true
    validateEgress(listener, path, problems)
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
    if ((spec.outboundTrafficPolicy?.mode ?? 'ALLOW_ANY') === 'REGISTRY_ONLY') {
      problems.error('spec.outboundTrafficPolicy.egressProxy', 'needs mode ALLOW_ANY')
    }
    checkWildcardDomain(proxy.host, 'spec.outboundTrafficPolicy.egressProxy.host', problems)
    if (!proxy.port?.number) problems.error('spec.outboundTrafficPolicy.egressProxy.port', 'is required')
  }
}

function validateIngress(listener: IstioIngressListener, path: string, ports: Set<number>, problems: Problems): void {
  const number = listener.port.number ?? 0
  checkPort(number, `${path}.port.number`, problems)
  if (ports.has(number)) problems.error(`${path}.port.number`, `port ${number} is used by another ingress listener`)
  ports.add(number)
  if (listener.bind && !isIpAddress(listener.bind))
    problems.error(`${path}.bind`, `"${listener.bind}" is not an IP address`)
  const { defaultEndpoint } = listener
  if (defaultEndpoint) validateDefaultEndpoint(defaultEndpoint, `${path}.defaultEndpoint`, problems)
  if (listener.tls) {
    if (listener.tls.mode !== 'SIMPLE' && listener.tls.mode !== 'MUTUAL' && listener.tls.mode !== 'OPTIONAL_MUTUAL') {
      problems.error(`${path}.tls.mode`, 'must be SIMPLE, MUTUAL or OPTIONAL_MUTUAL')
    }
    validateServerTls(listener.tls, `${path}.tls`, true, problems)
  }
  if (listener.connectionPool) validateConnectionPool(listener.connectionPool, `${path}.connectionPool`, problems)
}

/** `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT`, `[::]:PORT` or `unix:///path`. */
function validateDefaultEndpoint(endpoint: string, path: string, problems: Problems): void {
  if (endpoint.startsWith('unix://')) {
    const socket = endpoint.slice('unix://'.length)
    if (!socket.startsWith('/') && !socket.startsWith('@')) problems.error(path, `"${socket}" must be an absolute path`)
    return
  }
  const found = /^(127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):(\d+)$/.exec(endpoint)
  if (!found) problems.error(path, `"${endpoint}" is not supported`, 'use 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path')
  else checkPort(Number(found[2]), path, problems)
}

function validateEgress(listener: IstioEgressListener, path: string, problems: Problems): void {
  const { bind = '', port, captureMode } = listener
  const unix = bind.startsWith('unix://')
  if (unix && captureMode !== undefined && captureMode !== 'DEFAULT' && captureMode !== 'NONE') {
    problems.error(`${path}.captureMode`, 'must be DEFAULT or NONE for a Unix socket')
  }
  if (bind && !unix && !isIpAddress(bind))
    problems.error(`${path}.bind`, `"${bind}" is not an IP address or unix://path`)
  if (port) {
    if (!unix) checkPort(port.number ?? 0, `${path}.port.number`, problems)
  } else if (bind && !unix) problems.error(`${path}.bind`, 'needs a port')
  if (listener.hosts.length === 0) problems.error(`${path}.hosts`, 'must have at least one host')
  listener.hosts.forEach((host, i) => {
    checkEgressHost(host, `${path}.hosts[${i}]`, problems)
  })
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
  checkWildcardDomain(name, path, problems)
}
