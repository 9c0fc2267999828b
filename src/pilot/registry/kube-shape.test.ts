import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBinary } from '@bufbuild/protobuf'
import type { LbEndpoint } from '../../api/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import { ClusterLoadAssignmentSchema } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { EDS_TYPE } from '../../xds/type-urls.ts'
import { ResourceGenerator } from '../push/resources.ts'
import { objects, serviceYaml, TestMesh, testProxy } from '../testing.ts'
import { kubeShapeProblem } from './kube-shape.ts'

test('objects as Kubernetes has them pass', () => {
  for (const object of objects(serviceYaml('web'))) {
    const kind = object.kind === 'EndpointSlice' ? 'EndpointSlice.discovery.k8s.io' : object.kind
    assert.equal(kubeShapeProblem(kind, object), null)
  }
})

const BAD: [yaml: string, problem: RegExp][] = [
  ['kind: Service\nspec: {ports: 80}', /spec\.ports must be a list/],
  ['kind: Service\nspec: {ports: [{name: http}]}', /spec\.ports\[0\]\.port is missing/],
  ['kind: Service\nspec: {ports: [{port: 99999}]}', /spec\.ports\[0\]\.port must be a port number/],
  ['kind: Service\nspec: {selector: {app: 1}}', /spec\.selector\.app must be a string/],
  ['kind: Service\nspec: none', /spec must be a mapping/],
  ['kind: Pod\nspec: {containers: {}}', /spec\.containers must be a list/],
  ['kind: Pod\nstatus: {podIP: 10.5}', /status\.podIP must be an IP address/],
  ['kind: Service\nspec: {ports: [{port: null}]}', /spec\.ports\[0\]\.port is missing/],
  ['kind: Service\nspec: {clusterIP: 10.0.0.0/8, ports: [{port: 80}]}', /spec\.clusterIP must be an IP address/],
]

test('what is not as Kubernetes has it is refused with its path, and the last good object stays', () => {
  for (const [yaml, problem] of BAD) {
    const mesh = new TestMesh(serviceYaml('web'))
    mesh.push()
    const name = yaml.startsWith('kind: Pod') ? 'web-0' : 'web'
    mesh.put(`apiVersion: v1\nmetadata: {name: ${name}}\n${yaml}`)
    const push = mesh.push()
    assert.match(mesh.problems.join('\n'), problem)
    const set = push.endpoints.get('default/web.default.svc.cluster.local')
    assert.equal(set?.endpoints[0]?.address, '10.1.0.1')
  }
})

test('labels and annotations are strings, or the object is refused', () => {
  const mesh = new TestMesh(serviceYaml('web'))
  const [service] = objects(serviceYaml('web')).filter(({ kind }) => kind === 'Service')
  const annotations = { 'networking.istio.io/exportTo': 5 } as unknown as Record<string, string>
  mesh.store.put([{ object: { ...service!, metadata: { ...service!.metadata, annotations } } }])
  mesh.push()
  assert.match(mesh.problems.join('\n'), /metadata\.annotations\.networking\.istio\.io\/exportTo must be a string/)
})

test('a port may have any name', () => {
  const port = '{name: constructor, port: 80, targetPort: constructor}'
  const mesh = new TestMesh(`
apiVersion: v1
kind: Service
metadata: {name: odd}
spec: {clusterIP: 10.96.0.9, selector: {app: odd}, ports: [${port}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: odd}
spec: {hosts: [odd.example], resolution: STATIC, ports: [{number: 80, name: constructor, protocol: HTTP}, {number: 90, name: other, protocol: HTTP}], endpoints: [{address: 10.2.0.1, ports: {other: 91}}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: odd}
spec: {address: 10.2.0.2, labels: {app: odd}, ports: {other: 90}}
`)
  const push = mesh.push()
  const generator = new ResourceGenerator()
  const names = ['outbound|80||odd.example', 'outbound|80||odd.default.svc.cluster.local']
  const assignments = generator.generate(EDS_TYPE, testProxy(), push, names)
  // A name that is not among an entry's ports is no port of it; every object has a `constructor`.
  const ports = assignments.map(({ body }) =>
    fromBinary(ClusterLoadAssignmentSchema, body).endpoints.flatMap(({ lbEndpoints }) => lbEndpoints.map(portOf)),
  )
  assert.deepEqual(ports, [[80], []])
})

function portOf({ hostIdentifier }: LbEndpoint): number | undefined {
  const address = hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined
  return address?.case === 'socketAddress' ? (address.value.portSpecifier.value as number) : undefined
}
