import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, type JsonValue } from '@bufbuild/protobuf'
import { NodeSchema } from '../../../src/api/gen/envoy/config/core/v3/base_pb.js'
import { ListenerSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../../src/api/gen/envoy/config/route/v3/route_pb.js'
import { generateListeners } from '../../../src/pilot/lds/index.ts'
import { type ProxyNode, parseNode } from '../../../src/pilot/model/node.ts'
import type { PushContext } from '../../../src/pilot/model/push-context.ts'
import { generateRoutes } from '../../../src/pilot/rds/index.ts'
import { compareJson } from '../compare.ts'
import { messageJson, pushContextOf, readMesh, readObjects } from '../pilot.ts'
import { type Call, type CallResult, simulate } from '../simulation.ts'
import type { Difference, Suite } from '../suite.ts'

interface RecordedProxy {
  readonly type: string
  readonly id: string
  readonly namespace: string
  readonly dnsDomain: string
  readonly ipAddresses: readonly string[]
  readonly labels?: Record<string, string>
  readonly metadata: Record<string, JsonValue>
}

interface Case {
  readonly id: string
  readonly kind: 'calls' | 'routes'
  readonly config: string
  readonly kubeConfig: string
  readonly meshConfig: Record<string, unknown>
  readonly proxy: RecordedProxy
  readonly calls?: readonly { readonly name: string; readonly call: Call; readonly istiod: CallResult }[]
  readonly listeners?: readonly string[]
  readonly routes?: Record<string, Record<string, { readonly clusters: string[]; readonly domains: string[] }>>
}

/** Istio's simulation tests: each call meets the listener, chain, route and cluster that it met in istiod's configuration. */
export const suite: Suite = {
  name: 'istio-simulation',
  run: async (dataDirectory) => {
    const path = join(dataDirectory, 'conformance', 'istio-simulation.json')
    const { cases } = JSON.parse(readFileSync(path, 'utf8')) as { readonly cases: readonly Case[] }
    const differences: Difference[] = []
    for (const test of cases) {
      let lines: string[]
      try {
        lines = runCase(test)
      } catch (error) {
        lines = [`threw ${(error as Error).stack}`]
      }
      if (lines.length > 0) differences.push({ id: test.id, message: lines.join('\n') })
    }
    return { total: cases.length, differences }
  },
}

function runCase(test: Case): string[] {
  const objects = [...readObjects(test.kubeConfig), ...readObjects(test.config)]
  const push = pushContextOf(objects, readMesh(JSON.stringify(meshOf(test.meshConfig))))
  const proxy = proxyOf(test.proxy)
  const listeners = generateListeners(proxy, push).map((listener) => messageJson(ListenerSchema, listener))
  if (test.kind === 'routes') return compareTables(test, proxy, push, listeners)
  const routes = (name: string): JsonValue | undefined => routeJson(proxy, push, name)
  return (test.calls ?? []).flatMap(({ name, call, istiod }) =>
    compareJson(simulate(call, listeners, routes) as JsonValue, fullNames(istiod) as JsonValue).map(
      (line) => `${name}: ${line}`,
    ),
  )
}

/** The recording's config store had no cluster domain: short names ended after the namespace. */
function fullNames(result: CallResult): CallResult {
  const cluster = result.clusterMatched
  if (!cluster || !/\|\|[^.|]+\.(default|ns-\d)$/.test(cluster)) return result
  return { ...result, clusterMatched: `${cluster}.svc.cluster.local` }
}

/** `null` and empty messages in the record mean "unset", which for a policy's mode is its first value. */
function meshOf(mesh: Record<string, unknown>): Record<string, unknown> {
  const policy = mesh.outboundTrafficPolicy as { mode?: string } | null | undefined
  return policy ? { ...mesh, outboundTrafficPolicy: { mode: policy.mode ?? 'REGISTRY_ONLY' } } : mesh
}

function proxyOf(proxy: RecordedProxy): ProxyNode {
  const parsed = parseNode(
    create(NodeSchema, {
      id: `${proxy.type}~${proxy.ipAddresses[0]}~${proxy.id}~${proxy.dnsDomain}`,
      extensions: [{ name: 'istio.metadata_exchange' }, { name: 'istio.alpn' }, { name: 'istio.stats' }],
      metadata: {
        NAMESPACE: proxy.namespace,
        ...proxy.metadata,
        LABELS: proxy.labels ?? {},
        INSTANCE_IPS: proxy.ipAddresses.join(','),
      },
    }),
  )
  if (!parsed.ok) throw new Error(parsed.problems[0]!.message)
  return parsed.value
}

function routeJson(proxy: ProxyNode, push: PushContext, name: string): JsonValue | undefined {
  const [config] = generateRoutes(proxy, push, [name])
  return config && messageJson(RouteConfigurationSchema, config)
}

function compareTables(test: Case, proxy: ProxyNode, push: PushContext, listeners: readonly JsonValue[]): string[] {
  const names = listeners.map((listener) => String((listener as { name: string }).name)).sort()
  const lines = compareJson(names, [...(test.listeners ?? [])].sort())
  for (const [name, hosts] of Object.entries(test.routes ?? {})) {
    lines.push(...compareJson(tableOf(routeJson(proxy, push, name)), hosts).map((line) => `route ${name}: ${line}`))
  }
  return lines
}

interface RouteJson {
  readonly route?: {
    readonly cluster?: string
    readonly weightedClusters?: { readonly clusters: readonly { readonly name: string }[] }
  }
}

function tableOf(config: JsonValue | undefined): JsonValue {
  const hosts = (config as { virtualHosts?: { name: string; domains: string[]; routes?: RouteJson[] }[] } | undefined)
    ?.virtualHosts
  const out: Record<string, { domains: string[]; clusters: string[] }> = {}
  for (const { name, domains, routes } of hosts ?? []) {
    out[name] = { domains, clusters: (routes ?? []).map(clusterText) }
  }
  return out
}

function clusterText({ route }: RouteJson): string {
  return route?.cluster ?? route?.weightedClusters?.clusters.map((cluster) => cluster.name).join(';') ?? ''
}
