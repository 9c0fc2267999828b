import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { KubeObject } from '../cluster/index.ts'
import { CDS_TYPE, EDS_TYPE, LDS_TYPE, RDS_TYPE } from '../xds/type-urls.ts'
import { ResourceGenerator } from './push/resources.ts'
import { serviceYaml, TestMesh, testProxy } from './testing.ts'

const KINDS = [
  ['v1', 'Service'],
  ['v1', 'Pod'],
  ['v1', 'Node'],
  ['v1', 'Secret'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['networking.istio.io/v1', 'VirtualService'],
  ['networking.istio.io/v1', 'DestinationRule'],
  ['networking.istio.io/v1', 'ServiceEntry'],
  ['networking.istio.io/v1', 'Gateway'],
  ['networking.istio.io/v1', 'Sidecar'],
  ['networking.istio.io/v1alpha3', 'EnvoyFilter'],
  ['security.istio.io/v1', 'AuthorizationPolicy'],
  ['gateway.networking.k8s.io/v1', 'HTTPRoute'],
  ['networking.k8s.io/v1', 'Ingress'],
] as const

/** Keys that conversions look at, so that garbage gets past the first look. */
const FIELDS = [
  'ports',
  'port',
  'selector',
  'hosts',
  'http',
  'route',
  'endpoints',
  'addresses',
  'containers',
  'rules',
  'servers',
  'host',
]
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<unknown>(null, 0, -1, 80, 70000, '', '*', 'web', 'a b', true),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...FIELDS), tie('any'), { maxKeys: 4 }),
  ),
})).any

const object = fc.record({ kind: fc.constantFrom(...KINDS), spec: value, status: value, other: value }).map(
  ({ kind: [apiVersion, kind], spec, status, other }): KubeObject => ({
    apiVersion,
    kind,
    metadata: {
      name: 'web',
      namespace: kind === 'Node' ? undefined : 'default',
      labels: { app: 'web', 'kubernetes.io/service-name': 'web' },
    },
    spec,
    status,
    data: other,
    endpoints: other,
    ports: spec,
  }),
)

const PROXIES = [
  testProxy({ ip: '10.1.0.1', labels: { app: 'web' } }),
  testProxy({ type: 'router', labels: { istio: 'ingressgateway' } }),
]

test('whatever an object holds, nothing throws and the rest of the mesh is served', () => {
  fc.assert(
    fc.property(fc.array(object, { minLength: 1, maxLength: 6 }), (list) => {
      const mesh = new TestMesh(serviceYaml('shop'))
      mesh.store.put(list.map((one) => ({ object: one })))
      const push = mesh.push()
      const generator = new ResourceGenerator()
      for (const proxy of PROXIES) {
        const clusters = generator.generate(CDS_TYPE, proxy, push, null).map((c) => c.name)
        assert.ok(clusters.includes('BlackHoleCluster'))
        generator.generate(EDS_TYPE, proxy, push, clusters)
        generator.generate(LDS_TYPE, proxy, push, null)
        generator.generate(RDS_TYPE, proxy, push, ['80', 'http.80'])
      }
    }),
    { numRuns: 300, seed: 20260102 },
  )
})
