import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Message, toJson } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { type MeshConfig, parseMeshConfig } from '../../config/index.ts'
import { generateClusters } from '../cds/generate.ts'
import { generateListeners } from '../lds/index.ts'
import { generateRoutes } from '../rds/index.ts'
import { TestMesh, testProxy } from '../testing.ts'

function meshOf(spec: object): MeshConfig {
  const parsed = parseMeshConfig(spec)
  assert.ok(parsed.ok)
  return parsed.value
}

const ANY = { outboundTrafficPolicy: { mode: 'ALLOW_ANY_DYNAMIC_DNS' } }
const WILDCARD = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: w}
spec:
  hosts: ["*.example.com"]
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
`

function clusterJson(name: string, yaml: string, mesh: MeshConfig, metadata: Record<string, string> = {}) {
  const cluster = generateClusters(testProxy({ metadata }), new TestMesh(yaml, mesh).push()).find(
    (c) => c.name === name,
  )
  return cluster && (toJson(ClusterSchema, cluster, { registry: typeRegistry }) as Record<string, never>)
}

/** Names of everything called `name` anywhere in a message. */
function namesIn(schema: typeof ListenerSchema, message: Message): string {
  return JSON.stringify(toJson(schema, message as never, { registry: typeRegistry }))
}

test('hosts that nobody knows go to a cluster that resolves them, by route and by catch-all chain', () => {
  const push = new TestMesh('', meshOf(ANY)).push()
  const proxy = testProxy()
  const listener = generateListeners(proxy, push).find((l) => l.name === 'virtualOutbound')!
  assert.deepEqual(
    listener.filterChains.map((chain) => chain.name),
    ['virtualOutbound-blackhole', 'virtualOutbound-catchall-tcp-http', 'virtualOutbound-catchall-tcp'],
  )
  assert.equal(listener.listenerFilters[0]?.name, 'envoy.filters.listener.http_inspector')
  assert.match(
    namesIn(ListenerSchema, listener),
    /envoy\.filters\.http\.dynamic_forward_proxy.*allow_any_dfp_dns_cache/,
  )
  const [routes] = generateRoutes(proxy, push, ['80'])
  const route = routes!.virtualHosts.at(-1)!
  assert.equal(route.name, 'allow_any_dynamic_dns')
  assert.equal(
    route.routes[0]!.action.case === 'route' && route.routes[0]!.action.value.clusterSpecifier.value,
    'AllowAnyDynamicDNSCluster',
  )
})

test('gateways and other outbound modes have no such cluster', () => {
  const push = new TestMesh('', meshOf(ANY)).push()
  const names = generateClusters(testProxy({ type: 'router' }), push).map((c) => c.name)
  assert.ok(!names.includes('AllowAnyDynamicDNSCluster'))
  assert.equal(clusterJson('AllowAnyDynamicDNSCluster', '', meshOf({})), undefined)
})

test('the mesh decides the TLS of unknown hosts; plaintext is allowed only when it says nothing', () => {
  const name = 'AllowAnyDynamicDNSCluster'
  const plain = clusterJson(name, '', meshOf(ANY))!
  assert.equal(
    (plain.clusterType as { typedConfig: Record<string, unknown> }).typedConfig.allowInsecureClusterOptions,
    true,
  )
  const tls = clusterJson(
    name,
    '',
    meshOf({ outboundTrafficPolicy: { ...ANY.outboundTrafficPolicy, tls: { mode: 'SIMPLE' } } }),
  )!
  assert.equal(
    (tls.clusterType as { typedConfig: Record<string, unknown> }).typedConfig.allowInsecureClusterOptions,
    undefined,
  )
  assert.match(JSON.stringify(tls), /"autoSni":true,"autoSanValidation":true/)
})

test('with DNS capture the agent is asked, so that names of the mesh resolve too', () => {
  const captured = clusterJson('AllowAnyDynamicDNSCluster', '', meshOf(ANY), {
    DNS_CAPTURE: 'true',
    DNS_PROXY_ADDR: 'localhost:15099',
  })
  assert.match(JSON.stringify(captured), /"address":"127\.0\.0\.1","portValue":15099/)
})

test('a wildcard of resolution DYNAMIC_DNS: clusters where the host is named, filters with the same cache', () => {
  const mesh = meshOf({})
  const push = new TestMesh(WILDCARD, mesh).push()
  const clusters = generateClusters(testProxy(), push).map((c) => c.name)
  assert.deepEqual(
    clusters.filter((c) => c.includes('example.com')),
    ['outbound|80||*.example.com', 'outbound|443||*.example.com'],
  )
  const listeners = generateListeners(testProxy(), push)
  const named = (name: string) => namesIn(ListenerSchema, listeners.find((l) => l.name === name)!)
  assert.match(named('0.0.0.0_80'), /dynamic_forward_proxy.*\*\.example\.com_dfp_dns_cache/)
  assert.match(named('0.0.0.0_443'), /sni_dynamic_forward_proxy.*\*\.example\.com_dfp_dns_cache.*"portValue":443/)
  assert.match(named('0.0.0.0_443'), /"serverNames":\["\*\.example\.com"\]/)
})

test('a rule without server verification has the leave that Envoy asks for', () => {
  const rule = (tls: string) => `${WILDCARD}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: w}
spec: {host: "*.example.com", trafficPolicy: {tls: ${tls}}, subsets: [{name: v1}]}
`
  const config = (tls: string) =>
    (
      clusterJson('outbound|443||*.example.com', rule(tls), meshOf({}))!.clusterType as {
        typedConfig: Record<string, unknown>
      }
    ).typedConfig
  assert.equal(config('{mode: SIMPLE}').allowInsecureClusterOptions, undefined)
  assert.equal(config('{mode: SIMPLE, insecureSkipVerify: true}').allowInsecureClusterOptions, true)
  assert.equal(
    clusterJson('outbound|443|v1|*.example.com', rule('{mode: SIMPLE}'), meshOf({})),
    undefined,
    'no subsets',
  )
})

test('a rule may have the PROXY protocol go first there, too', () => {
  const cluster = clusterJson(
    'outbound|80||*.example.com',
    `${WILDCARD}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: w}
spec: {host: "*.example.com", trafficPolicy: {proxyProtocol: {version: V2}}}
`,
    meshOf({}),
  )
  assert.match(JSON.stringify(cluster!.transportSocket), /upstream_proxy_protocol.*"version":"V2".*"raw_buffer"/)
})

test('a Sidecar may not choose the mode: it is for the whole mesh', () => {
  const mesh = new TestMesh(`
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}}
`)
  assert.match(mesh.problems.join(), /outboundTrafficPolicy\.mode/)
})
