import assert from 'node:assert/strict'
import { test } from 'node:test'
import { podStatus } from './pod-status.ts'
import { podSummary } from './pod-summary.ts'
import type { ContainerState, ContainerStatus } from './pod-types.ts'
import { podForTest } from './testing.ts'

const container = (state: ContainerState, ready = false): ContainerStatus => ({
  name: 'c',
  image: 'i',
  imageID: 'i',
  ready,
  started: true,
  restartCount: 0,
  state,
  lastState: {},
})
const running = { running: { startedAt: 't' } }
const ended = (exitCode: number) => ({
  terminated: { exitCode, reason: exitCode ? 'Error' : 'Completed', finishedAt: 't' },
})
const base = {
  previous: undefined,
  startTime: 't',
  podIp: '10.244.0.5',
  hostIp: '10.244.0.1',
  failure: undefined,
  restartPolicy: 'Always' as const,
  initContainers: [],
}

test('a pod is ready when all its containers are', () => {
  const ready = podStatus({ ...base, containers: [container(running, true), container(running, true)] }, 'now')
  assert.equal(ready.conditions.find((c) => c.type === 'Ready')!.status, 'True')
  const half = podStatus({ ...base, containers: [container(running, true), container(running)] }, 'now')
  assert.equal(half.conditions.find((c) => c.type === 'Ready')!.status, 'False')
  assert.equal(half.phase, 'Running')
})

test('a condition keeps the time of its last change', () => {
  const first = podStatus({ ...base, containers: [container(running, true)] }, '1')
  const second = podStatus({ ...base, previous: first, containers: [container(running, true)] }, '2')
  assert.equal(second.conditions.find((c) => c.type === 'Ready')!.lastTransitionTime, '1')
  const third = podStatus({ ...base, previous: second, containers: [container(running)] }, '3')
  assert.equal(third.conditions.find((c) => c.type === 'Ready')!.lastTransitionTime, '3')
})

test('phases follow init containers and restart policy', () => {
  const waiting = { waiting: { reason: 'PodInitializing' } }
  assert.equal(
    podStatus({ ...base, initContainers: [container(running)], containers: [container(waiting)] }).phase,
    'Pending',
  )
  assert.equal(podStatus({ ...base, restartPolicy: 'Never', containers: [container(ended(0))] }).phase, 'Succeeded')
  assert.equal(podStatus({ ...base, restartPolicy: 'Never', containers: [container(ended(1))] }).phase, 'Failed')
  assert.equal(
    podStatus({
      ...base,
      restartPolicy: 'Never',
      initContainers: [container(ended(1))],
      containers: [container(waiting)],
    }).phase,
    'Failed',
  )
})

test('the STATUS word is kubectl’s', () => {
  const word = (initContainers: ContainerStatus[], containers: ContainerStatus[]) => {
    const pod = podForTest('p', {})
    pod.status = podStatus({ ...base, initContainers, containers })
    return podSummary(pod).status
  }
  const initializing = container({ waiting: { reason: 'PodInitializing' } })
  assert.equal(word([], [initializing]), 'ContainerCreating')
  assert.equal(word([container(running)], [initializing]), 'Init:0/1')
  assert.equal(word([container({ waiting: { reason: 'CrashLoopBackOff' } })], [initializing]), 'Init:CrashLoopBackOff')
  assert.equal(word([container(ended(0))], [initializing]), 'PodInitializing')
  assert.equal(word([], [container({ waiting: { reason: 'ErrImageNeverPull', message: 'm' } })]), 'ErrImageNeverPull')
  assert.equal(word([], [container(ended(1))]), 'Error')
  assert.equal(word([], [container(running, true)]), 'Running')
})
