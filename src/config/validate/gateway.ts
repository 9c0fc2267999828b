import { CIPHER_SUITES } from '../cipher-suites.ts'
import type { Gateway } from '../resource.ts'
import type { GatewayServer, ServerTls } from '../resources/gateway.ts'
import type { Problems } from '../schema.ts'
import { checkPort, checkWildcardDomain, isIpAddress } from './common.ts'

const PROTOCOLS = new Set([
  'HTTP',
  'HTTPS',
  'GRPC',
  'GRPC-WEB',
  'HTTP2',
  'HTTP_PROXY',
  'HBONE',
  'MONGO',
  'REDIS',
  'MYSQL',
  'TCP',
  'TLS',
  'UDP',
])
const TLS_PROTOCOLS = new Set(['HTTPS', 'TLS'])

export function validateGateway({ spec }: Gateway, problems: Problems): void {
  const servers = spec.servers ?? []
  if (servers.length === 0) problems.error('spec.servers', 'must have at least one server')
  const names = new Set<string>()
  servers.forEach((server, i) => {
    const path = `spec.servers[${i}]`
    validateServer(server, path, problems)
    if (names.has(server.port.name))
      problems.error(`${path}.port.name`, `"${server.port.name}" is used by another server`)
    names.add(server.port.name)
  })
}

function validateServer(server: GatewayServer, path: string, problems: Problems): void {
  const { port, hosts, tls } = server
  if (port.name === '') problems.error(`${path}.port.name`, 'must not be empty')
  checkPort(port.number, `${path}.port.number`, problems)
  const protocol = port.protocol.toUpperCase()
  if (!PROTOCOLS.has(protocol)) problems.error(`${path}.port.protocol`, `"${port.protocol}" is not supported`)
  if (hosts.length === 0) problems.error(`${path}.hosts`, 'must have at least one host')
  hosts.forEach((host, i) => {
    checkServerHost(host, `${path}.hosts[${i}]`, problems)
  })
  if (server.defaultEndpoint) problems.error(`${path}.defaultEndpoint`, 'is not supported on gateways')
  if (server.bind && !isIpAddress(server.bind)) problems.error(`${path}.bind`, `"${server.bind}" is not an IP address`)
  if (TLS_PROTOCOLS.has(protocol) && !tls) problems.error(`${path}.tls`, `is required for protocol ${port.protocol}`)
  if (!tls) return
  if (!TLS_PROTOCOLS.has(protocol) && (tls.mode !== undefined || !tls.httpsRedirect)) {
    const set = Object.keys(tls).filter((key) => key !== 'httpsRedirect')
    if (set.length > 0) problems.warning(`${path}.tls`, `is ignored on a server with protocol ${port.protocol}`)
  }
  if (TLS_PROTOCOLS.has(protocol) && tls.httpsRedirect) {
    problems.error(`${path}.tls.httpsRedirect`, 'is only for HTTP servers', 'put it on the plain HTTP server')
  }
  validateServerTls(tls, `${path}.tls`, TLS_PROTOCOLS.has(protocol), problems)
}

/** `host`, `namespace/host`, `./host` or `*` + `/host`. */
function checkServerHost(host: string, path: string, problems: Problems): void {
  const slash = host.indexOf('/')
  if (slash < 0) {
    checkWildcardDomain(host, path, problems)
    return
  }
  const namespace = host.slice(0, slash)
  if (
    namespace !== '*' &&
    namespace !== '.' &&
    namespace !== '~' &&
    !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(namespace)
  ) {
    problems.error(path, `"${namespace}" is not a namespace`)
  }
  checkWildcardDomain(host.slice(slash + 1), path, problems)
}

const PROTOCOL_ORDER = ['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3']

export function validateServerTls(tls: ServerTls, path: string, terminating: boolean, problems: Problems): void {
  const mode = tls.mode ?? 'PASSTHROUGH'
  tls.cipherSuites?.forEach((suite, i) => {
    const at = `${path}.cipherSuites[${i}]`
    if (!CIPHER_SUITES.has(suite)) problems.warning(at, `"${suite}" is no cipher suite of Istio's and is left out`)
    else if (tls.cipherSuites!.indexOf(suite) < i) problems.warning(at, `"${suite}" stands here twice`)
  })
  const credentials = [tls.credentialName, tls.credentialNames?.length, tls.tlsCertificates?.length].filter(Boolean)
  if (credentials.length > 1) {
    problems.error(path, 'only one of credentialName, credentialNames, tlsCertificates can be set')
  }
  for (const name of ['TLSV1_0', 'TLSV1_1']) {
    if (tls.minProtocolVersion === name || tls.maxProtocolVersion === name) {
      problems.warning(path, `${name} is old and insecure; use TLSV1_2 or later`)
    }
  }
  if (
    tls.minProtocolVersion &&
    tls.maxProtocolVersion &&
    tls.maxProtocolVersion !== 'TLS_AUTO' &&
    PROTOCOL_ORDER.indexOf(tls.minProtocolVersion) > PROTOCOL_ORDER.indexOf(tls.maxProtocolVersion)
  ) {
    problems.error(
      path,
      `minProtocolVersion ${tls.minProtocolVersion} is above maxProtocolVersion ${tls.maxProtocolVersion}`,
    )
  }
  if (mode === 'ISTIO_MUTUAL') {
    for (const name of ['serverCertificate', 'privateKey', 'caCertificates', 'credentialName'] as const) {
      if (tls[name])
        problems.error(`${path}.${name}`, 'must not be set in mode ISTIO_MUTUAL: the mesh certificate is used')
    }
    return
  }
  if ((mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH') && terminating) {
    for (const name of ['serverCertificate', 'privateKey', 'caCertificates', 'credentialName'] as const) {
      if (tls[name]) problems.warning(`${path}.${name}`, `is not used in mode ${mode}`)
    }
    return
  }
  if (!terminating || credentials.length > 0) return
  if (mode === 'SIMPLE' || mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL') {
    if (!tls.serverCertificate)
      problems.error(`${path}.serverCertificate`, `is required in mode ${mode} without credentialName`)
    if (!tls.privateKey) problems.error(`${path}.privateKey`, `is required in mode ${mode} without credentialName`)
    if (mode !== 'SIMPLE' && !tls.caCertificates) {
      problems.error(`${path}.caCertificates`, `is required in mode ${mode} without credentialName`)
    }
  }
}
