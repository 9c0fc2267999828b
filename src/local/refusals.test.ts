import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refusalProblems } from './refusals.ts'

test('proxies that say the same are one line', () => {
  const reason = 'listener "0.0.0.0_80":\n  no such filter'
  const problems = refusalProblems([
    { proxy: 'a.default', type: 'lds', reason },
    { proxy: 'b.default', type: 'lds', reason },
    { proxy: 'a.default', type: 'cds', reason: 'other' },
  ])
  assert.deepEqual(
    problems.map(({ message }) => message),
    [
      'applied, but refused by a.default and 1 other, which keep their last good listeners: listener "0.0.0.0_80": no such filter',
      'applied, but refused by a.default, which keeps its last good clusters: other',
    ],
  )
})
