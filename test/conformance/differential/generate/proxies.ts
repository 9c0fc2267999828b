// The proxies that ask.
import type { ProxyDescription } from '../../pilot.ts'
import type { Draw } from './draw.ts'
import type { Pod } from './services.ts'
import { EXTERNAL_HOSTS, namespace, PORTS, serviceHost, serviceName } from './vocabulary.ts'

function metadata(draw: Draw, ip: string): ProxyDescription['metadata'] {
  const out: Record<string, unknown> = {}
  if (draw.chance(0.2)) out.INTERCEPTION_MODE = draw.pick(['TPROXY', 'NONE'])
  if (draw.chance(0.12)) out.DNS_CAPTURE = 'true'
  if (draw.chance(0.08)) out.INSTANCE_IPS = `${ip},2001:db8::${ip.split('.')[3]}`
  if (draw.chance(0.08)) out.HTTP10 = '1'
  if (draw.chance(0.08)) out.IDLE_TIMEOUT = '12s'
  if (draw.chance(0.08)) out.ISTIO_VERSION = draw.pick(['1.20.0', '1.24.3', '1.26.1', '1.28.0', '1.29.0'])
  if (draw.chance(0.15)) out.NETWORK = draw.pick(['n1', 'n2', 'n3'])
  if (draw.chance(0.04)) out.REQUESTED_NETWORK_VIEW = draw.pick(['n1', 'n2,n3', 'n1,'])
  if (draw.chance(0.04)) out.INBOUND_LISTENER_EXACT_BALANCE = 'true'
  if (draw.chance(0.04)) out.OUTBOUND_LISTENER_EXACT_BALANCE = 'true'
  if (draw.chance(0.04)) out.DNS_AUTO_ALLOCATE = 'true'
  if (draw.chance(0.04)) out.HTTP_PROXY_PORT = '15098'
  if (draw.chance(0.04)) out.STATIC_LABELS = draw.pick([{ version: 'v9' }, { app: 'none', team: 'a' }])
  if (draw.chance(0.04)) out.WORKLOAD_NAME = 'web-deployment'
  if (draw.chance(0.04)) out.CLUSTER_ID = draw.pick(['other', ''])
  if (draw.chance(0.04)) out.METADATA_DISCOVERY = draw.pick(['true', 'false'])
  if (draw.chance(0.03)) out.POD_PORTS = '[{"name":"main","containerPort":7778,"protocol":"TCP"}]'
  if (draw.chance(0.04)) out.credential = 'true'
  if (draw.chance(0.04)) out['file-credential'] = 'true'
  if (draw.chance(0.05)) out.UNPRIVILEGED_POD = 'true'
  if (draw.chance(0.05)) out.TLS_CLIENT_CERT_CHAIN = '/etc/client.pem'
  if (draw.chance(0.05)) out.TLS_SERVER_CERT_CHAIN = '/etc/server.pem'
  if (draw.chance(0.08))
    out.PROXY_CONFIG = draw.pick<object>([
      { proxyHeaders: { server: { value: 'mine' } } },
      { gatewayTopology: { numTrustedProxies: 1 } },
      { tracing: { sampling: 3 } },
      { statusPort: 15999 },
      { proxyMetadata: { K: 'v' } },
    ])
  if (draw.chance(0.05)) out.ROUTER_MODE = 'sni-dnat'
  if (draw.chance(0.04)) out.K = 'v'
  return out as ProxyDescription['metadata']
}

const LOCALITIES = { n1: 'r1/z1/s1', n2: 'r1/z1', n3: 'r1/z2', n4: 'r2/z3' } as Record<string, string>

function beside(draw: Draw, pod: Pod, type = 'sidecar'): ProxyDescription {
  return {
    name: `${pod.name}.${pod.namespace}`,
    type,
    ip: pod.ip,
    pod: pod.name,
    namespace: pod.namespace,
    serviceAccount: pod.serviceAccount,
    labels: pod.labels,
    locality: LOCALITIES[pod.node]!,
    metadata: {
      NODE_NAME: pod.node,
      INSTANCE_IPS: pod.ip6 ? `${pod.ip},${pod.ip6}` : pod.ip,
      ...metadata(draw, pod.ip),
    },
  }
}

/** What a proxyless client may ask for: services by any of their names, and its own ports. */
function grpcNames(draw: Draw, ip: string): string[] {
  const host = () =>
    draw.either(
      () => serviceHost(draw),
      () => serviceName(draw),
      () => `${serviceName(draw)}.default`,
      () => `${serviceName(draw)}.${namespace(draw)}.svc`,
      () => draw.pick(EXTERNAL_HOSTS),
    )
  return [
    ...draw.many(1, 5, () => (draw.chance(0.85) ? `${host()}:${draw.pick(PORTS)}` : host())),
    ...draw.many(0, 2, () => `xds.istio.io/grpc/lds/inbound/${draw.pick([ip, '0.0.0.0', '[::]'])}:${draw.pick(PORTS)}`),
  ]
}

function proxyless(draw: Draw, pod: Pod): ProxyDescription {
  const asks = draw.chance(0.05) ? [] : [...new Set(grpcNames(draw, pod.ip))]
  const { NODE_NAME = '' } = beside(draw, pod).metadata
  return {
    ...beside(draw, pod),
    name: `grpc-${pod.name}.${pod.namespace}`,
    metadata: { NODE_NAME, GENERATOR: 'grpc' },
    asks,
  }
}

/**
 * The gateway, sidecars of up to two pods, and clients that no Service has, one of them with an IPv6 address alone. The
 * gateway asks first: once a sidecar of its namespace has asked, istiod gives a gateway the scope of sidecars.
 */
export function proxies(draw: Draw, pods: readonly Pod[], gateway: Pod): ProxyDescription[] {
  const clients: Pod[] = [
    {
      name: 'client-0',
      namespace: 'default',
      ip: '10.1.8.1',
      node: 'n1',
      serviceAccount: 'client',
      labels: { app: 'client', version: 'v1', 'security.istio.io/tlsMode': 'istio' },
    },
    {
      name: 'client-1',
      namespace: draw.pick(['other', 'third', 'istio-system']),
      ip: '10.1.8.2',
      node: draw.pick(['n3', 'n4']),
      serviceAccount: 'default',
      labels: { app: 'none' },
    },
  ]
  if (draw.chance(0.15)) {
    const labels = { app: 'client', version: 'v6' }
    clients.push({
      name: 'client-6',
      namespace: 'default',
      ip: 'fd00:1::8:6',
      node: 'n2',
      serviceAccount: 'client',
      labels,
    })
  }
  const sidecars = [...draw.some(pods, 1, 2), ...clients]
  return [
    beside(draw, gateway, 'router'),
    ...sidecars.map((pod) => beside(draw, pod)),
    ...(draw.chance(0.3) ? [proxyless(draw, draw.pick(sidecars))] : []),
  ]
}
