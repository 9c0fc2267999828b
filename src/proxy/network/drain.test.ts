import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ChainDrain, ServerDrain } from './drain.ts'

test('a server that drains asks connections of all listeners to end, those of later listeners too', () => {
  const server = new ServerDrain(600_000, true)
  const chain = (inbound: boolean): ChainDrain => new ChainDrain(server, true, inbound)
  const [before, out] = [chain(true), chain(false)]
  assert.equal(before.drainClose(), false)
  server.start(true)
  assert.deepEqual(
    [before, out, chain(true), chain(false)].map((c) => c.drainClose()),
    [true, false, true, false],
  )
  server.start(false)
  assert.deepEqual(
    [before, out, chain(false)].map((c) => c.drainClose()),
    [true, true, true],
  )
})

test('gradually: the more of the drain time has passed, the likelier; after it for sure', (t) => {
  let time = 1000
  t.mock.method(performance, 'now', () => time)
  const chain = new ChainDrain(new ServerDrain(1000, false), true, true)
  chain.start()
  const share = (): number => Array.from({ length: 2000 }, () => chain.drainClose()).filter(Boolean).length / 2000
  assert.equal(share(), 0)
  time += 500
  assert.ok(Math.abs(share() - 0.5) < 0.1)
  time += 500
  assert.equal(share(), 1)
})

test('a failed health check ends connections where drain_type is DEFAULT', () => {
  const server = new ServerDrain(600_000, false)
  server.healthCheckFailed = true
  assert.equal(new ChainDrain(server, true, true).drainClose(), true)
  assert.equal(new ChainDrain(server, false, true).drainClose(), false)
})
