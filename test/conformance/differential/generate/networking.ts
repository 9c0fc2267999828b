// ServiceEntries, WorkloadEntries, Sidecars and Gateways.
import { connectionPool } from './destination-rule.ts'
import type { Draw } from './draw.ts'
import {
  concreteHost,
  EXTERNAL_HOSTS,
  exportTo,
  LOCALITIES,
  labels,
  NAMESPACES,
  serviceHost,
  serviceName,
} from './vocabulary.ts'

const ENTRY_PORTS = [
  { number: 80, name: 'http', protocol: 'HTTP' },
  { number: 8080, name: 'http-alt', protocol: 'HTTP', targetPort: 9080 },
  { number: 443, name: 'https', protocol: 'HTTPS' },
  { number: 443, name: 'tls', protocol: 'TLS' },
  { number: 443, name: 'http-tls', protocol: 'HTTP', targetPort: 8443 },
  { number: 9000, name: 'tcp', protocol: 'TCP' },
  { number: 9090, name: 'tcp-auto' },
  { number: 7070, name: 'grpc', protocol: 'GRPC' },
  { number: 27017, name: 'mongo', protocol: 'MONGO' },
  { number: 3306, name: 'mysql', protocol: 'MySQL' },
  { number: 8080, name: 'h2', protocol: 'HTTP2' },
  { number: 80, name: 'tcp-80', protocol: 'TCP' },
] as const

function entryPorts(draw: Draw, named: boolean) {
  const out: { number: number; name: string }[] = []
  for (const port of draw.some<(typeof ENTRY_PORTS)[number]>(
    named ? ENTRY_PORTS.filter(({ name }) => /^(http|tls|grpc|h2)/.test(name)) : ENTRY_PORTS,
    1,
    3,
  )) {
    if (!out.some((other) => other.number === port.number)) out.push(port)
  }
  return out
}

function endpoint(draw: Draw, resolution: string, ports: readonly { name: string }[]): object {
  const byName = resolution !== 'STATIC' && draw.chance(0.6)
  return {
    address: byName
      ? draw.pick(['one.example.net', 'two.example.net'])
      : draw.pick(['10.9.0.1', '10.9.0.2', '10.9.0.3', '10.1.0.1', '2001:db8::1']),
    ports: draw.maybe(0.25, () => ({ [draw.pick(ports).name]: 10080 })),
    labels: draw.maybe(0.4, () => ({
      ...labels(draw),
      ...(draw.chance(0.4) && { 'security.istio.io/tlsMode': 'istio' }),
    })),
    locality: draw.maybe(0.3, () => draw.pick(LOCALITIES)),
    weight: draw.maybe(0.25, () => draw.between(0, 9)),
    network: draw.maybe(0.05, () => 'n2'),
    serviceAccount: draw.maybe(0.15, () => 'sa'),
  }
}

/** The spec of a ServiceEntry. */
export function serviceEntry(draw: Draw): object {
  const resolution = draw.chance(0.06)
    ? 'DYNAMIC_DNS'
    : draw.pick(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'STATIC', 'DNS'])
  const wildcard = resolution === 'DYNAMIC_DNS' || (resolution === 'NONE' && draw.chance(0.3))
  const hosts = wildcard
    ? draw.some(['*.example.com', '*.test.io'], 1, 2)
    : draw.chance(0.12)
      ? [serviceHost(draw)].map((host) => (host.includes('.svc.') ? host : `${host}.default.svc.cluster.local`))
      : draw.some(EXTERNAL_HOSTS, 1, 2)
  // Hosts that share a port must be told apart by what clients send.
  const ports = entryPorts(draw, hosts.length > 1 && resolution !== 'NONE')
  const selects = (resolution === 'STATIC' || resolution === 'DNS') && draw.chance(0.2)
  const addresses = draw.maybe(0.4, () =>
    draw.some(
      ['240.0.0.1', '240.0.0.2', '240.0.1.0/24', '10.96.0.10', '2001:db8::9', '10.0.0.0/8', '240.0.2.5/32'],
      1,
      1,
    ),
  )
  return {
    hosts,
    addresses:
      resolution === 'NONE' || !addresses
        ? addresses
        : addresses.filter((a) => !a.includes('/') || resolution === 'STATIC'),
    ports,
    // Of a wildcard in the mesh istiod's cluster asks for a label that no resolved address has (docs/differences.md).
    location:
      resolution === 'DYNAMIC_DNS'
        ? 'MESH_EXTERNAL'
        : draw.maybe(0.8, () => draw.pick(['MESH_INTERNAL', 'MESH_EXTERNAL'])),
    resolution,
    ...(selects
      ? { workloadSelector: { labels: labels(draw) } }
      : resolution !== 'NONE' && resolution !== 'DYNAMIC_DNS' && (resolution === 'STATIC' || draw.chance(0.6))
        ? { endpoints: draw.many(0, resolution === 'DNS_ROUND_ROBIN' ? 1 : 3, () => endpoint(draw, resolution, ports)) }
        : {}),
    subjectAltNames: draw.maybe(0.15, () => ['spiffe://cluster.local/ns/a/sa/b']),
    exportTo: exportTo(draw),
  }
}

/** The spec of a WorkloadEntry. */
export function workloadEntry(draw: Draw): object {
  return endpoint(draw, 'STATIC', [{ name: 'http' }, { name: 'tcp' }])
}

const egressHost = (draw: Draw): string => {
  const where = draw.pick(['*', '.', '.', 'other', 'default', '~', 'missing'])
  if (where === '~') return '~/*'
  return `${where}/${draw.chance(0.5) ? '*' : draw.chance(0.3) ? draw.pick(['*.example.com', '*.default.svc.cluster.local', '*.com']) : concreteFull(draw)}`
}

function concreteFull(draw: Draw): string {
  const host = concreteHost(draw)
  return host.includes('.') && !host.endsWith('.default') ? host : `${serviceName(draw)}.default.svc.cluster.local`
}

/** The spec of a Sidecar. */
export function sidecar(draw: Draw): object {
  const listeners = draw.between(1, 2)
  // The listener for every port comes last.
  const egress = Array.from({ length: listeners }, (_, index) => ({
    hosts: draw.many(1, 3, () => egressHost(draw)),
    ...(index === listeners - 1 && draw.chance(0.6)
      ? {}
      : index === 0 || draw.chance(0.6)
        ? {
            port: draw.either<object>(
              () => ({ number: index === 0 ? 9000 : 9090, protocol: 'TCP', name: 'tcp' }),
              () => ({ number: index === 0 ? 80 : 8080, protocol: 'HTTP', name: 'http' }),
              () => ({ number: 3128, protocol: 'HTTP_PROXY', name: 'proxy' }),
              () => ({ number: 443, protocol: 'TLS', name: 'tls' }),
              () => ({ number: 12345, protocol: 'HTTP', name: 'odd' }),
              () => ({ number: 27017, protocol: 'MONGO', name: 'mongo' }),
            ),
            bind: draw.maybe(0.4, () => draw.pick(['127.0.0.1', '0.0.0.0', '127.0.0.9'])),
            captureMode: draw.maybe(0.25, () => draw.pick(['DEFAULT', 'NONE', 'IPTABLES'])),
          }
        : {}),
  }))
  const made = {
    workloadSelector: draw.maybe(0.5, () => ({ labels: labels(draw) })),
    ingress: draw.maybe(0.35, () =>
      draw
        .some([80, 8080, 9000, 7777], 1, 2)
        .map((number) => ({
          port: { number, protocol: draw.pick(['HTTP', 'TCP', 'HTTP2', 'HTTPS', 'GRPC', 'MONGO']), name: `p${number}` },
          bind: draw.maybe(0.15, () => draw.pick(['0.0.0.0', '127.0.0.1', '10.1.0.1'])),
          captureMode: draw.maybe(0.1, () => draw.pick(['DEFAULT', 'NONE', 'IPTABLES'])),
          defaultEndpoint: draw.maybe(0.7, () =>
            draw.pick(['127.0.0.1:9999', '0.0.0.0:9999', 'unix:///var/run/x.sock', '127.0.0.1:8080']),
          ),
          connectionPool: draw.maybe(0.2, () => connectionPool(draw)),
        }))
        .map((listener) =>
          ['HTTPS'].includes(listener.port.protocol) && draw.chance(0.5)
            ? { ...listener, tls: draw.chance(0.8) ? serverTls(draw) : credentialTls(draw, ['SIMPLE', 'MUTUAL']) }
            : listener,
        ),
    ),
    egress: draw.maybe(0.85, () => egress),
    inboundConnectionPool: draw.maybe(0.2, () => connectionPool(draw)),
    outboundTrafficPolicy: draw.maybe(0.4, () => ({
      mode: draw.pick(['REGISTRY_ONLY', 'ALLOW_ANY']),
      egressProxy: draw.maybe(0.2, () => ({
        host: `${serviceName(draw)}.default.svc.cluster.local`,
        port: { number: 80 },
        subset: draw.maybe(0.3, () => 'v1'),
      })),
    })),
  }
  return made.ingress || made.egress || made.outboundTrafficPolicy ? made : { ...made, egress }
}

function serverTls(draw: Draw, modes: readonly string[] = ['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL']): object {
  const mode = draw.pick(modes)
  const common = {
    mode,
    minProtocolVersion: draw.maybe(0.2, () => draw.pick(['TLSV1_2', 'TLSV1_3', 'TLS_AUTO', 'TLSV1_0', 'TLSV1_1'])),
    maxProtocolVersion: draw.maybe(0.1, () => draw.pick(['TLSV1_3', 'TLSV1_3', 'TLSV1_2', 'TLS_AUTO'])),
    insecureSkipVerify: draw.maybe(0.04, () => true),
    cipherSuites: draw.maybe(0.15, () => ['ECDHE-RSA-AES128-GCM-SHA256', 'AES128-SHA']),
    subjectAltNames: draw.maybe(0.2, () => draw.some(['a.com', 'spiffe://x'], 1, 2)),
    verifyCertificateSpki: draw.maybe(0.06, () => ['0123456789abcdef0123456789abcdef0123456789ab']),
    verifyCertificateHash: draw.maybe(0.06, () => ['ab'.repeat(32)]),
  }
  if (mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH') return { mode }
  if (mode === 'ISTIO_MUTUAL') return common
  const mutual = mode !== 'SIMPLE'
  return {
    ...common,
    httpsRedirect: undefined,
    ...draw.either<object>(() => ({
      serverCertificate: '/etc/cert.pem',
      privateKey: '/etc/key.pem',
      ...(mutual && { caCertificates: '/etc/ca.pem', caCrl: draw.maybe(0.2, () => '/etc/crl.pem') }),
    })),
  }
}

function credentialTls(draw: Draw, modes: readonly string[]): object {
  const tls = serverTls(draw, modes) as Record<string, unknown>
  if (!tls.serverCertificate || draw.chance(0.3)) return tls
  const { serverCertificate: _c, privateKey: _k, caCertificates: _a, caCrl: _r, ...rest } = tls
  return {
    ...rest,
    ...draw.either<object>(
      () => ({ credentialName: draw.pick(['cred', 'cred2']) }),
      () => ({ credentialName: 'cred' }),
      () => ({ credentialNames: ['cred', 'cred2'] }),
      () => ({ credentialName: 'cred', caCertCredentialName: draw.pick(['cred2', 'missing']) }),
      () => ({
        tlsCertificates: [
          { serverCertificate: '/etc/a.pem', privateKey: '/etc/a.key' },
          ...draw.many(0, 1, () => ({ serverCertificate: '/etc/b.pem', privateKey: '/etc/b.key' })),
        ],
        ...(/MUTUAL/.test(String(rest.mode)) && { caCertificates: '/etc/ca.pem' }),
      }),
    ),
  }
}

const gatewayHost = (draw: Draw): string => {
  const host = draw.chance(0.35)
    ? draw.pick(['*', '*.example.com', '*.com'])
    : draw.chance(0.7)
      ? draw.pick(EXTERNAL_HOSTS)
      : `${serviceName(draw)}.default.svc.cluster.local`
  return draw.chance(0.2) ? `${draw.pick(['.', '*', ...NAMESPACES])}/${host}` : host
}

/** The spec of a Gateway. */
export function gateway(draw: Draw): object {
  const used = new Set<string>()
  const servers = draw.many(1, 3, (index) => {
    const common = {
      hosts: [...new Set(draw.many(1, 2, () => gatewayHost(draw)))],
      bind: draw.maybe(0.06, () => draw.pick(['10.1.9.1', '0.0.0.0', '127.0.0.5'])),
      name: draw.maybe(0.2, () => `s${index}`),
    }
    return draw.either<object>(
      () => ({
        port: {
          number: draw.pick([80, 8080]),
          name: `http-${index}`,
          protocol: draw.pick(['HTTP', 'HTTP', 'HTTP2', 'GRPC']),
        },
        ...common,
        tls: draw.maybe(0.15, () => ({ httpsRedirect: true })),
      }),
      () => ({ port: { number: draw.pick([80, 8080]), name: `http-${index}`, protocol: 'HTTP' }, ...common }),
      () => ({
        port: { number: draw.pick([443, 8443]), name: `https-${index}`, protocol: 'HTTPS' },
        ...common,
        tls: credentialTls(draw, ['SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL', 'PASSTHROUGH', 'OPTIONAL_MUTUAL', 'SIMPLE']),
      }),
      () => ({
        port: { number: draw.pick([443, 15443]), name: `tls-${index}`, protocol: 'TLS' },
        ...common,
        tls: credentialTls(draw, ['SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL', 'PASSTHROUGH', 'AUTO_PASSTHROUGH']),
      }),
      () => ({
        port: {
          number: draw.pick([9000, 3306, 80]),
          name: `tcp-${index}`,
          protocol: draw.pick(['TCP', 'MYSQL', 'MONGO', 'REDIS']),
        },
        ...common,
      }),
    )
  }) as { port: { name: string } }[]
  return {
    selector: draw.chance(0.9) ? { istio: 'ingressgateway' } : draw.pick([{}, { app: 'ingress' }, { app: 'web' }]),
    servers: servers.filter(({ port }) => !used.has(port.name) && used.add(port.name)),
  }
}
