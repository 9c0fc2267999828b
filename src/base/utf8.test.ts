import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { test } from 'node:test'
import { characters, validUtf8 } from './utf8.ts'

const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

test('what is UTF-8 stays, each other byte is a mark', () => {
  assert.equal(validUtf8('plain'), 'plain')
  assert.equal(validUtf8(bytes('é€😀')), bytes('é€😀'))
  assert.equal(validUtf8(`a\xff${bytes('é')}\xc3`), `a!${bytes('é')}!`)
  // Longer than needed, a surrogate, beyond the last character, one that ends too early.
  assert.equal(validUtf8('\xc0\xaf \xe0\x80\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xf0\x9f\x98'), '!! !!! !!! !!!! !!!')
})

test('every pair and triple of bytes is judged as Node judges it', () => {
  for (let a = 0x80; a < 0x100; a++) {
    for (let b = 0; b < 0x100; b++) {
      for (const tail of ['', '\x80', '\xbf\xbf', 'a']) {
        const text = String.fromCharCode(a, b) + tail
        const whole = isUtf8(Buffer.from(text, 'latin1'))
        assert.equal(validUtf8(text) === text, whole, JSON.stringify(text))
        assert.ok(isUtf8(Buffer.from(validUtf8(text), 'latin1')), JSON.stringify(text))
      }
    }
  }
})

test('characters are those of UTF-8; text that is none stays as it is', () => {
  assert.equal(characters(bytes('é€😀')), 'é€😀')
  assert.equal(characters('caf\xe9'), 'café')
  assert.equal(characters('é€'), 'é€')
})
