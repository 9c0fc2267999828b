// The mesh of the recorded descriptions, and its proxies' configuration as our control plane generates it.
import { readFileSync } from 'node:fs'
import type { JsonValue } from '@bufbuild/protobuf'
import type { KubeObject } from '../../../src/cluster/index.ts'
import { askEverything } from '../ads.ts'
import { askerOf } from '../asker.ts'
import { type ProxyDescription, pushContextOf, readMesh, readObjects } from '../pilot.ts'

export interface Recorded {
  /** Behind `x describe`. */
  readonly args: readonly string[]
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
}

export const RECORDED: URL = new URL('recorded.json.golden', import.meta.url)

export const OBJECTS: readonly KubeObject[] = readObjects(
  readFileSync(new URL('cluster.yaml', import.meta.url), 'utf8'),
)

/** What is described: every pod and service, and what is none. */
export function questions(): string[][] {
  const about = (kind: string, word: string) =>
    OBJECTS.filter((object) => object.kind === kind).map(({ metadata }) => [
      word,
      `${metadata.name}.${metadata.namespace}`,
    ])
  return [
    ...about('Pod', 'pod'),
    ...about('Service', 'service'),
    ['pod', 'plain-1', '--ignoreUnmeshed'],
    ['pod', 'lonely-1', '--ignoreUnmeshed'],
    ['service', 'plain', '--ignoreUnmeshed'],
    ['service', 'many', '-n', 'default'],
    ['pod', 'far-1', '-n', 'other'],
  ]
}

/** Whether the pod has a proxy that can be asked. */
export function hasProxy(pod: KubeObject): boolean {
  const { containers } = pod.spec as { readonly containers: readonly { readonly name: string }[] }
  return containers.some(({ name }) => name === 'istio-proxy')
}

/** The config dump of a pod's proxy. */
export async function configDump({ metadata: { name, namespace = '', labels = {} } }: KubeObject): Promise<string> {
  const proxy: ProxyDescription = {
    name,
    pod: name,
    namespace,
    labels,
    type: labels.istio === 'ingressgateway' ? 'router' : 'sidecar',
    ip: '10.1.0.1',
    serviceAccount: 'default',
    metadata: {},
    locality: '',
  }
  const ask = askerOf(pushContextOf(OBJECTS, readMesh('')))
  const { clusters, listeners, routes } = await askEverything(proxy, (type, names) => ask(proxy, type, names))
  const any = (type: string) => (value: JsonValue) => ({
    '@type': `type.googleapis.com/${type}`,
    ...(value as object),
  })
  const admin = (type: string) => `type.googleapis.com/envoy.admin.v3.${type}ConfigDump`
  const cluster = any('envoy.config.cluster.v3.Cluster')
  const listener = any('envoy.config.listener.v3.Listener')
  const route = any('envoy.config.route.v3.RouteConfiguration')
  return JSON.stringify({
    configs: [
      { '@type': admin('Clusters'), dynamicActiveClusters: clusters.map((one) => ({ cluster: cluster(one) })) },
      {
        '@type': admin('Listeners'),
        dynamicListeners: listeners.map((one) => ({ activeState: { listener: listener(one) } })),
      },
      { '@type': admin('Routes'), dynamicRouteConfigs: routes.map((one) => ({ routeConfig: route(one) })) },
    ],
  })
}
