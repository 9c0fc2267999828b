import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MessageSniffer } from './sniffer.ts'

function message(operation: number, body: number): Buffer {
  const bytes = Buffer.alloc(16 + body, 0x7f)
  bytes.writeInt32LE(16 + body, 0)
  bytes.writeInt32LE(operation, 12)
  return bytes
}

test('messages are counted however they are cut', () => {
  const bytes = Buffer.concat([message(2004, 10), message(2007, 0), message(2005, 100)])
  for (let size = 1; size <= bytes.length; size++) {
    const seen: number[] = []
    const sniffer = new MessageSniffer((operation) => seen.push(operation) > 0)
    for (let at = 0; at < bytes.length; at += size) assert.ok(sniffer.take(bytes.subarray(at, at + size)))
    assert.deepEqual(seen, [2004, 2007, 2005], `in chunks of ${size}`)
  }
})

test('what is no message is told', () => {
  assert.equal(new MessageSniffer(() => true).take(Buffer.alloc(16)), false, 'a length below the header')
  assert.equal(new MessageSniffer(() => false).take(message(1, 0)), false, 'an unknown operation')
})
