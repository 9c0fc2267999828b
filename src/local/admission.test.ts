import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type KubeObject, MemoryStore } from '../cluster/index.ts'
import { Admission } from './admission.ts'
import type { Deployment, Pod, Service } from './pod-types.ts'
import { deploymentForTest, podForTest, serviceForTest } from './testing.ts'

function cluster() {
  const store = new MemoryStore()
  const admission = new Admission(store, (pod) => pod)
  const apply = (...objects: KubeObject[]) =>
    admission.apply(objects.map((object) => ({ object, origin: { file: 'f.yaml', line: 3 } })))
  apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } })
  const service = (name: string) => store.get('Service', 'default', name) as Service
  return { store, admission, apply, service }
}

test('a Service gets an address and keeps it', () => {
  const { apply, service } = cluster()
  const wanted = serviceForTest('a', { clusterIP: undefined, ports: [{ port: 80 }] })
  apply(wanted)
  const { clusterIP, ports } = service('a').spec
  assert.match(clusterIP!, /^10\.96\.\d+\.\d+$/)
  assert.deepEqual(ports, [{ port: 80, protocol: 'TCP', targetPort: 80 }])
  assert.deepEqual(apply(wanted), [{ object: 'service/a', action: 'unchanged' }])
  assert.equal(service('a').spec.clusterIP, clusterIP)
})

test('an address given is used once only, and must be of the service range', () => {
  const { apply, service } = cluster()
  apply(serviceForTest('a', { clusterIP: '10.96.7.7' }))
  assert.equal(service('a').spec.clusterIP, '10.96.7.7')
  assert.throws(() => apply(serviceForTest('b', { clusterIP: '10.96.7.7' })), /f\.yaml:3: Service b: .*already taken/)
  assert.throws(() => apply(serviceForTest('c', { clusterIP: '192.0.2.1' })), /outside of 10\.96\.0\.0\/16/)
})

test('one refused object keeps all others of the batch out', () => {
  const { apply, store } = cluster()
  const elsewhere = serviceForTest('b')
  elsewhere.metadata.namespace = 'nowhere'
  assert.throws(() => apply(serviceForTest('a'), elsewhere), /namespaces "nowhere" not found/)
  assert.equal(store.get('Service', 'default', 'a'), undefined)
})

test('a namespace of the same batch counts, and brings its default service account', () => {
  const { apply, store } = cluster()
  const service = serviceForTest('a')
  service.metadata.namespace = 'shop'
  apply(service, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
  assert.ok(store.get('ServiceAccount', 'shop', 'default'))
  assert.equal(store.get('Namespace', undefined, 'shop')!.metadata.labels!['kubernetes.io/metadata.name'], 'shop')
})

test('a replica count the manifest does not state survives an apply, one it states does not', () => {
  const { apply, store, admission } = cluster()
  const scale = () =>
    admission.update('Deployment.apps', 'default', 'd', (o) => ({ ...o, spec: { ...(o.spec as object), replicas: 3 } }))
  const replicas = () => (store.get('Deployment.apps', 'default', 'd') as Deployment).spec.replicas
  const silent = deploymentForTest('d', 1)
  delete silent.spec.replicas
  apply(silent)
  assert.equal(replicas(), 1)
  scale()
  apply(silent)
  assert.equal(replicas(), 3)
  apply(deploymentForTest('d', 1))
  assert.equal(replicas(), 1)
})

test('status belongs to the cluster', () => {
  const { apply, store } = cluster()
  apply(deploymentForTest('d', 1))
  store.put([{ object: { ...store.get('Deployment.apps', 'default', 'd')!, status: { readyReplicas: 1 } } }])
  apply({ ...deploymentForTest('d', 2), status: { readyReplicas: 9 } })
  assert.deepEqual(store.get('Deployment.apps', 'default', 'd')!.status, { readyReplicas: 1 })
})

test('a Deployment whose selector does not match its pods is refused', () => {
  const { apply } = cluster()
  const broken = deploymentForTest('d', 1, { selector: { matchLabels: { app: 'other' } } })
  assert.throws(() => apply(broken), /selector\.matchLabels must be among/)
})

test('deleting a pod asks it to end, deleting a namespace takes its objects', () => {
  const { apply, store, admission } = cluster()
  apply(podForTest('p', {}), serviceForTest('a'))
  assert.deepEqual(admission.delete([{ kind: 'Pod', namespace: 'default', name: 'p' }]), ['pod/p'])
  assert.ok((store.get('Pod', 'default', 'p') as Pod).metadata.deletionTimestamp)
  admission.delete([{ kind: 'Namespace', name: 'default' }])
  assert.equal(store.get('Service', 'default', 'a'), undefined)
  assert.deepEqual(admission.delete([{ kind: 'Service', namespace: 'default', name: 'a' }]), [])
})

test('a pod is admitted by the namespace of its own batch', () => {
  const store = new MemoryStore()
  const labels: unknown[] = []
  const admission = new Admission(store, (pod, view) => {
    labels.push(view.get('Namespace', undefined, 'shop')?.metadata.labels)
    return pod
  })
  const pod = podForTest('p', {})
  pod.metadata.namespace = 'shop'
  const namespace = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio-injection': 'enabled' } },
  }
  admission.apply([pod, namespace].map((object) => ({ object, origin: { file: 'f', line: 1 } })))
  assert.deepEqual(labels, [{ 'istio-injection': 'enabled' }])
})

test('a pod of a new namespace finds the account that comes with it', () => {
  const store = new MemoryStore()
  const admission = new Admission(store, (pod, view) => {
    assert.ok(view.get('ServiceAccount', pod.metadata.namespace, 'default'))
    return pod
  })
  const pod = podForTest('p', {})
  const objects = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'new' } },
    { ...pod, metadata: { ...pod.metadata, namespace: 'new' } },
  ]
  admission.apply(objects.map((object) => ({ object, origin: { file: 'f.yaml', line: 1 } })))
  assert.ok(store.get('Pod', 'new', 'p'))
})
