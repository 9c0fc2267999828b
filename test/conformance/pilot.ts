// The control plane's generators without a server: objects in, resources of one proxy out.
import { create, type DescMessage, type JsonValue, type Message, toJson } from '@bufbuild/protobuf'
import { parseAllDocuments } from 'yaml'
import { type Node, NodeSchema } from '../../src/api/gen/envoy/config/core/v3/base_pb.js'
import { typeRegistry } from '../../src/api/registry.ts'
import { isNamespacedKind, type KubeObject, MemoryStore } from '../../src/cluster/index.ts'
import { type MeshConfig, type MeshNetworks, parseMeshConfig } from '../../src/config/index.ts'
import { DiscoveryState } from '../../src/pilot/discovery-state.ts'
import { type ProxyNode, parseNode } from '../../src/pilot/model/node.ts'
import type { PushContext } from '../../src/pilot/model/push-context.ts'

/** The extensions that Istio's Envoy build has beside stock Envoy's. */
const ISTIO_EXTENSIONS = ['istio.metadata_exchange', 'istio.alpn', 'istio.stats']
/** What only stock Envoy runs, as it lists it. */
export const RUNNABLE_EXTENSIONS = [
  'envoy.filters.http.wasm',
  'envoy.filters.network.wasm',
  'envoy.filters.http.lua',
  'envoy.access_loggers.http_grpc',
  'envoy.access_loggers.tcp_grpc',
  'envoy.access_loggers.open_telemetry',
  'envoy.tracers.zipkin',
  'envoy.tracers.datadog',
  'envoy.tracers.skywalking',
  'envoy.tracers.opentelemetry.resource_detectors.dynatrace',
  'envoy.tracers.opentelemetry.samplers.dynatrace',
]

/** Objects of a YAML stream; a missing namespace is `default`, a missing creation time the same for all. */
export function readObjects(yaml: string): KubeObject[] {
  const objects: KubeObject[] = []
  for (const document of parseAllDocuments(yaml)) {
    if (document.errors.length > 0) throw document.errors[0]
    const object = document.toJS() as KubeObject | null
    if (!object?.kind) continue
    objects.push({
      ...object,
      metadata: {
        creationTimestamp: '2026-01-01T00:00:00Z',
        ...object.metadata,
        namespace: isNamespacedKind(object.kind) ? (object.metadata.namespace ?? 'default') : undefined,
      },
    })
  }
  return objects
}

export function readMesh(yaml: string): MeshConfig {
  const parsed = parseMeshConfig(yaml === '' ? {} : parseAllDocuments(yaml)[0]?.toJS())
  if (!parsed.ok) throw new Error(parsed.problems.map((p) => `${p.path}: ${p.message}`).join('; '))
  return parsed.value
}

/** A push context of `objects`; a refused resource is an error. */
export function pushContextOf(
  objects: readonly KubeObject[],
  mesh: MeshConfig,
  meshNetworks: MeshNetworks = {},
): PushContext {
  return committed(objects, mesh, meshNetworks).push
}

/** The same with what statuses should say. */
export function committed(
  objects: readonly KubeObject[],
  mesh: MeshConfig,
  meshNetworks: MeshNetworks,
): Pick<ReturnType<DiscoveryState['commit']>, 'push' | 'statuses'> {
  const store = new MemoryStore()
  store.put(objects.map((object) => ({ object })))
  const state = new DiscoveryState({
    domain: 'cluster.local',
    clusterId: 'Kubernetes',
    mesh,
    meshNetworks,
    report: (object, problems) => {
      const errors = problems.filter((problem) => problem.level === 'error')
      if (errors.length === 0) return
      throw new Error(
        `${object.kind} ${object.metadata.name}: ${errors.map((p) => `${p.path} ${p.message}`).join('; ')}`,
      )
    },
  })
  state.load(store)
  return state.commit()
}

export interface ProxyDescription {
  readonly name: string
  readonly type: string
  readonly ip: string
  readonly pod: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly labels: Record<string, string>
  readonly metadata: { readonly [name: string]: JsonValue }
  readonly locality: string
  /** Listeners that a proxyless client asks for by name. */
  readonly asks?: readonly string[]
}

/** How a proxy introduces itself, as Istio's agent would have it. */
export function nodeMessageOf(proxy: ProxyDescription): Node {
  const [region = '', zone = '', subZone = ''] = proxy.locality.split('/')
  return create(NodeSchema, {
    id: `${proxy.type}~${proxy.ip}~${proxy.pod}.${proxy.namespace}~${proxy.namespace}.svc.cluster.local`,
    locality: { region, zone, subZone },
    extensions: [...ISTIO_EXTENSIONS, ...RUNNABLE_EXTENSIONS].map((name) => ({ name })),
    metadata: {
      NAMESPACE: proxy.namespace,
      SERVICE_ACCOUNT: proxy.serviceAccount,
      LABELS: proxy.labels,
      INSTANCE_IPS: proxy.ip,
      CLUSTER_ID: 'Kubernetes',
      MESH_ID: 'cluster.local',
      ISTIO_VERSION: '1.32.0',
      INTERCEPTION_MODE: 'REDIRECT',
      ...proxy.metadata,
    },
  })
}

export function proxyNodeOf(proxy: ProxyDescription): ProxyNode {
  const parsed = parseNode(nodeMessageOf(proxy))
  if (!parsed.ok) throw new Error(parsed.problems[0]!.message)
  return parsed.value
}

export function messageJson<M extends Message>(schema: DescMessage, message: M): JsonValue {
  return toJson(schema, message, { registry: typeRegistry })
}
