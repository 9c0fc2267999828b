import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseEncoding } from './choose-encoding.ts'

const offers = (...encodings: string[]) => encodings.map((encoding) => ({ encoding, chooseFirst: false }))

test('the greatest weight decides, then the order of the client', () => {
  assert.deepEqual(chooseEncoding('br;q=0.5, gzip', offers('br', 'gzip')), { encoding: 'gzip', reason: 'compressor' })
  assert.deepEqual(chooseEncoding('br, gzip', offers('gzip', 'br')), { encoding: 'br', reason: 'compressor' })
})

test('among equals a compressor may be preferred', () => {
  const some = [...offers('br'), { encoding: 'zstd', chooseFirst: true }]
  assert.equal(chooseEncoding('br, zstd', some).encoding, 'zstd')
})

test('a star means the first compressor that is not refused', () => {
  assert.deepEqual(chooseEncoding('*', offers('gzip', 'br')), { encoding: 'gzip', reason: 'wildcard' })
  assert.deepEqual(chooseEncoding('gzip;q=0, *', offers('gzip', 'br')), { encoding: 'br', reason: 'wildcard' })
})

test('nothing in common leaves the body as it is', () => {
  assert.equal(chooseEncoding('deflate', offers('gzip')).reason, 'not_valid')
  assert.equal(chooseEncoding('gzip;q=0', offers('gzip')).reason, 'not_valid')
  assert.equal(chooseEncoding('', offers('gzip')).reason, 'not_valid')
  assert.equal(chooseEncoding('identity, gzip;q=0.9', offers('gzip')).reason, 'identity')
})
