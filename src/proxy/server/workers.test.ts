import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startWorkers } from './workers.ts'

test('a thread that ends is told once; whoever asks it afterwards hears so, and closing goes on', async () => {
  let crashes = 0
  let crashed = (): void => {}
  const crash = new Promise<void>((resolve) => (crashed = resolve))
  // Settings that no worker can start with.
  const broken = { concurrency: 2, stats: null } as unknown as Parameters<typeof startWorkers>[0]
  const workers = await startWorkers(broken, (error) => {
    assert.match(error.message, /^worker \d (failed|ended)/)
    if (++crashes === 2) crashed()
  })
  const early = workers.apply({ kind: 'reopen-logs' })
  await assert.rejects(early, /^Error: worker 0 failed/)
  await crash
  await assert.rejects(workers.apply({ kind: 'reopen-logs' }), /the worker has ended/)
  await assert.rejects(workers.query('stats'), /the worker has ended/)
  await assert.rejects(workers.close(), /the worker has ended/)
  assert.equal(crashes, 2)
})
