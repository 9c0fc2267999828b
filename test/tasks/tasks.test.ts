// The tasks of Istio's documentation, gone through with real traffic: traffic management, ingress, egress, security,
// telemetry. Each must take effect, each wrong client be turned away, and no proxy may refuse a resource.
// OUTRIGGER_TEST_PROXY=envoy goes through them with stock Envoy as the data plane.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { skip } from '../system/mesh.ts'
import { Tasks } from './fixture.ts'
import { trafficTasks } from './traffic.ts'

describe(`Istio's tasks with ${process.env.OUTRIGGER_TEST_PROXY ?? 'our proxy'}`, { skip }, () => {
  let tasks: Tasks
  const undo: (() => void)[] = []
  before(async () => {
    tasks = await Tasks.start({ after: (fn) => void undo.push(fn) }, '{}')
  })
  after(() => {
    for (const fn of undo.reverse()) fn()
  })
  const get = () => tasks

  describe('traffic management', () => trafficTasks(get))

  test('no proxy refused a resource', async () => {
    const metrics = await (await fetch(`${tasks.mesh.debug}/metrics`)).text()
    const rejects = metrics
      .split('\n')
      .filter((line) => /^pilot_(total_xds_rejects|xds_[a-z]+_reject)/.test(line) && !/ 0$/.test(line))
    assert.deepEqual(rejects, [])
  })
})
