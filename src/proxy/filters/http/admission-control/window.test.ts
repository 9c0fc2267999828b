import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RequestWindow, rejectionProbability } from './window.ts'

test('requests count until they are as old as the window', () => {
  const window = new RequestWindow(3)
  window.record(true, 0)
  window.record(false, 999)
  window.record(true, 1000)
  assert.deepEqual([window.requests, window.successes, window.averageRps(1000)], [3, 2, 3])
  assert.equal(window.averageRps(2500), 1)
  window.update(3000)
  assert.deepEqual([window.requests, window.successes], [1, 1])
  window.update(4000)
  assert.deepEqual([window.requests, window.successes, window.averageRps(4000)], [0, 0, 0])
})

test('the fewer have succeeded the more are rejected', () => {
  assert.equal(rejectionProbability(0, 0, 0.95, 1, 0.8), 0)
  assert.equal(rejectionProbability(100, 95, 0.95, 1, 0.8), 0)
  assert.equal(rejectionProbability(100, 99, 0.95, 1, 0.8), 0)
  assert.equal(rejectionProbability(99, 0, 0.5, 1, 1), 0.99)
  assert.equal(rejectionProbability(99, 0, 0.5, 1, 0.8), 0.8)
  assert.equal(rejectionProbability(99, 37, 0.5, 1, 1), 0.25)
  assert.equal(rejectionProbability(99, 37, 0.5, 2, 1), 0.5)
})
