import assert from 'node:assert/strict'
import { test } from 'node:test'
import { InFlight } from './in-flight.ts'

test('lets in as many as the limit, and one more for each that leaves or stays silent', () => {
  let now = 0
  const flight = new InFlight<object>(2, 100, () => now)
  const [a, b, c, d] = [{}, {}, {}, {}]
  assert.ok(flight.enter(a))
  assert.ok(flight.enter(b))
  assert.ok(flight.enter(a), 'who is in stays in')
  assert.equal(flight.enter(c), false)
  assert.equal(flight.leave(c), false)
  assert.equal(flight.leave(a), true, 'somebody may be waiting')
  assert.ok(flight.enter(c))
  assert.equal(flight.enter(d), false)
  now = 100
  assert.ok(flight.enter(d), 'the silent ones do not count')
})
