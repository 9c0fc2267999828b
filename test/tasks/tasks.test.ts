// The tasks of Istio's documentation, gone through with real traffic over our proxy and over stock Envoy: each must take
// effect, each wrong client be turned away, and no proxy may refuse a resource. Bookinfo's own tasks (request routing,
// traffic shifting, faults) are in test/system/bookinfo.test.ts.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { envoyBinary } from '../interop/harness/proxies.ts'
import { skip } from '../system/mesh.ts'
import { egressTasks } from './egress.ts'
import { Tasks } from './fixture.ts'
import { ingressTasks } from './ingress.ts'
import { issuer, securityTasks } from './security.ts'
import { telemetryTasks } from './telemetry.ts'
import { trafficTasks } from './traffic.ts'

for (const proxy of ['outrigger', 'envoy'] as const) {
  const reason = skip || (proxy === 'envoy' && !envoyBinary() ? 'real Envoy is not installed' : false)
  describe(`Istio's tasks with ${proxy}`, { skip: reason }, () => {
    let tasks: Tasks
    const undo: (() => void)[] = []
    before(async () => {
      tasks = await Tasks.start({ after: (fn) => void undo.push(fn) }, proxy, issuer.keySet)
    })
    after(() => {
      for (const fn of undo.reverse()) fn()
    })
    const get = () => tasks

    describe('traffic management', () => trafficTasks(get))
    describe('ingress', () => ingressTasks(get))
    describe('egress', () => egressTasks(get))
    describe('security', () => securityTasks(get))
    if (proxy === 'outrigger') describe('telemetry', () => telemetryTasks(get))

    test('no proxy refused a resource', async () => {
      const metrics = await (await fetch(`${tasks.mesh.debug}/metrics`)).text()
      const rejects = metrics
        .split('\n')
        .filter((line) => /^pilot_(total_xds_rejects|xds_[a-z]+_reject)/.test(line) && !/ 0$/.test(line))
      assert.deepEqual(rejects, [])
    })
  })
}
