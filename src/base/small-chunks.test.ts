import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepChunk } from './small-chunks.ts'

test('bytes keep their order and few stay as they came', () => {
  const list: Buffer[] = []
  for (const text of ['a', 'bc', 'd']) keepChunk(list, Buffer.from(text))
  assert.deepEqual(list.map(String), ['a', 'bc', 'd'])
  let all = 'abcd'
  for (let i = 0; i < 3000; i++) {
    const text = i % 500 === 0 ? 'x'.repeat(2000) : String(i)
    keepChunk(list, Buffer.from(text))
    all += text
  }
  assert.equal(Buffer.concat(list).toString(), all)
})

test('many small ones are few blocks', () => {
  const list: Buffer[] = []
  const byte = Buffer.from('b')
  for (let i = 0; i < 100_000; i++) keepChunk(list, byte)
  assert.ok(list.length < 40)
  assert.equal(Buffer.concat(list).toString(), 'b'.repeat(100_000))
})

test('what was taken from the list does not change when more comes', () => {
  const list: Buffer[] = []
  for (let i = 0; i < 20; i++) keepChunk(list, Buffer.from('c'))
  const before = list.at(-1)!
  const copy = Buffer.from(before)
  keepChunk(list, Buffer.from('d'))
  assert.deepEqual(before, copy)
})
