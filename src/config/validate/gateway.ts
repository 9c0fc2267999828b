import { isCipherSuite } from '../cipher-suites.ts'
import type { Gateway } from '../resource.ts'
import type { GatewayServer, ServerTls } from '../resources/gateway.ts'
import type { Problems } from '../schema.ts'
import { checkFullName, checkPort, checkProtocol, isHttpProtocol, isIpAddress } from './common.ts'

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
  if (port.protocol === '') problems.error(`${path}.port.protocol`, 'must not be empty')
  checkProtocol(port.protocol, `${path}.port.protocol`, problems)
  if (port.targetPort) problems.error(`${path}.port.targetPort`, 'has no impact on Gateways', 'leave it out')
  if (hosts.length === 0) problems.error(`${path}.hosts`, 'must have at least one host')
  hosts.forEach((host, i) => {
    checkServerHost(host, `${path}.hosts[${i}]`, problems)
  })
  if (server.defaultEndpoint) problems.error(`${path}.defaultEndpoint`, 'is not supported on gateways')
  if (server.bind && !isIpAddress(server.bind)) problems.error(`${path}.bind`, `"${server.bind}" is not an IP address`)
  const terminating = TLS_PROTOCOLS.has(port.protocol.toUpperCase())
  if (terminating && !tls) problems.error(`${path}.tls`, `is required for protocol ${port.protocol}`)
  if (!tls) return
  if (terminating && tls.httpsRedirect) {
    problems.warning(`${path}.tls.httpsRedirect`, 'is only for HTTP servers', 'put it on the plain HTTP server')
  }
  validateServerTls(tls, `${path}.tls`, problems)
  if (terminating) return
  const { mode = 'PASSTHROUGH' } = tls
  const plain = mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH'
  if (!isHttpProtocol(port.protocol))
    problems.error(`${path}.tls`, 'server cannot have TLS settings for non HTTPS/TLS ports')
  else if (!plain || tls.caCertificates || tls.privateKey || tls.serverCertificate)
    problems.error(`${path}.tls`, 'server cannot have TLS settings for plain text HTTP ports', 'use protocol HTTPS')
}

/** `host`, `namespace/host`, `./host` or `*` + `/host`. */
function checkServerHost(host: string, path: string, problems: Problems): void {
  const slash = host.indexOf('/')
  if (slash < 0) {
    if (!isIpAddress(host)) checkFullName(host, path, problems)
    return
  }
  const namespace = host.slice(0, slash)
  if (namespace !== '*' && namespace !== '.' && !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/i.test(namespace)) {
    problems.error(path, `"${namespace}" is not a namespace`)
  }
  const name = host.slice(slash + 1)
  if (!isIpAddress(name)) checkFullName(name, path, problems)
}

const PROTOCOL_ORDER = ['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3']

export function validateServerTls(tls: ServerTls, path: string, problems: Problems): void {
  const mode = tls.mode ?? 'PASSTHROUGH'
  checkCiphers(tls, path, problems)
  if (
    tls.minProtocolVersion &&
    tls.maxProtocolVersion &&
    tls.maxProtocolVersion !== 'TLS_AUTO' &&
    PROTOCOL_ORDER.indexOf(tls.minProtocolVersion) > PROTOCOL_ORDER.indexOf(tls.maxProtocolVersion)
  ) {
    problems.warning(
      path,
      `minProtocolVersion ${tls.minProtocolVersion} is above maxProtocolVersion ${tls.maxProtocolVersion}: no handshake succeeds`,
    )
  }
  const used = CERTIFICATES.filter((name) => (Array.isArray(tls[name]) ? tls[name].length > 0 : tls[name]))
  if (mode === 'ISTIO_MUTUAL') {
    for (const name of used) {
      if (name !== 'caCrl')
        problems.error(`${path}.${name}`, 'must not be set in mode ISTIO_MUTUAL: the mesh certificate is used')
    }
    return
  }
  const passing = mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH'
  if (passing && used.length > 0)
    problems.warning(`${path}.${used[0]}`, `${mode} mode does not use certificates, they will be ignored`)
  const sources = [
    tls.serverCertificate && tls.privateKey && 'serverCertificate and privateKey',
    tls.credentialName && 'credentialName',
    tls.credentialNames?.length && 'credentialNames',
    tls.tlsCertificates?.length && 'tlsCertificates',
  ].filter(Boolean)
  if (sources.length > 1) problems.error(path, `only one of ${sources.join(', ')} can be set`)
  if (passing || tls.credentialName || tls.credentialNames?.length) return
  if (mode !== 'SIMPLE' && !tls.caCertificates)
    problems.error(`${path}.caCertificates`, `is required in mode ${mode} without credentialName`)
  const listed = tls.tlsCertificates ?? []
  const own =
    listed.length > 0 ? listed.map((one, i) => [`${path}.tlsCertificates[${i}]`, one] as const) : [[path, tls] as const]
  for (const [at, { serverCertificate, privateKey }] of own) {
    if (!serverCertificate)
      problems.error(`${at}.serverCertificate`, `is required in mode ${mode} without credentialName`)
    if (!privateKey) problems.error(`${at}.privateKey`, `is required in mode ${mode} without credentialName`)
  }
  if (tls.caCrl && mode === 'SIMPLE') problems.error(`${path}.caCrl`, 'is not supported in mode SIMPLE')
}

const CERTIFICATES = [
  'serverCertificate',
  'privateKey',
  'caCertificates',
  'caCrl',
  'tlsCertificates',
  'credentialName',
  'credentialNames',
] as const

function checkCiphers(tls: ServerTls, path: string, problems: Problems): void {
  tls.cipherSuites?.forEach((suite, i) => {
    const at = `${path}.cipherSuites[${i}]`
    if (!isCipherSuite(suite)) problems.warning(at, `"${suite}" is no cipher suite of Istio's and is left out`)
    else if (tls.cipherSuites!.indexOf(suite) < i) problems.warning(at, `"${suite}" stands here twice`)
  })
  const { minProtocolVersion: least } = tls
  if ((least === 'TLSV1_0' || least === 'TLSV1_1') && !tls.cipherSuites?.length) {
    problems.warning(
      `${path}.minProtocolVersion`,
      `${least}: TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers`,
    )
  }
}
