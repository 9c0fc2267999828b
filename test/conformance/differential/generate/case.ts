// One mesh of a seed: objects, MeshConfig, and the proxies that ask about it.
import type { KubeObject } from '../../../../src/cluster/index.ts'
import type { ProxyDescription } from '../../pilot.ts'
import { CERTIFICATE, KEY } from './certificate.ts'
import { destinationRule } from './destination-rule.ts'
import { Draw } from './draw.ts'
import { gatewayApi } from './gateway-api.ts'
import { meshConfig, proxies } from './mesh.ts'
import { gateway, serviceEntry, sidecar, workloadEntry } from './networking.ts'
import * as policies from './policies.ts'
import { ingressGateway, namespacesAndNodes, services } from './services.ts'
import { delegate, virtualService } from './virtual-service.ts'
import { GATEWAYS, namespace } from './vocabulary.ts'

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
  ['security', 'PeerAuthentication', SECURITY, policies.peerAuthentication],
  ['security', 'RequestAuthentication', SECURITY, policies.requestAuthentication],
  ['security', 'AuthorizationPolicy', SECURITY, policies.authorizationPolicy],
  ['telemetry', 'Telemetry', 'telemetry.istio.io/v1', policies.telemetry],
  ['patches', 'EnvoyFilter', 'networking.istio.io/v1alpha3', policies.envoyFilter],
  ['telemetry', 'ProxyConfig', 'networking.istio.io/v1beta1', policies.proxyConfig],
  ['extensions', 'WasmPlugin', 'extensions.istio.io/v1alpha1', policies.wasmPlugin],
]

/** Each topic and the kinds it draws from. */
export const TOPICS: readonly string[] = [...new Set(MAKERS.map(([topic]) => topic)), 'gateway-api', 'mesh', 'proxies']

const SECRET = { 'tls.crt': CERTIFICATE, 'tls.key': KEY, 'ca.crt': CERTIFICATE }

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
    status: kind === 'ServiceEntry' ? allocated(spec as { hosts: string[] }, index) : undefined,
  } as unknown as KubeObject
}

function entryAnnotations(draw: Draw): Record<string, string> {
  const annotations: Record<string, string> = {}
  if (draw.chance(0.05)) annotations[DISTRIBUTION] = draw.pick(['PreferClose', 'PreferSameNode', 'Any'])
  if (draw.chance(0.05)) annotations['istio.io/connect-strategy'] = draw.pick(['RACE_FIRST_TCP_CONNECT', 'DEFAULT'])
  return annotations
}

/** Addresses that istiod's allocator would have given: its discovery server alone gives none, and reads them. */
function allocated({ hosts }: { readonly hosts: readonly string[] }, index: number): object {
  return {
    addresses: hosts.flatMap((host, i) => [
      { value: `240.240.${index}.${i + 1}`, host },
      { value: `2001:2::a${index}:${i + 1}`, host },
    ]),
  }
}

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
    ...(makers.length > 0 ? draw.many(3, 14, (index) => resource(draw, index, makers)) : []),
    ...(topics.includes('gateway-api') && (topics.length === 1 || draw.chance(0.25)) ? gatewayApi(draw) : []),
  ]
  const mesh = topics.includes('mesh') && draw.chance(0.4) ? meshConfig(draw) : {}
  const asking = proxies(draw, pods, ingress.pods[0]!).map((proxy) => {
    // A node that tells only a part of its ProxyConfig has the mesh's for the rest with us, and nothing with istiod.
    const { PROXY_CONFIG: _, ...rest } = proxy.metadata
    return 'defaultConfig' in mesh && mesh.defaultConfig ? { ...proxy, metadata: rest } : proxy
  })
  const plain = topics.includes('proxies')
    ? asking
    : asking.map((proxy) => ({ ...proxy, metadata: { NODE_NAME: proxy.metadata.NODE_NAME! } }))
  const unique = new Map(list.map((o) => [`${o.kind}/${o.metadata.namespace}/${o.metadata.name}`, o]))
  // A JSON round trip drops what is left out.
  return JSON.parse(
    JSON.stringify({ objects: withDistribution([...unique.values()]), mesh, networks: {}, proxies: plain }),
  ) as Case
}

/** ServiceEntries told what their namespace says: istiod's test server does not show it namespaces, so it looks at neither. */
function withDistribution(objects: readonly KubeObject[]): KubeObject[] {
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
