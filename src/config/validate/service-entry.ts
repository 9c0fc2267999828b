import type { ServiceEntry, WorkloadEntry, WorkloadGroup } from '../resource.ts'
import type { WorkloadEntrySpec } from '../resources/service-entry.ts'
import type { Problems } from '../schema.ts'
import {
  checkExportTo,
  checkFqdn,
  checkHeaderName,
  checkLabels,
  checkPort,
  checkPortName,
  checkProtocol,
  checkWildcardDomain,
  checkWorkloadLabels,
  isHttpProtocol,
  isIpAddress,
  isIpOrCidr,
  isTlsProtocol,
} from './common.ts'

export function validateServiceEntry({ spec, metadata }: ServiceEntry, problems: Problems): void {
  const resolution = spec.resolution ?? 'NONE'
  spec.hosts.forEach((host, i) => {
    const path = `spec.hosts[${i}]`
    if (host === '*') {
      problems.error(path, 'a ServiceEntry cannot have host *')
      return
    }
    if (!checkWildcardDomain(host, path, problems)) return
    if (host.startsWith('*') && !host.startsWith('*.') && resolution !== 'DYNAMIC_DNS') {
      problems.warning(path, `partial wildcard "${host}" not allowed`, 'use *.example.com')
    }
    const byName = resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN'
    if (host.startsWith('*') && byName && !spec.endpoints?.length) {
      problems.error(path, `a wildcard host cannot be resolved with resolution ${resolution}`, 'set endpoints')
    }
    if (!host.startsWith('*') && resolution === 'DYNAMIC_DNS') {
      problems.error(path, 'resolution DYNAMIC_DNS needs a wildcard host')
    }
  })
  const cidr = spec.addresses?.some((address) => address.includes('/')) ?? false
  spec.addresses?.forEach((address, i) => {
    if (!isIpOrCidr(address)) problems.error(`spec.addresses[${i}]`, `"${address}" is not an address or CIDR`)
  })
  if (cidr && resolution !== 'NONE' && resolution !== 'STATIC') {
    problems.error(
      'spec.addresses',
      `CIDR addresses are allowed only with resolution NONE or STATIC, not ${resolution}`,
    )
  }
  validatePorts(spec, resolution, problems)
  const endpoints = spec.endpoints ?? []
  if (spec.workloadSelector) {
    if (endpoints.length > 0) problems.error('spec', 'only one of workloadSelector and endpoints can be set')
    if (resolution === 'NONE') problems.warning('spec.workloadSelector', 'should not be set with resolution NONE')
    const { labels } = spec.workloadSelector
    if (labels) checkLabels(labels, 'spec.workloadSelector.labels', problems)
    if (!labels || Object.keys(labels).length === 0) {
      problems.warning('spec.workloadSelector', 'without labels selects every workload of the namespace')
    }
  }
  if (resolution === 'NONE' && spec.endpoints && !spec.workloadSelector) {
    problems.error('spec.endpoints', 'must be empty with resolution NONE')
  }
  if (resolution === 'DYNAMIC_DNS') {
    if (spec.addresses?.length) problems.error('spec.addresses', 'cannot be set with resolution DYNAMIC_DNS')
    if (endpoints.length > 0) problems.error('spec.endpoints', 'cannot be set with resolution DYNAMIC_DNS')
  }
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1) {
    problems.error('spec.endpoints', 'resolution DNS_ROUND_ROBIN allows one endpoint at most')
  }
  const portNames = new Set(spec.ports?.map((port) => port.name))
  endpoints.forEach((endpoint, i) => {
    const path = `spec.endpoints[${i}]`
    validateWorkload(endpoint, path, resolution === 'STATIC', problems)
    checkWorkloadLabels(endpoint.labels, `${path}.labels`, problems)
    for (const [name, port] of Object.entries(endpoint.ports ?? {})) {
      checkPort(port, `${path}.ports[${JSON.stringify(name)}]`, problems)
      if (!portNames.has(name)) problems.error(`${path}.ports`, `port "${name}" is not one of spec.ports`)
    }
    if (endpoint.address?.startsWith(UNIX) && spec.ports?.length !== 1)
      problems.error('spec.ports', 'exactly 1 service port required for unix endpoints')
    if (endpoint.address === '' || endpoint.address === undefined) {
      if (!endpoint.network || resolution.startsWith('DNS')) problems.error(`${path}.address`, 'is required')
      else problems.warning(`${path}.address`, `is unset with network "${endpoint.network}"`)
      return
    }
    if (resolution === 'STATIC' && !endpoint.address.startsWith('unix://') && !isIpAddress(endpoint.address)) {
      problems.error(`${path}.address`, `"${endpoint.address}" must be an IP address with resolution STATIC`)
    }
    if (resolution.startsWith('DNS') && endpoint.address.startsWith('unix://')) {
      problems.error(`${path}.address`, `a Unix socket cannot be used with resolution ${resolution}`)
    }
  })
  checkExportTo(spec.exportTo, metadata.namespace, problems, true)
}

/** What Envoy finds by name instead of by address: the name must be in what the client sends. */
const DYNAMIC_DNS_PROTOCOLS = /^(http|http2|grpc|tls)$/i

function validatePorts(spec: ServiceEntry['spec'], resolution: string, problems: Problems): void {
  const names = new Set<string>()
  const numbers = new Set<number>()
  const addressed = Boolean(spec.addresses?.length)
  let opaque = false
  spec.ports?.forEach((port, i) => {
    const path = `spec.ports[${i}]`
    if (names.has(port.name)) problems.error(`${path}.name`, `port name "${port.name}" is defined twice`)
    if (numbers.has(port.number)) problems.error(`${path}.number`, `port ${port.number} is defined twice`)
    names.add(port.name)
    numbers.add(port.number)
    checkPortName(port.name, `${path}.name`, problems)
    checkProtocol(port.protocol, `${path}.protocol`, problems)
    checkPort(port.number, `${path}.number`, problems)
    if (port.targetPort) checkPort(port.targetPort, `${path}.targetPort`, problems)
    opaque ||= !isHttpProtocol(port.protocol) && !isTlsProtocol(port.protocol)
    if (resolution === 'DYNAMIC_DNS' && !DYNAMIC_DNS_PROTOCOLS.test(port.protocol ?? '')) {
      problems.error(`${path}.protocol`, 'only HTTP, TLS, GRPC and HTTP2 are supported with resolution DYNAMIC_DNS')
    }
    if (!addressed && resolution === 'NONE' && /^(tcp)?$/i.test(port.protocol ?? '')) {
      problems.warning(
        'spec.addresses',
        `are needed for port ${port.number}, which serves ${port.protocol || 'an undeclared protocol'}`,
      )
    }
  })
  if (resolution === 'NONE' || spec.hosts.length < 2) return
  if (opaque) {
    problems.error(
      'spec.hosts',
      'multiple hosts provided with non-HTTP, non-TLS ports: nothing in the bytes tells the hosts apart',
      'use one ServiceEntry a host',
    )
  } else if (addressed && resolution.startsWith('DNS') && spec.ports?.some(({ protocol }) => isTlsProtocol(protocol))) {
    problems.warning(
      'spec.hosts',
      'more than one host with addresses and a TCP port: the addresses do not tell them apart',
    )
  }
}

const UNIX = 'unix://'

/** The rules of one workload: address, Unix sockets, ports. */
function validateWorkload(workload: WorkloadEntrySpec, path: string, ipOnly: boolean, problems: Problems): void {
  const { address = '' } = workload
  const at = `${path}.address`
  if (address.startsWith(UNIX)) {
    const socket = address.slice(UNIX.length)
    const abstract = socket.startsWith('@')
    if (!abstract && !socket.startsWith('/'))
      problems.error(at, `"${socket}" must be an absolute path or an abstract socket (@name)`)
    else if (socket.endsWith('/')) problems.error(at, `"${socket}" is a directory, not a socket`)
    if (workload.ports) {
      problems.error(`${path}.ports`, 'must not be set for a Unix socket')
    }
    return
  }
  if (address !== '' && !isIpAddress(address) && !ipOnly) checkFqdn(address, at, problems)
}

export function validateWorkloadEntry({ spec }: WorkloadEntry, problems: Problems): void {
  if (!spec.address) {
    if (!spec.network) problems.error('spec.address', 'is required')
    else problems.warning('spec.address', `is unset with network "${spec.network}"`)
  } else validateWorkload(spec, 'spec', false, problems)
  checkWorkloadLabels(spec.labels, 'spec.labels', problems)
}

export function validateWorkloadGroup({ spec }: WorkloadGroup, problems: Problems): void {
  const { metadata, template, probe } = spec
  if (/^unix:\/\/(?![/@])/.test(template.address ?? ''))
    problems.error('spec.template.address', 'must be an absolute path or an abstract socket (@name)')
  if (template.address?.startsWith(UNIX) && template.ports)
    problems.error('spec.template.ports', 'must not be set for a Unix socket')
  checkWorkloadLabels(metadata?.labels, 'spec.metadata.labels', problems)
  if (!probe) return
  if (!probe.httpGet && !probe.tcpSocket && !probe.exec && !probe.grpc) {
    problems.error('spec.probe', 'must set httpGet, tcpSocket, exec or grpc')
  }
  const { scheme } = probe.httpGet ?? {}
  if (scheme && scheme !== 'HTTP' && scheme !== 'HTTPS')
    problems.error('spec.probe.httpGet.scheme', 'must be HTTP or HTTPS')
  probe.httpGet?.httpHeaders?.forEach(({ name = '' }, i) => {
    const at = `spec.probe.httpGet.httpHeaders[${i}].name`
    checkHeaderName(name, at, problems)
    if (name.includes('_')) problems.error(at, `"${name}" is not a valid header name`)
  })
  if (probe.exec?.command.length === 0) problems.error('spec.probe.exec.command', 'must not be empty')
}
