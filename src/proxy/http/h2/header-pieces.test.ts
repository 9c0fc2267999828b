import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HpackDecoder } from '../hpack/decoder.ts'
import { HeaderPieces } from './header-pieces.ts'

/** A literal field, not indexed: name `n`, value of `bytes`. */
function field(bytes: number): Buffer {
  const value = Buffer.alloc(bytes, 'v')
  const rest = bytes - 127
  const length = [0x7f, (rest & 0x7f) | 0x80, ((rest >> 7) & 0x7f) | 0x80, rest >> 14]
  return Buffer.concat([Buffer.from([0, 1, 0x6e, ...length]), value])
}

/** The fields of `block` in pieces of `size`, and how many bytes the decoder was shown for them. */
function decode(block: Buffer, size: number): { fields: number[]; shown: number } {
  const pieces = new HeaderPieces()
  const decoder = new HpackDecoder(4096)
  const fields: number[] = []
  let shown = 0
  pieces.begin(1, false)
  for (let at = 0; at < block.length; at += size) {
    const end = Math.min(at + size, block.length)
    const joined = pieces.join(block, at, end, end === block.length)
    if (joined === null) continue
    shown += joined.length
    const sink = { onHeader: (_name: string, value: string) => fields.push(value.length) }
    const read = decoder.decodePart(joined, 0, joined.length, sink, pieces.isFirst)
    assert.ok(read >= 0)
    pieces.keep(joined, read)
  }
  pieces.finish()
  return { fields, shown }
}

test('a block may be cut anywhere', () => {
  const block = Buffer.concat([field(200), field(5000), field(130), field(40_000)])
  for (const size of [1, 7, 1000, 16_384, block.length])
    assert.deepEqual(decode(block, size).fields, [200, 5000, 130, 40_000])
})

test('a long field in small pieces is not looked at for each of them', () => {
  const block = field(60_000)
  assert.ok(decode(block, 1).shown < 20 * block.length)
})
