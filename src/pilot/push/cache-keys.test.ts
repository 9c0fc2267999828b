import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultMeshConfig } from '../../config/index.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../../xds/type-urls.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import { serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { ResourceGenerator } from './resources.ts'

const BASE = `${serviceYaml('web')}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [ext.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: a.example.com, locality: r1/z1}, {address: b.example.com, locality: r2/z2}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 9000}]}
---
${bareSlice('web-0')}
`

function bareSlice(...pods: string[]): string {
  const endpoints = pods.map((name, i) => `{addresses: [10.1.0.${i + 1}], targetRef: {kind: Pod, name: ${name}}}`)
  return `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bare-a, labels: {kubernetes.io/service-name: bare}}
addressType: IPv4
ports: [{name: tcp, port: 9000}]
endpoints: [${endpoints}]`
}

/** Every kind of input that some resource is made from, changed one at a time. */
const CHANGES: Record<string, string> = {
  'service port': serviceYaml('web', { port: '{port: 80, name: grpc, targetPort: 8080}' }),
  'endpoint address': serviceYaml('web', { ip: '10.1.0.2' }),
  'endpoint identity': serviceYaml('web').replace('serviceAccountName: web', 'serviceAccountName: other'),
  'endpoint tls mode': serviceYaml('web').replace('tlsMode: istio', 'tlsMode: disabled'),
  'an endpoint of a headless service that speaks no mutual TLS': `
apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: web}}
spec: {serviceAccountName: web, nodeName: node-a, containers: [{name: app}]}
status: {phase: Running, podIP: 10.1.0.2, conditions: [{type: Ready, status: "True"}]}
---
${bareSlice('web-0', 'plain')}`,
  'ServiceEntry endpoint': BASE.slice(BASE.indexOf('kind: ServiceEntry') - 40).replace(
    'b.example.com',
    'c.example.com',
  ),
  DestinationRule: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 3}}}, subsets: [{name: v1, labels: {app: web}}]}`,
  'DestinationRule that selects clients': `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, workloadSelector: {matchLabels: {app: client}}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}`,
  'failover of a DNS service': `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ext}
spec: {host: ext.example.com, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}}`,
  PeerAuthentication: `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: DISABLE}}`,
  VirtualService: `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{timeout: 3s, route: [{destination: {host: web}}]}]}`,
  'VirtualService for some sources': `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{match: [{sourceLabels: {app: client}}], timeout: 3s, route: [{destination: {host: web}}]}, {route: [{destination: {host: web}}]}]}`,
  'TCP VirtualService': `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bare}
spec: {hosts: [ext.example.com], tls: [{match: [{sniHosts: [ext.example.com]}], route: [{destination: {host: ext.example.com}}]}]}`,
  Sidecar: `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["./web.default.svc.cluster.local"]}]}`,
  EnvoyFilter: `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f}
spec: {workloadSelector: {labels: {app: client}}, configPatches: [{applyTo: CLUSTER, match: {}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}, {applyTo: VIRTUAL_HOST, match: {}, patch: {operation: MERGE, value: {request_headers_to_remove: [x]}}}]}`,
  'service of its own': `
apiVersion: v1
kind: Service
metadata: {name: more}
spec: {clusterIP: 10.96.0.77, selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}]}`,
  'DestinationRule of its own service': `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 7}}}}`,
  AuthorizationPolicy: `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}`,
  RequestAuthentication: `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec: {jwtRules: [{issuer: i, jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}'}]}`,
  'Sidecar with ingress': `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {ingress: [{port: {number: 9999, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080"}], egress: [{hosts: ["*/*"]}]}`,
  'inbound EnvoyFilter': `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f}
spec: {configPatches: [{applyTo: LISTENER, match: {context: SIDECAR_INBOUND}, patch: {operation: MERGE, value: {stat_prefix: p}}}]}`,
  WasmPlugin: `
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: p}
spec: {url: "oci://example.com/p:v1"}`,
  'gateway of a network': `
apiVersion: v1
kind: Service
metadata: {name: ew, labels: {topology.istio.io/network: n2}}
spec: {clusterIP: 10.96.0.9, externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]}
---
${serviceYaml('web', { labels: ', topology.istio.io/network: n2' })}`,
  'WorkloadGroup and ProxyConfig': `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: g}
spec: {template: {serviceAccount: x}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: c}
spec: {concurrency: 1}`,
  Telemetry: `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: default}
spec: {accessLogging: [{providers: [{name: envoy}]}]}`,
}

const PROXIES: Record<string, ProxyNode> = {
  client: testProxy({ labels: { app: 'client' }, locality: 'r1/z1' }),
  'other labels': testProxy({ ip: '10.0.0.2', labels: { app: 'x' }, locality: 'r1/z1' }),
  'other place': testProxy({ ip: '10.0.0.3', labels: { app: 'client' }, locality: 'r2/z2' }),
  'other namespace': testProxy({ ip: '10.0.0.4', namespace: 'other', labels: { app: 'client' }, locality: 'r1/z1' }),
  'istio build': testProxy({
    ip: '10.0.0.5',
    labels: { app: 'client' },
    locality: 'r1/z1',
    extensions: ['istio.metadata_exchange', 'istio.alpn', 'envoy.filters.http.wasm'],
  }),
  'own endpoint': testProxy({ ip: '10.1.0.1', labels: { app: 'web' }, locality: 'r1/z1' }),
  dual: testProxy({ ip: '10.0.0.6', labels: { app: 'client' }, metadata: { INSTANCE_IPS: '10.0.0.6,fd00::6' } }),
  tproxy: testProxy({ ip: '10.0.0.7', labels: { app: 'client' }, metadata: { INTERCEPTION_MODE: 'TPROXY' } }),
  'other network': testProxy({ ip: '10.0.0.9', labels: { app: 'client' }, metadata: { NETWORK: 'n1' } }),
  router: testProxy({ type: 'router', ip: '10.0.0.8', labels: { istio: 'ingressgateway' } }),
}

/** Name and version (a digest of the content) of all resources of a proxy. */
function everything(generator: ResourceGenerator, proxy: ProxyNode, push: PushContext): string[] {
  const clusters = generator.generate(CDS_TYPE, proxy, push, null)
  const lists = [
    clusters,
    generator.generate(
      EDS_TYPE,
      proxy,
      push,
      clusters.map((c) => c.name),
    ),
    generator.generate(LDS_TYPE, proxy, push, null),
    generator.generate(RDS_TYPE, proxy, push, ['80', '9080', 'http.80']),
  ]
  return lists.flatMap((list, type) => list.map((r) => `${type} ${r.name} ${r.version}`))
}

for (const [change, yaml] of Object.entries(CHANGES)) {
  test(`what is cached is what would be generated anew: ${change}`, () => {
    const mesh = new TestMesh(BASE)
    const generator = new ResourceGenerator()
    const before = mesh.push()
    for (const proxy of Object.values(PROXIES)) everything(generator, proxy, before)
    mesh.put(yaml)
    const after = mesh.push()
    assert.deepEqual(mesh.problems, [])
    for (const [name, proxy] of Object.entries(PROXIES)) {
      assert.deepEqual(everything(generator, proxy, after), everything(new ResourceGenerator(), proxy, after), name)
    }
  })
}

test('an incremental context generates what one built from nothing does', () => {
  const mesh = new TestMesh(BASE)
  mesh.push()
  let all = BASE
  for (const yaml of Object.values(CHANGES)) {
    mesh.put(yaml)
    all += `\n---\n${yaml}`
    const incremental = mesh.push()
    const rebuilt = new TestMesh(all).push()
    for (const [name, proxy] of Object.entries(PROXIES)) {
      assert.deepEqual(
        everything(new ResourceGenerator(), proxy, incremental),
        everything(new ResourceGenerator(), proxy, rebuilt),
        name,
      )
    }
  }
})

test('what a proxy has for itself stays the same object when services of others change', () => {
  const mesh = new TestMesh(BASE)
  const generator = new ResourceGenerator()
  const before = generator.clusterState(PROXIES.client!, mesh.push())
  mesh.put(serviceYaml('other', { ip: '10.1.0.9', vip: '10.96.0.9' }))
  const after = generator.clusterState(PROXIES.client!, mesh.push())
  assert.equal(after.own, before.own)
  assert.notEqual(after.outbound, before.outbound)
})

test('a mesh configuration of its own is never served from the cache of another', () => {
  const generator = new ResourceGenerator()
  const proxy = PROXIES.client!
  everything(generator, proxy, new TestMesh(BASE).push())
  const push = new TestMesh(BASE, { ...defaultMeshConfig(), connectTimeout: 5000 }).push()
  assert.deepEqual(everything(generator, proxy, push), everything(new ResourceGenerator(), proxy, push))
})

test('equal proxies share encoded resources', () => {
  const generator = new ResourceGenerator()
  const push = new TestMesh(BASE).push()
  const first = generator.generate(CDS_TYPE, testProxy({ ip: '10.0.1.1', name: 'a' }), push, null)
  const second = generator.generate(CDS_TYPE, testProxy({ ip: '10.0.1.2', name: 'b' }), push, null)
  assert.equal(first[0], second[0])
})
