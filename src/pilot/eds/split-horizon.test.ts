import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../../base/logger.ts'
import { defaultMeshConfig, type MeshNetworks, parseMeshNetworks } from '../../config/index.ts'
import { passesThrough } from '../cds/generate.ts'
import { passthroughClusters } from '../cds/outbound.ts'
import { generateListeners } from '../lds/index.ts'
import { gatewayHosts, networkGateways } from '../model/network-gateways.ts'
import { GatewayResolver } from '../registry/gateway-resolver.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { outboundSni } from '../xds/names.ts'
import { generateEndpoints } from './generate.ts'

const WEB = 'web.default.svc.cluster.local'
const CLUSTER = `outbound|80||${WEB}`

/** Two pods of `web` in network n1, two in n2, one of the latter without a sidecar. */
const PODS = [
  '10.1.0.1 n1 istio',
  '10.1.0.2 n1 istio',
  '10.2.0.1 n2 istio',
  '10.2.0.2 n2 disabled',
  '10.2.0.3 n2 istio',
]
const MESH = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
${PODS.map((pod, i) => {
  const [ip, network, tlsMode] = pod.split(' ')
  return `---
apiVersion: v1
kind: Pod
metadata: {name: web-${i}, labels: {app: web, topology.istio.io/network: ${network}, security.istio.io/tlsMode: ${tlsMode}}}
spec: {serviceAccountName: web, containers: [{name: app}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}`
}).join('\n')}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abc, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
${PODS.map((pod, i) => `- {addresses: [${pod.split(' ')[0]}], conditions: {ready: true}, targetRef: {kind: Pod, name: web-${i}}}`).join('\n')}
`

const GATEWAYS: MeshNetworks = {
  networks: {
    n1: { gateways: [{ address: '192.0.2.1', port: 15443 }] },
    n2: {
      gateways: [
        { address: '192.0.2.2', port: 15443 },
        { address: '192.0.2.3', port: 443 },
      ],
    },
  },
}

function endpointsOf(
  meshNetworks: MeshNetworks,
  metadata: Record<string, string>,
  yaml = '',
  name = CLUSTER,
): string[] {
  const push = new TestMesh(`${MESH}\n---\n${yaml}`, defaultMeshConfig(), meshNetworks).push()
  const [assignment] = generateEndpoints(testProxy({ metadata }), push, [name])
  return assignment!.endpoints.flatMap((group) =>
    group.lbEndpoints.map(({ hostIdentifier, loadBalancingWeight, metadata: own }) => {
      assert.equal(hostIdentifier.case, 'endpoint')
      const at = (
        hostIdentifier.value as {
          address: { address: { value: { address: string; portSpecifier: { value: number } } } }
        }
      ).address.address.value
      const tls = own?.filterMetadata['envoy.transport_socket_match'] ? 'mtls' : 'plain'
      return `${at.address}:${at.portSpecifier.value} ${loadBalancingWeight} ${tls}`
    }),
  )
}

test('endpoints of another network are replaced by its gateways, which share their weight', () => {
  assert.deepEqual(endpointsOf(GATEWAYS, { NETWORK: 'n1' }), [
    '10.1.0.1:8080 2 mtls',
    '10.1.0.2:8080 2 mtls',
    // Two endpoints of weight 2 each, split between two gateways; the one without mutual TLS is left out.
    '192.0.2.2:15443 2 mtls',
    '192.0.2.3:443 2 mtls',
  ])
  assert.deepEqual(endpointsOf(GATEWAYS, { NETWORK: 'n2' }), [
    '10.2.0.1:8080 2 mtls',
    '10.2.0.2:8080 2 plain',
    '10.2.0.3:8080 2 mtls',
    '192.0.2.1:15443 4 mtls',
  ])
})

test('a proxy that does not say its network goes through gateways only', () => {
  assert.deepEqual(endpointsOf(GATEWAYS, {}), [
    '192.0.2.1:15443 4 mtls',
    '192.0.2.2:15443 2 mtls',
    '192.0.2.3:443 2 mtls',
  ])
})

test('without gateways every endpoint is reached directly', () => {
  assert.equal(endpointsOf({}, { NETWORK: 'n1' }).length, 5)
})

test('a network view leaves out the others', () => {
  assert.deepEqual(endpointsOf(GATEWAYS, { NETWORK: 'n1', REQUESTED_NETWORK_VIEW: 'n1' }), [
    '10.1.0.1:8080 2 mtls',
    '10.1.0.2:8080 2 mtls',
  ])
})

test('an IPv6-only proxy has no use for IPv4 gateways', () => {
  assert.deepEqual(endpointsOf(GATEWAYS, { NETWORK: 'n3', INSTANCE_IPS: 'fd00::1' }), [])
})

test('a Service with a network label is a gateway at its load balancer', () => {
  const service = (port: string) => `
apiVersion: v1
kind: Service
metadata: {name: east-west, namespace: istio-system, labels: {topology.istio.io/network: n2${port}}}
spec: {clusterIP: 10.96.0.9, type: LoadBalancer, externalIPs: [198.51.100.8], ports: [{name: tls, port: 15443}, {name: alt, port: 16443}]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}
`
  const gateways = (port: string) =>
    endpointsOf({}, { NETWORK: 'n1' }, service(port)).filter((e) => e.startsWith('198.'))
  assert.deepEqual(gateways(''), ['198.51.100.7:15443 2 mtls', '198.51.100.8:15443 2 mtls'])
  assert.deepEqual(gateways(', networking.istio.io/gatewayPort: "16443"'), [
    '198.51.100.7:16443 2 mtls',
    '198.51.100.8:16443 2 mtls',
  ])
})

test('a node-port gateway stands at the external addresses of the nodes it selects', () => {
  const yaml = `
apiVersion: v1
kind: Service
metadata: {name: ew, labels: {topology.istio.io/network: n2}, annotations: {traffic.istio.io/nodeSelector: '{"edge": "yes"}'}}
spec: {clusterIP: 10.96.0.9, type: NodePort, ports: [{name: tls, port: 15443, nodePort: 31443}]}
---
apiVersion: v1
kind: Node
metadata: {name: edge, labels: {edge: "yes"}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 198.51.100.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: inner}
status: {addresses: [{type: ExternalIP, address: 198.51.100.2}]}
`
  assert.deepEqual(
    endpointsOf({}, { NETWORK: 'n1' }, yaml).filter((e) => e.startsWith('198.')),
    ['198.51.100.1:31443 2 mtls'],
  )
})

test('fromRegistry puts a cluster, fromCidr an address range into a network; a label comes first', () => {
  const networks = (endpoint: object): MeshNetworks => ({
    networks: { n9: { endpoints: [endpoint], gateways: [{ address: '192.0.2.9', port: 15443 }] } },
  })
  const bare = serviceYaml('bare', { ip: '10.7.0.1', vip: '10.96.0.7' })
  const at = (meshNetworks: MeshNetworks) =>
    endpointsOf(meshNetworks, { NETWORK: 'n1' }, bare, 'outbound|80||bare.default.svc.cluster.local')
  assert.deepEqual(at(networks({ fromRegistry: 'Kubernetes' })), ['192.0.2.9:15443 1 mtls'])
  assert.deepEqual(at(networks({ fromCidr: '10.7.0.0/16' })), ['192.0.2.9:15443 1 mtls'])
  assert.deepEqual(at(networks({ fromCidr: '10.8.0.0/16' })), ['10.7.0.1:8080 1 mtls'])
})

test('the label of the system namespace is the network of everything that names none', () => {
  const mesh = new TestMesh(serviceYaml('bare', { ip: '10.7.0.1' }), defaultMeshConfig(), GATEWAYS)
  const [before] = generateEndpoints(testProxy({ metadata: { NETWORK: 'n1' } }), mesh.push(), [
    'outbound|80||bare.default.svc.cluster.local',
  ])
  assert.equal(before!.endpoints[0]!.lbEndpoints.length, 1)
  mesh.put('apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: n2}}')
  const [after] = generateEndpoints(testProxy({ metadata: { NETWORK: 'n1' } }), mesh.push(), [
    'outbound|80||bare.default.svc.cluster.local',
  ])
  assert.equal(after!.endpoints[0]!.lbEndpoints.length, 2, 'the two gateways of n2')
})

const EAST_WEST = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross, namespace: istio-system}
spec: {selector: {istio: eastwestgateway}, servers: [{port: {number: 15443, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: ["*.local"]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {app: web}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec: {hosts: [out.local], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
`

test('AUTO_PASSTHROUGH: a chain and a cluster for each name that clients spell, mutual TLS only', () => {
  const push = new TestMesh(`${MESH}\n---\n${EAST_WEST}`).push()
  const router = testProxy({ type: 'router', namespace: 'istio-system', labels: { istio: 'eastwestgateway' } })
  assert.ok(passesThrough(router, push))
  const names = [outboundSni(80, '', WEB), outboundSni(80, 'v1', WEB)]
  const [listener] = generateListeners(router, push)
  assert.deepEqual(
    listener!.filterChains.map((chain) => chain.filterChainMatch!.serverNames[0]),
    names,
  )
  assert.ok(listener!.filterChains[0]!.filterChainMatch!.applicationProtocols.includes('istio-peer-exchange'))
  assert.equal(listener!.listenerFilters[0]!.name, 'envoy.filters.listener.tls_inspector')
  const clusters = passthroughClusters(router, push)
  assert.deepEqual(
    clusters.map((c) => c.name),
    names,
  )
  assert.equal(clusters[0]!.transportSocket, undefined)
  assert.equal(clusters[0]!.transportSocketMatches.length, 0)
  const [assignment] = generateEndpoints(router, push, [names[0]!])
  assert.equal(assignment!.endpoints[0]!.lbEndpoints.length, 4, 'the endpoint without a sidecar is left out')
})

test('gateways named by host have the addresses that DNS has, and follow them', async () => {
  const parsed = parseMeshNetworks({ networks: { n2: { gateways: [{ address: 'gw.example.com', port: 15443 }] } } })
  assert.ok(parsed.ok)
  const push = new TestMesh(MESH).push()
  const sources = { meshNetworks: parsed.value, services: push.services, nodes: new Map(), clusterId: 'c' }
  assert.deepEqual(gatewayHosts(sources), ['gw.example.com'])
  const told = Promise.withResolvers<ReadonlyMap<string, readonly string[]>>()
  const resolver = new GatewayResolver(createLogger('test', 'off'), told.resolve, async () => ({
    addresses: ['192.0.2.5'],
    ttlSeconds: 60,
  }))
  resolver.follow(gatewayHosts(sources))
  const resolved = await told.promise
  resolver.close()
  assert.deepEqual(
    networkGateways({ ...sources, resolved })!
      .into('n2', 'c')
      .map((g) => g.address),
    ['192.0.2.5'],
  )
  assert.equal(networkGateways({ ...sources, resolved: new Map() }), null)
})

test('faults of MeshNetworks are named by path', () => {
  const parsed = parseMeshNetworks({
    networks: { n1: { endpoints: [{ fromCidr: '10.0.0.0/99' }], gateways: [{ address: '-x', port: 0 }] } },
  })
  assert.ok(!parsed.ok)
  assert.deepEqual(parsed.problems.map((p) => p.path).sort(), [
    'networks["n1"].endpoints[0].fromCidr',
    'networks["n1"].gateways[0].address',
    'networks["n1"].gateways[0].port',
  ])
})
