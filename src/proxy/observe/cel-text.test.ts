import assert from 'node:assert/strict'
import { test } from 'node:test'
import { durationText, timestampText } from './cel-text.ts'

test('durations have the unit that fits', () => {
  assert.equal(durationText(0n), '0')
  assert.equal(durationText(30n), '30ns')
  assert.equal(durationText(707_441n), '707.441us')
  assert.equal(durationText(10_250_000n), '10.25ms')
  assert.equal(durationText(1_500_000_000n), '1.5s')
  assert.equal(durationText(3_723_000_000_000n), '1h2m3s')
  assert.equal(durationText(-60_000_000_000n), '-1m')
})

test('moments are in UTC, with an offset', () => {
  assert.equal(timestampText(1_767_225_600n, 0), '2026-01-01T00:00:00+00:00')
  assert.equal(timestampText(1_767_225_600n, 296_306_000), '2026-01-01T00:00:00.296306+00:00')
})
