import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseDuration } from './duration.ts'

test("Go's duration notation in milliseconds", () => {
  const cases: readonly [string, number | undefined][] = [
    ['5s', 5000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['250ms', 250],
    ['.5s', 500],
    ['10us', 0.01],
    ['0', 0],
    ['-2s', -2000],
    ['5', undefined],
    ['s', undefined],
    ['', undefined],
    ['5 s', undefined],
    ['5sx', undefined],
    ['-', undefined],
    ['2562047h', 9_223_369_200_000],
    ['2562048h', undefined],
  ]
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text)
})
