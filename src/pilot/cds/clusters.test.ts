import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type JsonObject, toJson } from '@bufbuild/protobuf'
import { ClusterSchema } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import { parseMeshConfig } from '../../config/index.ts'
import type { ProxyNode } from '../model/node.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { generateClusters } from './generate.ts'

const WEB = 'outbound|80||web.default.svc.cluster.local'

function clusters(yaml: string, proxy: ProxyNode = testProxy()): Map<string, JsonObject> {
  const mesh = new TestMesh(yaml)
  const push = mesh.push()
  assert.deepEqual(mesh.problems, [])
  return new Map(
    generateClusters(proxy, push).map((c) => [
      c.name,
      toJson(ClusterSchema, c, { registry: typeRegistry }) as JsonObject,
    ]),
  )
}

const withRule = (policy: string, extra = '') => `${serviceYaml('web')}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {${policy}}${extra}}
`

const entry = (body: string) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [ext.example.com], ports: [{number: 443, name: tls, protocol: TLS}], ${body}}
`
const EXT = 'outbound|443||ext.example.com'

/** The unpacked TLS context of a transport socket. */
function tlsOf(socket: unknown): JsonObject {
  return (socket as JsonObject).typedConfig as JsonObject
}

test('resolutions become cluster types; gateways have no original destination', () => {
  assert.equal(clusters(serviceYaml('web')).get(WEB)?.type, 'EDS')
  assert.equal(clusters(entry('resolution: DNS')).get(EXT)?.type, 'STRICT_DNS')
  assert.equal(clusters(entry('resolution: DNS_ROUND_ROBIN')).get(EXT)?.type, 'LOGICAL_DNS')
  assert.equal(clusters(entry('resolution: NONE')).get(EXT)?.type, 'ORIGINAL_DST')
  assert.equal(clusters(entry('resolution: NONE'), testProxy({ type: 'router' })).get(EXT)?.type, 'EDS')
  const selecting = entry('resolution: DNS, workloadSelector: {labels: {app: none}}')
  assert.equal(clusters(selecting).has(EXT), false, 'nothing to resolve')
})

test('automatic mutual TLS chooses by endpoint; external services and a namespace that disabled it get none', () => {
  const matches = clusters(serviceYaml('web')).get(WEB)?.transportSocketMatches as JsonObject[]
  assert.deepEqual(
    matches.map((m) => m.name),
    ['tlsMode-istio', 'tlsMode-disabled'],
  )
  const tls = tlsOf(matches[0]!.transportSocket)
  assert.equal(tls.sni, 'outbound_.80_._.web.default.svc.cluster.local')
  assert.match(JSON.stringify(tls), /spiffe:\/\/cluster\.local\/ns\/default\/sa\/web/)
  assert.equal(clusters(entry('resolution: STATIC')).get(EXT)?.transportSocketMatches, undefined)
  const disabled = `${serviceYaml('web')}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: DISABLE}}`
  assert.equal(clusters(disabled).get(WEB)?.transportSocketMatches, undefined)
})

test('every identity that a service may have stands in the other trust domains, too', () => {
  const mesh = parseMeshConfig({ trustDomainAliases: ['old'] })
  assert.ok(mesh.ok)
  const named = `${serviceYaml('web')}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: in}
spec:
  hosts: [in.example.com]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  subjectAltNames: [spiffe://other/ns/a/sa/b, spiffe://cluster.local/ns/a/sa/c, in.example.com]`
  const [web, entry] = [WEB, 'outbound|80||in.example.com'].map((name) => {
    const push = new TestMesh(named, mesh.value).push()
    const cluster = generateClusters(testProxy(), push).find((c) => c.name === name)!
    const text = JSON.stringify(toJson(ClusterSchema, cluster, { registry: typeRegistry }))
    return [...text.matchAll(/"exact":"([^"]*)"/g)].map(([, value]) => value)
  })
  assert.deepEqual(web, ['spiffe://cluster.local/ns/default/sa/web', 'spiffe://old/ns/default/sa/web'])
  assert.deepEqual(entry, [
    'in.example.com',
    'spiffe://cluster.local/ns/a/sa/c',
    'spiffe://old/ns/a/sa/b',
    'spiffe://old/ns/a/sa/c',
    'spiffe://other/ns/a/sa/b',
  ])
})

test('a rule with tls ends automatic mutual TLS', () => {
  const cluster = (mode: string) => clusters(withRule(`tls: {mode: ${mode}}`)).get(WEB)!
  assert.equal(cluster('DISABLE').transportSocket, undefined)
  assert.equal(tlsOf(cluster('ISTIO_MUTUAL').transportSocket).sni, 'outbound_.80_._.web.default.svc.cluster.local')
  const simple = cluster('SIMPLE')
  assert.equal(simple.transportSocketMatches, undefined)
  assert.match(JSON.stringify(simple), /"autoSni":true,"autoSanValidation":true/)
  assert.match(JSON.stringify(simple), /"alpn_override":"false"/)
})

test('client certificate files of a node stand in for the certificate of the mesh, to every endpoint', () => {
  const files = { TLS_CLIENT_CERT_CHAIN: '/c.pem', TLS_CLIENT_KEY: '/k.pem', TLS_CLIENT_ROOT_CERT: '/r.pem' }
  const cluster = (yaml: string, metadata: Record<string, string>) => clusters(yaml, testProxy({ metadata })).get(WEB)!
  const automatic = cluster(serviceYaml('web'), files)
  assert.equal(automatic.transportSocketMatches, undefined)
  const tls = tlsOf(automatic.transportSocket)
  assert.equal(tls.sni, 'outbound_.80_._.web.default.svc.cluster.local')
  assert.match(JSON.stringify(tls), /"file-cert:\/c.pem~\/k.pem".*sa\/web.*"file-root:\/r.pem"/)
  // Names of a rule are its own: the mesh's are not put in their place.
  const asked = tlsOf(cluster(withRule('tls: {mode: ISTIO_MUTUAL}'), files).transportSocket)
  assert.equal(asked.sni, undefined)
  assert.doesNotMatch(JSON.stringify(asked), /spiffe/)
  assert.match(JSON.stringify(cluster(withRule('tls: {mode: SIMPLE}'), files)), /"file-root:system"/)
  // A chain without its key is no certificate: there is no TLS then, as in istiod.
  const plain = cluster(serviceYaml('web'), { TLS_CLIENT_CERT_CHAIN: '/c.pem' })
  assert.equal(plain.transportSocket, undefined)
  assert.equal(plain.transportSocketMatches, undefined)
})

test('subsets override block by block, ports replace without inheriting', () => {
  const all = clusters(
    withRule(
      'connectionPool: {tcp: {maxConnections: 5}}, loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}]',
      ', subsets: [{name: v1, labels: {v: "1"}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}}, {name: v2, labels: {v: "2"}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}]',
    ),
  )
  const limit = (name: string) =>
    ((all.get(name)!.circuitBreakers as JsonObject).thresholds as JsonObject[])[0]!.maxConnections
  assert.equal(all.get(WEB)!.lbPolicy, 'RANDOM')
  assert.equal(limit(WEB), 5)
  const v1 = WEB.replace('||', '|v1|')
  assert.equal(all.get(v1)!.lbPolicy, 'LEAST_REQUEST')
  assert.equal(limit(v1), 5)
  const v2 = WEB.replace('||', '|v2|')
  assert.equal(all.get(v2)!.lbPolicy, 'RANDOM')
  assert.equal(limit(v2), 4294967295)
})

test('HTTP/2 by protocol, by upgrade, and as the client speaks', () => {
  const options = (yaml: string) => JSON.stringify(clusters(yaml).get(WEB)!.typedExtensionProtocolOptions ?? {})
  assert.equal(options(serviceYaml('web')), '{}')
  assert.match(
    options(serviceYaml('web', { port: '{port: 80, name: grpc}' })),
    /explicitHttpConfig":\{"http2ProtocolOptions/,
  )
  assert.match(options(serviceYaml('web', { port: '{port: 80, name: what}' })), /useDownstreamProtocolConfig/)
  assert.match(options(withRule('connectionPool: {http: {h2UpgradePolicy: UPGRADE}}')), /http2ProtocolOptions/)
  assert.match(options(withRule('connectionPool: {http: {useClientProtocol: true}}')), /useDownstreamProtocolConfig/)
})

test('inbound: original destination from the loopback source; without capture there is no cluster', () => {
  const proxy = (mode: string) =>
    testProxy({ ip: '10.1.0.1', labels: { app: 'web' }, metadata: { INTERCEPTION_MODE: mode } })
  const redirect = clusters(serviceYaml('web'), proxy('REDIRECT')).get('inbound|8080||')!
  assert.equal(redirect.type, 'ORIGINAL_DST')
  assert.deepEqual(redirect.upstreamBindConfig, { sourceAddress: { address: '127.0.0.6', portValue: 0 } })
  assert.deepEqual(clusters(serviceYaml('web'), proxy('TPROXY')).get('inbound|8080||'), redirect)
  assert.equal(clusters(serviceYaml('web'), proxy('NONE')).get('inbound|8080||'), undefined)
})

test('filters of the Istio build go only to proxies that have them', () => {
  const filters = (extensions: string[]) => clusters(serviceYaml('web'), testProxy({ extensions })).get(WEB)!.filters
  assert.equal(filters([]), undefined)
  assert.equal(filters(['envoy.filters.http.router']), undefined)
  assert.equal((filters(['istio.metadata_exchange']) as JsonObject[])[0]!.name, 'istio.metadata_exchange')
})

test('gateways get outbound clusters and the black hole, nothing of sidecars', () => {
  assert.deepEqual([...clusters(serviceYaml('web'), testProxy({ type: 'router' })).keys()], [WEB, 'BlackHoleCluster'])
})
