// Helpers for this room's tests: objects, a loaded control plane state, proxies.
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../api/gen/envoy/config/core/v3/base_pb.js'
import { type KubeObject, MemoryStore, parseManifest } from '../cluster/index.ts'
import { type AnyResource, defaultMeshConfig, type MeshConfig, type MeshNetworks } from '../config/index.ts'
import type { Commit } from './commit.ts'
import { DiscoveryState } from './discovery-state.ts'
import { type ProxyNode, parseNode } from './model/node.ts'
import type { PushContext } from './model/push-context.ts'
import { untranslated } from './untranslated.ts'

/** Objects of a YAML text; all of one age unless they say otherwise. */
export function objects(yaml: string): KubeObject[] {
  const parsed = parseManifest(yaml, 'test.yaml')
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return parsed.value.map(({ object }) => ({
    ...object,
    metadata: { ...object.metadata, creationTimestamp: object.metadata.creationTimestamp ?? '2026-01-01T00:00:00Z' },
  }))
}

/** A control plane state that follows a store. */
export class TestMesh {
  readonly store = new MemoryStore()
  /** Why objects were refused. */
  readonly problems: string[] = []
  readonly state: DiscoveryState

  constructor(
    yaml = '',
    mesh: MeshConfig = defaultMeshConfig(),
    meshNetworks: MeshNetworks = {},
    /** Sees every resource before it is taken in. */
    look: (resource: AnyResource) => void = () => {},
  ) {
    this.state = new DiscoveryState({
      mesh,
      meshNetworks,
      domain: 'cluster.local',
      clusterId: 'Kubernetes',
      untranslated: (resource) => {
        look(resource)
        return untranslated(resource)
      },
      report: (object, problems) => {
        for (const { path, message, level } of problems) {
          if (level === 'error') this.problems.push(`${object.kind} ${object.metadata.name}: ${path} ${message}`)
        }
      },
    })
    this.store.watch((events) => this.state.apply(events, this.store))
    this.put(yaml)
  }

  put(yaml: string): void {
    this.store.put(objects(yaml).map((object) => ({ object })))
  }

  remove(kind: string, name: string, namespace = 'default'): void {
    this.store.remove([{ kind, namespace, name }])
  }

  commit(): Commit {
    return this.state.commit()
  }

  push(): PushContext {
    return this.commit().push
  }
}

/** A proxy as it would introduce itself. */
export function testProxy(
  options: {
    readonly type?: string
    readonly ip?: string
    readonly name?: string
    readonly namespace?: string
    readonly labels?: Record<string, string>
    readonly locality?: string
    readonly metadata?: Record<string, string>
    readonly extensions?: readonly string[]
  } = {},
): ProxyNode {
  const { type = 'sidecar', ip = '10.0.0.1', name = 'app', namespace = 'default', labels = {} } = options
  const [region = '', zone = '', subZone = ''] = (options.locality ?? '').split('/')
  const parsed = parseNode(
    create(NodeSchema, {
      id: `${type}~${ip}~${name}.${namespace}~${namespace}.svc.cluster.local`,
      metadata: { NAMESPACE: namespace, LABELS: labels, CLUSTER_ID: 'Kubernetes', ...options.metadata },
      locality: { region, zone, subZone },
      extensions: (options.extensions ?? []).map((extension) => ({ name: extension })),
    }),
  )
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return parsed.value
}

/** A Service with one pod and its slice, as Kubernetes would hold them. */
export function serviceYaml(
  name: string,
  options: { ip?: string; vip?: string; port?: string; labels?: string; node?: string } = {},
): string {
  const { ip = '10.1.0.1', vip = '10.96.0.1', port = '{port: 80, name: http, targetPort: 8080}', labels = '' } = options
  return `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec:
  clusterIP: ${vip}
  selector: {app: ${name}}
  ports: [${port}]
---
apiVersion: v1
kind: Pod
metadata: {name: ${name}-0, labels: {app: ${name}, security.istio.io/tlsMode: istio${labels}}}
spec: {serviceAccountName: ${name}, nodeName: ${options.node ?? 'node-a'}, containers: [{name: app}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-abc, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [${ip}], conditions: {ready: true}, targetRef: {kind: Pod, name: ${name}-0}}]
`
}
