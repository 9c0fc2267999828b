import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../cluster/index.ts'
import { DeploymentController, ownerDeployment, planRollout } from './deployments.ts'
import type { Deployment, Pod } from './pod-types.ts'
import { deploymentForTest, podForTest } from './testing.ts'

const current = (name: string, ready = true, created?: string) =>
  podForTest(name, { 'pod-template-hash': 'new' }, { ready, created })
const old = (name: string, ready = true) => podForTest(name, { 'pod-template-hash': 'old' }, { ready })
const plan = (deployment: Deployment, pods: Pod[]) => {
  const { create, remove } = planRollout(deployment, pods, 'new')
  return { create, remove: remove.map((pod) => pod.metadata.name) }
}

test('missing pods are created, surplus ones removed youngest first', () => {
  assert.deepEqual(plan(deploymentForTest('d', 2), []), { create: 2, remove: [] })
  const pods = [current('a', true, '2026-01-01T00:00:00Z'), current('b', true, '2026-01-02T00:00:00Z')]
  assert.deepEqual(plan(deploymentForTest('d', 1), pods), { create: 0, remove: ['b'] })
})

test('an unready surplus pod goes before a ready one', () => {
  assert.deepEqual(plan(deploymentForTest('d', 1), [current('a', false), current('b')]), { create: 0, remove: ['a'] })
})

test('a rollout of one replica adds the new pod first and removes the old one when the new is ready', () => {
  const deployment = deploymentForTest('d', 1)
  assert.deepEqual(plan(deployment, [old('a')]), { create: 1, remove: [] })
  assert.deepEqual(plan(deployment, [old('a'), current('b', false)]), { create: 0, remove: [] })
  assert.deepEqual(plan(deployment, [old('a'), current('b')]), { create: 0, remove: ['a'] })
})

test('maxUnavailable lets ready pods go early, maxSurge 0 adds none above the count', () => {
  const strategy = { rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } }
  const deployment = deploymentForTest('d', 2, { strategy })
  assert.deepEqual(plan(deployment, [old('a'), old('b')]), { create: 0, remove: ['a'] })
  assert.deepEqual(plan(deployment, [old('b')]), { create: 1, remove: [] })
})

test('an unready old pod is removed at once', () => {
  assert.deepEqual(plan(deploymentForTest('d', 2), [old('a', false), old('b')]).remove, ['a'])
})

test('Recreate waits until the old pods are gone', () => {
  const deployment = deploymentForTest('d', 1, { strategy: { type: 'Recreate' } })
  assert.deepEqual(plan(deployment, [old('a')]), { create: 0, remove: ['a'] })
  const ending = old('a')
  ending.metadata.deletionTimestamp = '2026-01-01T00:00:00Z'
  assert.deepEqual(plan(deployment, [ending]), { create: 0, remove: [] })
  assert.deepEqual(plan(deployment, []), { create: 1, remove: [] })
})

function controlled() {
  const store = new MemoryStore()
  const said: string[] = []
  new DeploymentController(store, { admitPod: (pod) => pod, event: (_, message) => said.push(message) })
  return { store, said, pods: () => store.list('Pod') as Pod[] }
}

test('the controller names pods after ReplicaSet and template and owns them', () => {
  const { store, pods } = controlled()
  store.put([{ object: deploymentForTest('details-v1', 2) }])
  assert.equal(pods().length, 2)
  for (const pod of pods()) {
    assert.match(pod.metadata.name, /^details-v1-[a-z0-9]{10}-[a-z0-9]{5}$/)
    assert.equal(ownerDeployment(pod), 'details-v1')
    assert.equal(pod.metadata.ownerReferences![0]!.kind, 'ReplicaSet')
  }
  assert.equal(store.list('ReplicaSet.apps').length, 1)
})

test('a deleted pod is replaced once it is gone, a deleted Deployment ends its pods', () => {
  const { store, pods } = controlled()
  store.put([{ object: deploymentForTest('d', 1) }])
  const first = pods()[0]!.metadata.name
  store.remove([{ kind: 'Pod', namespace: 'default', name: first }])
  assert.equal(pods().length, 1)
  assert.notEqual(pods()[0]!.metadata.name, first)
  store.remove([{ kind: 'Deployment.apps', namespace: 'default', name: 'd' }])
  assert.ok(pods().every((pod) => pod.metadata.deletionTimestamp))
  assert.equal(store.list('ReplicaSet.apps').length, 0)
})

test('a pod that may not be made is an event, not an exception', () => {
  const store = new MemoryStore()
  const said: string[] = []
  const admitPod = () => {
    throw new Error('serviceaccount "x" not found')
  }
  new DeploymentController(store, { admitPod, event: (_, message) => said.push(message) })
  store.put([{ object: deploymentForTest('d', 1) }])
  assert.match(said[0]!, /serviceaccount "x" not found/)
})
