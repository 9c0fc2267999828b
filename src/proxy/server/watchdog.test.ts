import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BootstrapSchema } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { parseJson } from '../config/json.ts'
import { StatsStore } from '../observe/stats-store.ts'
import { parseWatchdogs, Watchdog } from './watchdog.ts'

test('a stall of the event loop counts, by thread and in sum', async () => {
  const stats = new StatsStore()
  const dog = new Watchdog({ missMs: 40, megaMissMs: 100_000 }, stats, 'worker_0', 'workers')
  const miss = stats.scope('workers').counter('watchdog_miss')
  const until = performance.now() + 60
  while (performance.now() < until);
  while (miss.value === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  dog.close()
  assert.equal(stats.scope('server.worker_0').counter('watchdog_miss').value, miss.value)
  assert.equal(stats.scope('workers').counter('watchdog_mega_miss').value, 0)
})

test('watchdogs: timeouts of misses are read, what would end the process is refused', () => {
  const parse = (bootstrap: object) => parseWatchdogs(parseJson(BootstrapSchema, bootstrap, { path: '' }))
  assert.deepEqual(parse({ watchdogs: { worker_watchdog: { miss_timeout: '2s' } } }), {
    main: { missMs: 200, megaMissMs: 1000 },
    worker: { missMs: 2000, megaMissMs: 1000 },
  })
  assert.deepEqual(parse({ watchdog: { megamiss_timeout: '3s' } }).main, { missMs: 200, megaMissMs: 3000 })
  assert.throws(
    () => parse({ watchdogs: { main_thread_watchdog: { kill_timeout: '5s' } } }),
    /main_thread_watchdog.kill_timeout/,
  )
})
