import assert from 'node:assert/strict'
import { test } from 'node:test'
import { objects, serviceYaml, TestMesh } from '../testing.ts'
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
  ['kind: Pod\nstatus: {podIP: 10.5}', /status\.podIP must be a string/],
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
