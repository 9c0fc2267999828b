import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { ByteCache } from './byte-cache.ts'

/** Looks `text` up, and keeps it when the cache wants it; whether it was there. */
function meet(cache: ByteCache<string>, text: string): boolean {
  const bytes = Buffer.from(text, 'latin1')
  const found = cache.find(bytes, 0, bytes.length)
  if (found === null && cache.wants(0, bytes.length)) cache.keep(bytes, 0, bytes.length, text)
  if (found !== null) assert.equal(found, text)
  return found !== null
}

describe('the cache of byte sequences', () => {
  it('keeps what comes twice', () => {
    const cache = new ByteCache<string>()
    assert.deepEqual(
      [1, 2, 3].map(() => meet(cache, 'content-type: text/plain')),
      [false, false, true],
    )
  })

  it('knows two sequences of one place that come in turn', () => {
    const cache = new ByteCache<string>()
    // Both have the same place in the table.
    const lines = ['Server: nginx/1.22.1', 'Content-Type: text/plain']
    for (let i = 0; i < 4; i++) for (const line of lines) meet(cache, line)
    assert.ok(lines.every((line) => meet(cache, line)))
  })

  it('forgets nothing while there is room', () => {
    for (let i = 0; i < 2000; i++) {
      const cache = new ByteCache<string>()
      const [one, other] = ['content-length: 178', `x-line-${i}: ${i}`]
      for (let n = 0; n < 2; n++) meet(cache, one)
      for (let n = 0; n < 2; n++) meet(cache, other)
      assert.ok(meet(cache, one) && meet(cache, other), other)
    }
  })

  it('is not disturbed by sequences that never come again', () => {
    const cache = new ByteCache<string>()
    for (let i = 0; i < 2; i++) meet(cache, 'accept-ranges: bytes')
    for (let i = 0; i < 1000; i++)
      meet(cache, `x-request-id: ${createHash('sha256').update(String(i)).digest('hex').slice(0, 32)}`)
    assert.ok(meet(cache, 'accept-ranges: bytes'))
  })

  it('tells sequences apart that differ in bytes it does not hash', () => {
    const cache = new ByteCache<string>()
    const lines = ['x-a: 0123456789abcdefghij', 'x-a: 0123456X89abcdefghij', 'x-a: 01234567Y9abcdefghij']
    for (let i = 0; i < 5; i++) for (const line of lines) meet(cache, line)
  })
})
