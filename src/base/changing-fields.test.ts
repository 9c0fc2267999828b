import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changeEveryField } from './changing-fields.ts'

/** What the fields of an object are set to, in order. */
function recorded(values: Record<string, unknown>): { object: object; writes: [string, unknown][] } {
  const writes: [string, unknown][] = []
  const object = new Proxy(
    { ...values },
    {
      set(target, key, value) {
        writes.push([String(key), value])
        return Reflect.set(target, key, value)
      },
    },
  )
  return { object, writes }
}

test('flags, numbers, texts and null change and are what they were again', () => {
  const values = { flag: false, count: 0, code: 503, text: '', name: 'up', timer: null, owner: { name: 'of mine' } }
  const { object, writes } = recorded(values)
  changeEveryField(object)
  assert.deepEqual({ ...object }, values)
  const changed = new Map<string, unknown[]>()
  for (const [key, value] of writes) changed.set(key, [...(changed.get(key) ?? []), value])
  assert.deepEqual([...changed.keys()], ['flag', 'count', 'code', 'text', 'name', 'timer'], 'objects stay')
  for (const [key, [other, back]] of changed) {
    const was = values[key as keyof typeof values]
    assert.notEqual(other, was, key)
    assert.equal(back, was, key)
    if (was !== null) assert.equal(typeof other, typeof was, key)
  }
})
