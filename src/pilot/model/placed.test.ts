import assert from 'node:assert/strict'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { TestMesh } from '../testing.ts'
import { parseNode } from './node.ts'
import { placed } from './placed.ts'

const pod = (name: string, ip: string, labels: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default, labels: ${labels}}
spec: {nodeName: n1, containers: []}
status: {phase: Running, podIP: ${ip}}`

const NODE = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}`

function proxy(name: string, ip: string) {
  const parsed = parseNode(
    create(NodeSchema, {
      id: `sidecar~${ip}~${name}.default~default.svc.cluster.local`,
      locality: { region: 'told' },
      metadata: { NAMESPACE: 'default', LABELS: { app: 'old' }, STATIC_LABELS: { fixed: 'yes' } },
    }),
  )
  assert.ok(parsed.ok)
  return parsed.value
}

test("a proxy is where its pod's node is, and has the labels that its pod has now", () => {
  const push = new TestMesh([NODE, pod('web', '10.0.0.1', '{app: new}')].join('\n---')).push()
  const { locality, labels } = placed(proxy('web', '10.0.0.1'), push)
  assert.deepEqual(locality, { region: 'r', zone: 'z', subzone: '' })
  assert.deepEqual(labels, { fixed: 'yes', app: 'new' })
})

test('without a pod, or a node with a place, what the node said holds', () => {
  const unknown = proxy('other', '10.0.0.9')
  const push = new TestMesh(pod('web', '10.0.0.1', '{app: old, fixed: "yes"}')).push()
  assert.equal(placed(unknown, push), unknown)
  assert.deepEqual(placed(proxy('web', '10.0.0.1'), push).locality, { region: 'told', zone: '', subzone: '' })
})

test('pods that share an address are told apart by name', () => {
  const push = new TestMesh([pod('a', '10.0.0.1', '{app: a}'), pod('b', '10.0.0.1', '{app: b}')].join('\n---')).push()
  assert.equal(placed(proxy('a', '10.0.0.1'), push).labels.app, 'a')
  assert.equal(placed(proxy('b', '10.0.0.1'), push).labels.app, 'b')
})

test('outside Kubernetes a proxy has the labels and the place of what a ServiceEntry of its namespace has at an address', () => {
  const entry = (namespace: string, labels: string) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: ${namespace}}
spec:
  hosts: [a.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, locality: r/z, labels: ${labels}}]`
  const push = new TestMesh([entry('default', '{app: listed}'), entry('other', '{app: foreign}')].join('\n---')).push()
  const { locality, labels } = placed(proxy('vm', '10.0.0.1'), push)
  assert.deepEqual(locality, { region: 'r', zone: 'z', subzone: '' })
  assert.equal(labels.app, 'listed')
})
