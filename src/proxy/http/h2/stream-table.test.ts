import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { StreamTable } from './stream-table.ts'

interface Stream {
  readonly id: number
}

function assertSame(table: StreamTable<Stream>, model: Map<number, Stream>, ids: readonly number[]): void {
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
      const table = new StreamTable<Stream>()
      const model = new Map<number, Stream>()
      for (const [add, id] of steps) {
        if (!add) assert.equal(table.delete(id), model.delete(id))
        else if (!model.has(id)) {
          const stream = { id }
          table.add(stream)
          model.set(id, stream)
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

test('grows for a thousand streams and starts small again', () => {
  const table = new StreamTable<Stream>()
  const model = new Map<number, Stream>()
  const ids = Array.from({ length: 1000 }, (_, i) => 2 * i + 1)
  for (let round = 0; round < 2; round++) {
    for (const id of ids) {
      const stream = { id }
      table.add(stream)
      model.set(id, stream)
    }
    assertSame(table, model, ids)
    for (const id of ids) assert.equal(table.delete(id), true)
    model.clear()
    assertSame(table, model, ids)
  }
})
