import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { Debouncer } from './debounce.ts'

const SETTINGS = { quietMs: 20, maxMs: 100, burst: 1 }

test('flushes at once when quiet, together in a storm, and never later than the maximum', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] })
  let now = 1000
  const flushes: number[] = []
  const debouncer = new Debouncer(
    () => flushes.push(now),
    SETTINGS,
    () => now,
  )
  const advance = (ms: number) => {
    for (let i = 0; i < ms; i++) {
      now++
      mock.timers.tick(1)
    }
  }
  debouncer.trigger()
  debouncer.trigger()
  assert.deepEqual(flushes, [], 'what happens in the same turn is taken along')
  mock.timers.tick(0)
  assert.deepEqual(flushes, [1000])

  debouncer.trigger()
  advance(19)
  assert.equal(flushes.length, 1)
  advance(2)
  assert.equal(flushes.length, 2, 'after a silence')

  const stormStart = now
  while (flushes.length === 2) {
    debouncer.trigger()
    advance(5)
    assert.ok(now - stormStart <= 110, 'a storm cannot hold a push back')
  }
  advance(300)
  debouncer.trigger()
  mock.timers.tick(0)
  assert.equal(flushes.at(-1), now)
  debouncer.trigger()
  debouncer.stop()
  const count = flushes.length
  advance(300)
  assert.equal(flushes.length, count, 'stopped')
  mock.timers.reset()
})

test('a few changes in a row are each flushed at once; only a storm is gathered', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] })
  let now = 0
  let flushes = 0
  const debouncer = new Debouncer(
    () => flushes++,
    { ...SETTINGS, burst: 3 },
    () => now,
  )
  const change = (afterMs: number) => {
    now += afterMs
    mock.timers.tick(afterMs)
    debouncer.trigger()
    mock.timers.tick(0)
  }
  for (let i = 0; i < 3; i++) change(10)
  assert.equal(flushes, 3)
  change(10)
  assert.equal(flushes, 3)
  for (let i = 0; i < 5; i++) change(110)
  assert.equal(flushes, 9, 'the gathered one, and five at their own time')
  debouncer.stop()
  mock.timers.reset()
})
