// Kubernetes' part of a mesh: namespaces, nodes, Services of all kinds, their pods and slices.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import type { Draw } from './draw.ts'
import { NAMESPACES, serviceName } from './vocabulary.ts'

/** A pod that a proxy may stand beside. */
export interface Pod {
  readonly name: string
  readonly namespace: string
  readonly ip: string
  /** Its address in the other family, when it has one. */
  readonly ip6?: string | undefined
  readonly labels: Record<string, string>
  readonly node: string
  readonly serviceAccount: string
}

const NODES = [
  ['n1', 'r1', 'z1', 's1'],
  ['n2', 'r1', 'z1', ''],
  ['n3', 'r1', 'z2', ''],
  ['n4', 'r2', 'z3', ''],
] as const

interface ServicePort {
  name?: string
  port: number
  targetPort?: number | string
  protocol?: string
  appProtocol?: string
}

const PORT_KINDS: readonly ((draw: Draw) => ServicePort)[] = [
  () => ({ name: 'http', port: 80 }),
  () => ({ name: 'http', port: 80, targetPort: 8080 }),
  () => ({ name: 'http-web', port: 8080 }),
  () => ({ name: 'http2', port: 8080 }),
  () => ({ name: 'tcp', port: 9000 }),
  () => ({ name: 'tcp-web', port: 80 }),
  () => ({ name: 'https', port: 443, targetPort: 8443 }),
  () => ({ name: 'tls-a', port: 443 }),
  () => ({ name: 'grpc', port: 7070 }),
  () => ({ name: 'grpc-web', port: 7070 }),
  () => ({ name: 'mongo', port: 27017 }),
  () => ({ name: 'mysql', port: 3306 }),
  () => ({ name: 'redis', port: 6379 }),
  () => ({ name: 'udp-dns', port: 9090, protocol: 'UDP' }),
  () => ({ name: 'auto', port: 9090 }),
  () => ({ name: 'auto', port: 80 }),
  () => ({ name: 'named', port: 9000, targetPort: 'main' }),
  () => ({ name: 'other', port: 9090, appProtocol: 'http' }),
  () => ({ name: 'h2c', port: 8080, appProtocol: 'kubernetes.io/h2c' }),
  () => ({ name: 'ws', port: 8080, appProtocol: 'kubernetes.io/ws' }),
  () => ({ name: 'wss', port: 443, appProtocol: 'kubernetes.io/wss' }),
  () => ({ name: 'app', port: 7070, appProtocol: 'grpc' }),
  () => ({ name: 'app', port: 3306, appProtocol: 'mysql' }),
  () => ({ name: 'https-a', port: 443, appProtocol: 'https' }),
  () => ({ name: 'unknown', port: 9000, appProtocol: 'example.com/own' }),
  () => ({ name: 'own', port: 15443 }),
  () => ({ name: 'smtp', port: 25 }),
]

const metadata = (draw: Draw, name: string, namespace: string, more: object = {}) => ({
  name,
  namespace,
  creationTimestamp: `2026-01-0${draw.between(1, 3)}T00:${draw.between(10, 59)}:${draw.between(10, 59)}Z`,
  ...more,
})

export function namespacesAndNodes(draw: Draw): KubeObject[] {
  const namespaces = NAMESPACES.map((name) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: { 'kubernetes.io/metadata.name': name },
      creationTimestamp: '2026-01-01T00:00:00Z',
      annotations: draw.maybe(0.08, () => ({ 'networking.istio.io/traffic-distribution': 'PreferClose' })),
    },
  }))
  const nodes = NODES.map(([name, region, zone, subzone]) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: {
        'topology.kubernetes.io/region': region,
        'topology.kubernetes.io/zone': zone,
        ...(subzone === '' ? {} : { 'topology.istio.io/subzone': subzone }),
      },
    },
  }))
  return [...namespaces, ...nodes] as KubeObject[]
}

function ports(draw: Draw): ServicePort[] {
  const out: ServicePort[] = []
  for (const make of draw.some(PORT_KINDS, 1, 3)) {
    const made = make(draw)
    // As the API server would fill it in.
    const port = { ...made, targetPort: made.targetPort ?? made.port, protocol: made.protocol ?? 'TCP' }
    if (!out.some((other) => other.port === port.port || other.name === port.name)) out.push(port)
  }
  if (out.length === 1 && draw.chance(0.15)) delete out[0]!.name
  return out
}

function serviceMetadata(draw: Draw): object {
  const annotations: Record<string, string> = {}
  if (draw.chance(0.06))
    annotations['networking.istio.io/exportTo'] = draw.pick(['.', '*', 'other', '~', 'default,other'])
  if (draw.chance(0.05))
    annotations['networking.istio.io/traffic-distribution'] = draw.pick([
      'PreferClose',
      'PreferSameNode',
      'PreferSameZone',
      'Any',
    ])
  if (draw.chance(0.03)) annotations['alpha.istio.io/canonical-serviceaccounts'] = 'special'
  if (draw.chance(0.03)) annotations['alpha.istio.io/kubernetes-serviceaccounts'] = 'web,other'
  const labels: Record<string, string> = {}
  if (draw.chance(0.04)) labels['istio.io/persistent-session'] = 'session-cookie:/path'
  if (draw.chance(0.02)) labels['istio.io/persistent-session-header'] = 'x-session'
  if (draw.chance(0.04)) labels['networking.istio.io/gatewayPort'] = '15443'
  return {
    ...(Object.keys(annotations).length > 0 && { annotations }),
    ...(Object.keys(labels).length > 0 && { labels }),
  }
}

/** Services with pods and slices, and the pods. Addresses are unique in the mesh. */
export function services(draw: Draw): { objects: KubeObject[]; pods: Pod[] } {
  const objects: KubeObject[] = []
  const pods: Pod[] = []
  const taken = new Set<string>()
  for (let index = 0, count = draw.between(1, 5); index < count; index++) {
    const name = serviceName(draw)
    const namespace = draw.chance(0.6) ? 'default' : draw.pick(['other', 'third'])
    if (taken.has(`${namespace}/${name}`)) continue
    taken.add(`${namespace}/${name}`)
    const roll = draw.next()
    if (roll < 0.08) objects.push(externalName(draw, name, namespace))
    else addService(draw, name, namespace, index, { headless: roll < 0.3, selector: roll < 0.93 }, objects, pods)
  }
  return { objects, pods }
}

function externalName(draw: Draw, name: string, namespace: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(draw, name, namespace),
    spec: {
      type: 'ExternalName',
      externalName: draw.pick([
        'ext.example.com',
        'web.default.svc.cluster.local',
        'shop.other.svc.cluster.local',
        'elsewhere.net',
      ]),
      ports: draw.maybe(0.8, () => ports(draw)),
    },
  } as KubeObject
}

function addService(
  draw: Draw,
  name: string,
  namespace: string,
  index: number,
  kind: { readonly headless: boolean; readonly selector: boolean },
  objects: KubeObject[],
  pods: Pod[],
): void {
  const list = ports(draw)
  const type = kind.headless
    ? 'ClusterIP'
    : draw.pick(['ClusterIP', 'ClusterIP', 'ClusterIP', 'NodePort', 'LoadBalancer'])
  const dual = !kind.headless && draw.chance(0.08)
  const only6 = !dual && draw.chance(0.05)
  const address = only6 ? `fd00:96::${10 + index}` : `10.96.0.${10 + index}`
  objects.push({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(draw, name, namespace, serviceMetadata(draw)),
    spec: {
      type,
      clusterIP: kind.headless ? 'None' : address,
      clusterIPs: dual ? [`10.96.0.${10 + index}`, `fd00:96::${10 + index}`] : undefined,
      selector: kind.selector ? { app: name } : undefined,
      ports: list.map((port) => (type === 'ClusterIP' ? port : { ...port, nodePort: 30000 + port.port })),
      externalIPs: draw.maybe(0.03, () => [`198.51.100.${index + 1}`]),
      publishNotReadyAddresses: draw.maybe(0.08, () => true),
      sessionAffinity: draw.maybe(0.05, () => 'ClientIP'),
      internalTrafficPolicy: draw.maybe(0.06, () => draw.pick(['Local', 'Cluster'])),
      trafficDistribution: draw.maybe(0.08, () => draw.pick(['PreferClose', 'PreferSameNode', 'PreferSameZone'])),
    },
    ...(type === 'LoadBalancer' && { status: { loadBalancer: { ingress: [{ ip: `203.0.113.${index + 1}` }] } } }),
  } as unknown as KubeObject)
  const families = dual || draw.chance(0.04)
  const own = kind.selector
    ? draw.many(0, 3, (i) =>
        pod(draw, name, namespace, index, i, kind.headless, only6 ? 'IPv6' : families ? 'both' : 'IPv4'),
      )
    : []
  for (const { object, described } of own) {
    objects.push(object)
    pods.push(described)
  }
  const listed = kind.selector
    ? own.map(({ described, ready }) => ({
        addresses: [described.ip],
        conditions: ready,
        nodeName: described.node,
        hostname: kind.headless ? described.name : undefined,
        targetRef: { kind: 'Pod', name: described.name, namespace },
      }))
    : draw.many(0, 2, (i) => ({
        addresses: [only6 ? `2001:db8:2::${index * 10 + i + 1}` : `192.0.2.${index * 10 + i + 1}`],
        conditions: { ready: true, serving: true, terminating: false },
      }))
  objects.push(slice(draw, `${name}-a`, name, namespace, list, listed, only6 ? 'IPv6' : 'IPv4'))
  if (own.length > 0 && draw.chance(0.12)) objects.push(...secondService(draw, name, namespace, index, listed, only6))
  if (dual && own.length > 0) {
    const others = listed.map((endpoint, i) => ({ ...endpoint, addresses: [own[i]!.described.ip6!] }))
    objects.push(slice(draw, `${name}-b`, name, namespace, list, others, 'IPv6'))
  }
}

/** Another Service before the same pods, with ports of its own. */
function secondService(
  draw: Draw,
  name: string,
  namespace: string,
  index: number,
  listed: readonly object[],
  only6: boolean,
): KubeObject[] {
  const list = ports(draw)
  const second = `${name}-second`
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(draw, second, namespace, serviceMetadata(draw)),
      spec: {
        type: 'ClusterIP',
        clusterIP: only6 ? `fd00:96::${60 + index}` : `10.96.0.${60 + index}`,
        selector: { app: name },
        ports: list,
      },
    } as unknown as KubeObject,
    slice(draw, `${second}-a`, second, namespace, list, listed, only6 ? 'IPv6' : 'IPv4'),
  ]
}

function slice(
  draw: Draw,
  name: string,
  service: string,
  namespace: string,
  ports: readonly ServicePort[],
  endpoints: readonly object[],
  addressType: 'IPv4' | 'IPv6',
): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: metadata(draw, name, namespace, { labels: { 'kubernetes.io/service-name': service } }),
    addressType,
    ports: ports.map(({ name: port, port: number, targetPort, protocol }) => ({
      name: port ?? '',
      port: typeof targetPort === 'number' ? targetPort : targetPort === 'main' ? 7777 : number,
      protocol: protocol ?? 'TCP',
    })),
    endpoints,
  } as unknown as KubeObject
}

function pod(
  draw: Draw,
  app: string,
  namespace: string,
  service: number,
  index: number,
  headless: boolean,
  families: 'IPv4' | 'IPv6' | 'both',
) {
  const name = `${app}-${index}`
  const described: Pod = {
    name,
    namespace,
    ip: families === 'IPv6' ? `fd00:1::${service}:${index + 1}` : `10.1.${service}.${index + 1}`,
    ip6: families === 'both' ? `fd00:1::${service}:${index + 1}` : undefined,
    node: draw.pick(NODES)[0],
    serviceAccount: draw.chance(0.7) ? 'default' : app,
    labels: {
      app,
      ...(draw.chance(0.7) && { version: draw.pick(['v1', 'v2', 'v3']) }),
      ...(draw.chance(0.75) && { 'security.istio.io/tlsMode': 'istio' }),
      ...(draw.chance(0.04) && { 'istio-locality': 'r9.z9.s9' }),
      ...(draw.chance(0.03) && { 'topology.istio.io/network': 'n2' }),
      ...(draw.chance(0.04) && { 'service.istio.io/canonical-name': 'canon' }),
    },
  }
  const ready = draw.chance(0.88)
    ? { ready: true, serving: true, terminating: false }
    : { ready: false, serving: false, terminating: false }
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: metadata(draw, name, namespace, { labels: described.labels }),
    spec: {
      serviceAccountName: described.serviceAccount,
      nodeName: described.node,
      ...(headless && { hostname: name, subdomain: app }),
      containers: [{ name: 'app', ports: [{ name: 'main', containerPort: 7777, protocol: 'TCP' }] }],
    },
    status: {
      phase: 'Running',
      podIP: described.ip,
      podIPs: [{ ip: described.ip }, ...(described.ip6 ? [{ ip: described.ip6 }] : [])],
      conditions: [{ type: 'Ready', status: ready.ready ? 'True' : 'False' }],
    },
  } as unknown as KubeObject
  return { described, object, ready }
}

/** The pod of the ingress gateway and the Service before it. */
export function ingressGateway(draw: Draw): { objects: KubeObject[]; pods: Pod[] } {
  const { objects, pods } = { objects: [] as KubeObject[], pods: [] as Pod[] }
  const described: Pod = {
    name: 'ingress-0',
    namespace: 'istio-system',
    ip: '10.1.9.1',
    node: 'n1',
    serviceAccount: 'ingress',
    labels: {
      istio: 'ingressgateway',
      app: 'ingress',
      // As the pods of a Kubernetes Gateway have it: policies that name the Gateway are for this one.
      ...(draw.chance(0.3) && { 'gateway.networking.k8s.io/gateway-name': 'kgw' }),
    },
  }
  pods.push(described)
  const numbers = [80, 443, 8080, 9000, 15443, 3306]
  const target = (port: number) => (port === 80 ? 8080 : port === 443 ? 8443 : port)
  objects.push(
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: metadata(draw, described.name, described.namespace, { labels: described.labels }),
      spec: { serviceAccountName: 'ingress', nodeName: 'n1', containers: [{ name: 'istio-proxy' }] },
      status: { phase: 'Running', podIP: described.ip, conditions: [{ type: 'Ready', status: 'True' }] },
    } as unknown as KubeObject,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(draw, 'ingress', 'istio-system'),
      spec: {
        type: 'LoadBalancer',
        clusterIP: '10.96.0.200',
        selector: { istio: 'ingressgateway' },
        ports: numbers.map((port) => ({ name: `tcp-${port}`, port, targetPort: target(port) })),
      },
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.200' }] } },
    } as unknown as KubeObject,
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: metadata(draw, 'ingress-a', 'istio-system', { labels: { 'kubernetes.io/service-name': 'ingress' } }),
      addressType: 'IPv4',
      ports: numbers.map((port) => ({ name: `tcp-${port}`, port: target(port), protocol: 'TCP' })),
      endpoints: [
        {
          addresses: [described.ip],
          conditions: { ready: true },
          nodeName: 'n1',
          targetRef: { kind: 'Pod', name: described.name, namespace: described.namespace },
        },
      ],
    } as unknown as KubeObject,
  )
  return { objects, pods }
}
