import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NumberedTable } from './numbered-table.ts'

interface Item {
  readonly id: number
}

function assertSame(table: NumberedTable<Item>, model: Map<number, Item>, ids: readonly number[]): void {
  assert.equal(table.size, model.size)
  for (const id of ids) {
    assert.equal(table.get(id), model.get(id))
    assert.equal(table.has(id), model.has(id))
  }
  assert.deepEqual(
    table.all(),
    [...model.values()].sort((a, b) => a.id - b.id),
  )
}

test('holds what a Map would, whatever numbers come and go', () => {
  const id = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }))
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), id), { maxLength: 200 }), (steps) => {
      const table = new NumberedTable<Item>()
      const model = new Map<number, Item>()
      for (const [add, id] of steps) {
        if (!add) assert.equal(table.delete(id), model.delete(id))
        else if (!model.has(id)) {
          const item = { id }
          table.add(item)
          model.set(id, item)
        }
      }
      assertSame(
        table,
        model,
        steps.map(([, id]) => id),
      )
    }),
  )
})

test('grows for a thousand items and starts small again', () => {
  const table = new NumberedTable<Item>()
  const model = new Map<number, Item>()
  const ids = Array.from({ length: 1000 }, (_, i) => 2 * i + 1)
  for (let round = 0; round < 2; round++) {
    for (const id of ids) {
      const item = { id }
      table.add(item)
      model.set(id, item)
    }
    assertSame(table, model, ids)
    for (const id of ids) assert.equal(table.delete(id), true)
    model.clear()
    assertSame(table, model, ids)
  }
})
