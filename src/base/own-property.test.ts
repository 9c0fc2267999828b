import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ownObject, ownValue, setOwnValue } from './own-property.ts'

test('no key reaches a prototype', () => {
  const object: Record<string, Record<string, unknown>> = {}
  for (const key of ['__proto__', 'constructor', 'toString', 'plain']) {
    assert.equal(ownValue(object, key), undefined)
    setOwnValue(ownObject(object, key), '__proto__', 1)
    setOwnValue(ownObject(object, key), 'polluted', 2)
    assert.deepEqual(Object.entries(ownValue(object, key)!), [
      ['__proto__', 1],
      ['polluted', 2],
    ])
  }
  assert.deepEqual(Object.keys(object), ['__proto__', 'constructor', 'toString', 'plain'])
  assert.equal(Object.getPrototypeOf(object), Object.prototype)
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  assert.equal((Object as { polluted?: unknown }).polluted, undefined)
})
