import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { StatsStore } from '../observe/stats-store.ts'
import { Faults } from './faults.ts'

test('every fault is counted, each place logged at powers of two', () => {
  const counter = new StatsStore().scope('server').counter('envoy_bug_failures')
  const told: number[] = []
  const faults = new Faults(counter, { error: (fields) => told.push((fields as { times: number }).times) })
  const here = (): Error => new Error('one place')
  for (let i = 0; i < 9; i++) faults.report(here(), 'a test')
  faults.report(new Error('another place'), 'a test')
  faults.report('no error', 'a test')
  assert.equal(counter.value, 11)
  assert.deepEqual(told, [1, 2, 4, 8, 1, 1])
})

/** Of a worker thread: three callbacks, two of them at fault. */
const SCRIPT = `
import { Faults } from '${new URL('./faults.ts', import.meta.url).href}'
new Faults({ inc() {} }, { error: ({ err }) => console.log(err.message) }).outlive()
setTimeout(() => { throw new Error('in a timer') })
setTimeout(() => Promise.reject(new Error('in a promise')), 5)
setTimeout(() => console.log('still here'), 50)
`

test('a worker thread outlives exceptions in timers and promises', async () => {
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(SCRIPT)}`), { stdout: true })
  let output = ''
  worker.stdout.on('data', (chunk) => (output += chunk))
  const [code] = await once(worker, 'exit')
  assert.deepEqual([code, output], [0, 'in a timer\nin a promise\nstill here\n'])
})
