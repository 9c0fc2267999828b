// One mesh of a seed: objects, MeshConfig, and the proxies that ask about it.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import type { ProxyDescription } from '../../pilot.ts'
import { CERTIFICATE, KEY } from './certificate.ts'
import { destinationRule } from './destination-rule.ts'
import { Draw } from './draw.ts'
import { envoyFilter } from './envoy-filter.ts'
import { trafficExtension, wasmPlugin } from './extensions.ts'
import { gatewayApi } from './gateway-api.ts'
import { meshConfig } from './mesh.ts'
import { gateway, serviceEntry, sidecar, workloadEntry } from './networking.ts'
import { meshNetworks } from './networks.ts'
import { proxies } from './proxies.ts'
import * as security from './security.ts'
import { ingressGateway, namespacesAndNodes, services } from './services.ts'
import { proxyConfig, telemetry } from './telemetry.ts'
import { delegate, virtualService } from './virtual-service.ts'
import { allocatedAddresses, GATEWAYS, namespace } from './vocabulary.ts'

/** What a control plane is given, and who asks it. */
export interface Case {
  readonly objects: readonly KubeObject[]
  readonly mesh: object
  /** MeshNetworks; empty: one network. */
  readonly networks: object
  readonly proxies: readonly ProxyDescription[]
}

type Maker = readonly [topic: string, kind: string, apiVersion: string, make: (draw: Draw) => object]

const DISTRIBUTION = 'networking.istio.io/traffic-distribution'
const NETWORKING = 'networking.istio.io/v1'
const SECURITY = 'security.istio.io/v1'
const MAKERS: readonly Maker[] = [
  ['routes', 'VirtualService', NETWORKING, virtualService],
  ['routes', 'VirtualService', NETWORKING, virtualService],
  ['clusters', 'DestinationRule', NETWORKING, destinationRule],
  ['clusters', 'DestinationRule', NETWORKING, destinationRule],
  ['entries', 'ServiceEntry', NETWORKING, serviceEntry],
  ['entries', 'ServiceEntry', NETWORKING, serviceEntry],
  ['entries', 'WorkloadEntry', NETWORKING, workloadEntry],
  ['sidecars', 'Sidecar', NETWORKING, sidecar],
  ['gateways', 'Gateway', NETWORKING, gateway],
  ['gateways', 'Gateway', NETWORKING, gateway],
  ['security', 'PeerAuthentication', SECURITY, security.peerAuthentication],
  ['security', 'RequestAuthentication', SECURITY, security.requestAuthentication],
  ['security', 'AuthorizationPolicy', SECURITY, security.authorizationPolicy],
  ['telemetry', 'Telemetry', 'telemetry.istio.io/v1', telemetry],
  ['patches', 'EnvoyFilter', 'networking.istio.io/v1alpha3', envoyFilter],
  ['telemetry', 'ProxyConfig', 'networking.istio.io/v1beta1', proxyConfig],
  ['extensions', 'WasmPlugin', 'extensions.istio.io/v1alpha1', wasmPlugin],
  ['extensions', 'TrafficExtension', 'extensions.istio.io/v1alpha1', trafficExtension],
]

/** Each topic and the kinds it draws from. */
export const TOPICS: readonly string[] = [
  ...new Set(MAKERS.map(([topic]) => topic)),
  'gateway-api',
  'mesh',
  'networks',
  'proxies',
]

const SECRET = { 'tls.crt': CERTIFICATE, 'tls.key': KEY, 'ca.crt': CERTIFICATE }

/** For pulling images, in every namespace but one. */
const PULL_SECRETS = ['default', 'other', 'istio-system'].map(
  (namespace) =>
    ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'pull', namespace, creationTimestamp: '2026-01-01T00:00:00Z' },
      type: 'kubernetes.io/dockerconfigjson',
      data: { '.dockerconfigjson': Buffer.from(`{"auths":{"${namespace}":{}}}`).toString('base64') },
    }) as unknown as KubeObject,
)

function credentials(): KubeObject[] {
  return ['cred', 'cred2', 'cred-cacert'].map(
    (name) =>
      ({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name, namespace: 'istio-system', creationTimestamp: '2026-01-01T00:00:00Z' },
        type: 'Opaque',
        data: SECRET,
      }) as unknown as KubeObject,
  )
}

function resource(draw: Draw, index: number, makers: readonly Maker[]): KubeObject {
  const [, kind, apiVersion, make] = draw.pick(makers)
  const name =
    kind === 'Gateway'
      ? draw.pick(GATEWAYS)
      : kind === 'VirtualService' && draw.chance(0.1)
        ? draw.pick(['d0', 'd1'])
        : `r${index}`
  const place =
    kind === 'Gateway' && draw.chance(0.6)
      ? 'istio-system'
      : kind === 'Sidecar' && draw.chance(0.2)
        ? 'istio-system'
        : namespace(draw)
  const spec = name === 'd0' || name === 'd1' ? delegate(draw) : make(draw)
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      namespace: place,
      // Of one age, istiod takes resources in any order.
      creationTimestamp: `2026-01-0${draw.between(1, 4)}T00:00:${String(index).padStart(2, '0')}Z`,
      ...(kind === 'ServiceEntry' && { annotations: entryAnnotations(draw) }),
    },
    spec,
    status: kind === 'ServiceEntry' ? allocatedAddresses((spec as { hosts: string[] }).hosts, index) : undefined,
  } as unknown as KubeObject
}

function entryAnnotations(draw: Draw): Record<string, string> {
  const annotations: Record<string, string> = {}
  if (draw.chance(0.05)) annotations[DISTRIBUTION] = draw.pick(['PreferClose', 'PreferSameNode', 'Any'])
  if (draw.chance(0.05)) annotations['istio.io/connect-strategy'] = draw.pick(['RACE_FIRST_TCP_CONNECT', 'DEFAULT'])
  return annotations
}

const essential = ({ NODE_NAME = '', INSTANCE_IPS = '', GENERATOR = '' }: ProxyDescription['metadata']) => ({
  NODE_NAME,
  ...(INSTANCE_IPS && { INSTANCE_IPS }),
  ...(GENERATOR && { GENERATOR }),
})

/** The mesh of a seed. With `topics`, only resources of these. The same name twice: the later stands. */
export function generateCase(seed: number, topics: readonly string[] = TOPICS): Case {
  const draw = new Draw(seed)
  const { objects, pods } = services(draw)
  const ingress = ingressGateway(draw)
  const makers = MAKERS.filter(([topic]) => topics.includes(topic))
  const list = [
    ...namespacesAndNodes(draw),
    ...objects,
    ...ingress.objects,
    ...credentials(),
    ...(topics.includes('extensions') ? PULL_SECRETS : []),
    ...(makers.length > 0 ? draw.many(3, 14, (index) => resource(draw, index, makers)) : []),
    ...(topics.includes('gateway-api') && (topics.length === 1 || draw.chance(0.25)) ? gatewayApi(draw) : []),
  ]
  const mesh = topics.includes('mesh') && draw.chance(0.4) ? meshConfig(draw) : {}
  const asking = proxies(draw, pods, ingress.pods[0]!).map((proxy) => {
    const metadata = { ...proxy.metadata }
    // A node that tells only a part of its ProxyConfig has the mesh's for the rest with us, and nothing with istiod.
    if ('defaultConfig' in mesh && mesh.defaultConfig) delete metadata.PROXY_CONFIG
    // Of another cluster istiod does not know the pull secrets, and tells no extensions.
    if (topics.includes('extensions')) delete metadata.CLUSTER_ID
    return { ...proxy, metadata }
  })
  const plain = topics.includes('proxies')
    ? asking
    : asking.map((proxy) => ({ ...proxy, metadata: essential(proxy.metadata) }))
  const networks = topics.includes('networks') && draw.chance(0.2) ? meshNetworks(draw) : {}
  const unique = new Map(list.map((o) => [`${o.kind}/${o.metadata.namespace}/${o.metadata.name}`, o]))
  // A JSON round trip drops what is left out.
  return JSON.parse(
    JSON.stringify({ objects: withDistribution([...unique.values()]), mesh, networks, proxies: plain }),
  ) as Case
}

/** ServiceEntries told what their namespace says: istiod's test server does not show it namespaces, so it looks at neither. */
export function withDistribution(objects: readonly KubeObject[]): KubeObject[] {
  const annotations = new Map(
    objects.filter(({ kind }) => kind === 'Namespace').map((o) => [o.metadata.name, o.metadata.annotations]),
  )
  return objects.map((object) =>
    object.kind === 'ServiceEntry'
      ? {
          ...object,
          metadata: {
            ...object.metadata,
            annotations: { ...annotations.get(object.metadata.namespace!), ...object.metadata.annotations },
          },
        }
      : object,
  )
}
