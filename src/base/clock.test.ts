import assert from 'node:assert/strict'
import { test } from 'node:test'
import { enterMoment, leaveMoment, now } from './clock.ts'

function spin(): void {
  const start = performance.now()
  while (performance.now() - start < 0.2);
}

test('within a moment, nested ones too, the time stands still; outside it goes on', () => {
  const before = now()
  enterMoment()
  const first = now()
  assert.ok(first >= before)
  spin()
  enterMoment()
  assert.equal(now(), first)
  leaveMoment()
  assert.equal(now(), first)
  leaveMoment()
  assert.ok(now() > first)
  enterMoment()
  assert.ok(now() > first)
  leaveMoment()
})
