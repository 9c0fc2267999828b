// Gateway API objects and Ingresses: Gateways of one router, ListenerSets, routes, policies and grants.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import { CERTIFICATE } from './certificate.ts'
import type { Draw } from './draw.ts'
import { grpcRoute, httpRoute, sessionPersistence, tcpRoute, tlsRoute } from './gateway-api-routes.ts'
import { ingress, ingressClasses } from './ingress.ts'
import { allocatedAddresses, NAMESPACES, namespace, PORTS, serviceName } from './vocabulary.ts'

const GROUP = 'gateway.networking.k8s.io'
const VERSION = `${GROUP}/v1`
const AUTHORITY = Buffer.from(CERTIFICATE, 'base64').toString()

const secret = (name: string, namespace?: string): object => ({ group: '', kind: 'Secret', name, namespace })

/** One that can be used, in istio-system. */
const usable = (draw: Draw) =>
  secret(
    draw.pick(['cred', 'cred2']),
    draw.maybe(0.2, () => 'istio-system'),
  )
/** Mostly one that can be used. */
const certificate = (draw: Draw): object =>
  draw.chance(0.8)
    ? usable(draw)
    : secret(
        draw.pick(['missing', 'opaque']),
        draw.maybe(0.3, () => draw.pick(['istio-system', 'other'])),
      )

/** Where the first certificate cannot be used and the second can, istiod serves the mesh's own instead. */
const certificates = (draw: Draw): object[] =>
  draw.chance(0.8) ? [certificate(draw)] : [usable(draw), ...draw.many(1, 2, () => certificate(draw))]

function allowedRoutes(draw: Draw): object {
  const kinds = draw.maybe(0.12, () =>
    draw
      .some(['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute', 'Own'], 1, 2)
      .map((kind) => ({ group: kind === 'Own' ? 'example.com' : GROUP, kind })),
  )
  return {
    kinds,
    namespaces: draw.pick<object>([
      { from: 'All' },
      { from: 'All' },
      { from: 'All' },
      { from: 'Same' },
      { from: 'Selector', selector: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } },
      {
        from: 'Selector',
        selector: {
          matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['default', 'other'] }],
        },
      },
      { from: 'Selector', selector: { matchLabels: { none: 'such' } } },
    ]),
  }
}

const LISTENERS: readonly ((draw: Draw) => object)[] = [
  (draw) => ({ name: 'http', port: draw.pick([80, 8080]), protocol: 'HTTP' }),
  (draw) => ({ name: 'http-2', port: draw.pick([80, 8080]), protocol: 'HTTP', hostname: 'ext.example.com' }),
  (draw) => ({
    name: 'https',
    port: 443,
    protocol: 'HTTPS',
    tls: {
      mode: 'Terminate',
      certificateRefs: certificates(draw),
      options: draw.maybe(0.2, () =>
        draw.pick<object>([
          { 'gateway.istio.io/tls-terminate-mode': 'MUTUAL' },
          { 'gateway.istio.io/tls-terminate-mode': 'OPTIONAL_MUTUAL' },
          { 'gateway.istio.io/tls-terminate-mode': 'ISTIO_SIMPLE' },
          { 'gateway.istio.io/tls-terminate-mode': 'ISTIO_MUTUAL' },
          { 'gateway.istio.io/tls-cipher-suites': 'ECDHE-RSA-AES256-GCM-SHA384, NONE' },
        ]),
      ),
    },
  }),
  (draw) => ({ name: 'tcp', port: draw.pick([9000, 9000, 3306, 80]), protocol: 'TCP' }),
  (draw) => ({ name: 'tls', port: draw.pick([15443, 443]), protocol: 'TLS', tls: { mode: 'Passthrough' } }),
  (draw) => ({
    name: 'tls-end',
    port: 15443,
    protocol: 'TLS',
    tls: { mode: 'Terminate', certificateRefs: [certificate(draw)] },
  }),
  (draw) =>
    draw.pick<object>([
      { name: 'udp', port: 80, protocol: 'UDP' },
      { name: 'lower', port: 80, protocol: 'http' },
      { name: 'bare', port: 443, protocol: 'HTTPS' },
      { name: 'http-3', port: 12345, protocol: 'HTTP' },
    ]),
]

function listener(draw: Draw, make: (draw: Draw) => object): object {
  return {
    hostname: draw.maybe(0.4, () => draw.pick(['*.example.com', 'ext.example.com', 'www.example.com', '*.com'])),
    allowedRoutes: allowedRoutes(draw),
    ...make(draw),
  }
}

const caReference = (draw: Draw): object => ({
  group: '',
  kind: draw.pick(['ConfigMap', 'ConfigMap', 'Secret']),
  namespace: draw.maybe(0.08, () => draw.pick(['istio-system', 'default'])),
  name: draw.pick(['ca', 'ca', 'cred', 'missing']),
})

const validation = (draw: Draw) => ({
  validation: {
    caCertificateRefs: draw.many(1, draw.chance(0.1) ? 2 : 1, () => caReference(draw)),
    mode: draw.maybe(0.3, () => draw.pick(['AllowValidOnly', 'AllowInsecureFallback'])),
  },
})

function kubernetesGateway(draw: Draw): object {
  return {
    gatewayClassName: draw.chance(0.95) ? 'istio' : draw.pick(['istio-remote', 'foreign']),
    addresses: draw.chance(0.95)
      ? [{ type: 'Hostname', value: draw.pick(['ingress.istio-system.svc.cluster.local', 'ingress']) }]
      : draw.pick([
          undefined,
          [{ type: 'IPAddress', value: '1.2.3.4' }],
          [
            { type: 'Hostname', value: 'ingress' },
            { type: 'IPAddress', value: '1.2.3.4' },
          ],
          [{ type: 'Hostname', value: 'missing.istio-system.svc.cluster.local' }],
        ]),
    allowedListeners: draw.maybe(0.7, () => ({
      namespaces: draw.pick<object>([
        { from: 'All' },
        { from: 'All' },
        { from: 'Same' },
        { from: 'None' },
        { from: 'Selector', selector: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } },
      ]),
    })),
    listeners: draw.some(LISTENERS, 1, 4).map((make) => listener(draw, make)),
    tls: draw.maybe(0.15, () => ({
      frontend: draw.maybe(0.8, () => ({
        default: draw.chance(0.7) ? validation(draw) : {},
        perPort: draw.maybe(0.4, () => [{ port: 443, tls: validation(draw) }]),
      })),
      backend: draw.maybe(0.4, () => ({ clientCertificateRef: certificate(draw) })),
    })),
  }
}

const listenerSet = (draw: Draw): object => ({
  parentRef: { group: GROUP, kind: 'Gateway', name: draw.pick(['kgw', 'kgw', 'kgw2']), namespace: 'istio-system' },
  listeners: draw
    .some(LISTENERS, 1, 2)
    .map((make) => listener(draw, make))
    .map((made) => ({ ...made, name: `set-${(made as { name: string }).name}` })),
})

const referenceGrant = (draw: Draw): object => ({
  from: draw
    .some(['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute', 'Gateway', 'ListenerSet'], 2, 5)
    .map((kind) => ({ group: GROUP, kind, namespace: draw.pick(NAMESPACES) })),
  to: draw.pick<object[]>([
    [{ group: '', kind: 'Service' }],
    [{ group: '', kind: 'Service', name: serviceName(draw) }],
    [
      { group: '', kind: 'Secret' },
      { group: '', kind: 'Service' },
    ],
  ]),
})

/** Of one target: in istiod what is wrong with one is told of all after it. */
const backendTlsPolicy = (draw: Draw): object => ({
  targetRefs: [
    {
      ...(draw.chance(0.85)
        ? { group: '', kind: 'Service', name: serviceName(draw) }
        : draw.pick<object>([
            { group: 'networking.istio.io', kind: 'ServiceEntry', name: 'entry' },
            { group: 'networking.istio.io', kind: 'ServiceEntry', name: 'entry' },
            { group: 'example.com', kind: 'Own', name: 'x' },
          ])),
      sectionName: draw.maybe(0.3, () => draw.pick(['http', 'https', 'tcp', 'tls-a'])),
    },
  ],
  validation: {
    hostname: draw.pick(['backend.example.com', 'api.test.io']),
    ...(draw.chance(0.4)
      ? { wellKnownCACertificates: 'System' }
      : { caCertificateRefs: draw.many(1, draw.chance(0.1) ? 2 : 1, () => caReference(draw)) }),
    // Without any, we check for the hostname and istiod for nothing; see docs/differences.md.
    subjectAltNames: draw.some(
      [
        { type: 'Hostname', hostname: 'a.example.com' },
        { type: 'URI', uri: 'spiffe://td/ns/x/sa/y' },
      ],
      1,
      2,
    ),
  },
})

const backendTrafficPolicy = (draw: Draw): object => ({
  targetRefs: [
    draw.chance(0.9)
      ? { group: '', kind: 'Service', name: serviceName(draw) }
      : { group: 'networking.istio.io', kind: 'ServiceEntry', name: 'entry' },
  ],
  retryConstraint: draw.maybe(0.8, () => ({
    budget: { percent: draw.pick([20, 50]), interval: draw.pick(['10s', '20s']) },
    minRetryRate: draw.maybe(0.6, () => ({ count: draw.pick([1, 10, 25]), interval: '1s' })),
  })),
  sessionPersistence: draw.maybe(0.2, () => sessionPersistence(draw)),
})

const serviceEntry = (draw: Draw) => ({
  hosts: draw.some(['entry.example.com', 'entry.test.io'], 1, 2),
  resolution: 'DNS',
  location: 'MESH_EXTERNAL',
  ports: draw.some(
    [
      { number: 80, name: 'http', protocol: 'HTTP' },
      { number: 443, name: 'https', protocol: 'HTTPS' },
      { number: draw.pick(PORTS.slice(3)), name: 'tcp', protocol: 'TCP' },
    ],
    1,
    3,
  ),
})

const MAKERS: readonly [kind: string, apiVersion: string, make: (draw: Draw) => object][] = [
  ['HTTPRoute', VERSION, httpRoute],
  ['HTTPRoute', VERSION, httpRoute],
  ['GRPCRoute', VERSION, grpcRoute],
  ['TCPRoute', VERSION, tcpRoute],
  ['TLSRoute', VERSION, tlsRoute],
  ['HTTPRoute', VERSION, httpRoute],
  ['BackendTLSPolicy', VERSION, backendTlsPolicy],
  ['ReferenceGrant', `${GROUP}/v1beta1`, referenceGrant],
  ['ListenerSet', VERSION, listenerSet],
  ['XBackendTrafficPolicy', 'gateway.networking.x-k8s.io/v1alpha1', backendTrafficPolicy],
  ['Ingress', 'networking.k8s.io/v1', ingress],
]

/** Gateways with their class, and what is for them or for the mesh. */
export function gatewayApi(draw: Draw): KubeObject[] {
  let made = 0
  const object = (kind: string, apiVersion: string, name: string, place: string | undefined, more: object) => ({
    apiVersion,
    kind,
    metadata: {
      name,
      namespace: place,
      uid: `uid-${++made}`,
      generation: made,
      // Of one age, istiod takes some kinds in any order.
      creationTimestamp: `2026-01-0${draw.between(1, 3)}T00:00:${String(made).padStart(2, '0')}Z`,
    },
    ...more,
  })
  const list: object[] = [
    ...ingressClasses(),
    object('GatewayClass', VERSION, 'istio', undefined, { spec: { controllerName: 'istio.io/gateway-controller' } }),
    object('GatewayClass', VERSION, 'foreign', undefined, { spec: { controllerName: 'example.com/other' } }),
    object('Gateway', VERSION, 'kgw', 'istio-system', { spec: kubernetesGateway(draw) }),
  ]
  if (draw.chance(0.4)) list.push(object('Gateway', VERSION, 'kgw2', 'istio-system', { spec: kubernetesGateway(draw) }))
  if (draw.chance(0.3)) {
    const spec = serviceEntry(draw)
    const status = allocatedAddresses(spec.hosts, 99)
    list.push(object('ServiceEntry', 'networking.istio.io/v1', 'entry', 'default', { spec, status }))
  }
  for (const place of ['istio-system', 'default']) {
    list.push(object('ConfigMap', 'v1', 'ca', place, { data: { 'ca.crt': AUTHORITY } }))
  }
  list.push(
    object('Secret', 'v1', 'opaque', 'istio-system', {
      type: 'Opaque',
      data: { 'tls.crt': 'eA==', 'tls.key': 'eA==' },
    }),
  )
  for (let index = 0, count = draw.between(1, 5); index < count; index++) {
    const [kind, apiVersion, make] = draw.pick(MAKERS)
    const place = kind === 'ReferenceGrant' ? namespace(draw) : draw.pick(['default', 'default', 'istio-system'])
    const name = kind === 'ListenerSet' ? 'set' : `k${index}`
    list.push(object(kind, apiVersion, name, place, { spec: make(draw) }))
  }
  return list as KubeObject[]
}
