import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HeaderMap } from '../header-map.ts'
import { REQUEST_JOINED } from '../joined-headers.ts'
import { type HeadLimits, HeadScanner, parseHeaderLines } from './head.ts'
import { readHeaderLines } from './header-lines.ts'

const LIMITS: HeadLimits = { maxBytes: 60 * 1024, maxHeaders: 5, underscores: 'ALLOW', keepSpellings: false }

const HEADS = [
  'GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  'GET / HTTP/1.1\nHost: bare\nx: y\n\n',
  'GET / HTTP/1.1\r\nhost: mixed\nx-long: 1\r\n\r\n',
  'GET / HTTP/1.1\r\nx-folded: one\r\n two\r\n\r\n',
  'GET / HTTP/1.1\r\nx-spaces:   around   \r\nx-empty:\r\n\r\n',
  'GET / HTTP/1.1\r\nx-cr: a\rb\r\r\n\r\n',
  'GET / HTTP/1.1\r\nno colon here\r\n\r\n',
  'GET / HTTP/1.1\r\nbad name: x\r\n\r\n',
  'GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: 6\r\n\r\n',
  'GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nwrong\r\n\r\n',
  `GET / HTTP/1.1\r\nx-long: ${'v'.repeat(400)}\r\nauthorization: Bearer abcdef\r\n\r\n`,
  `GET / HTTP/1.1\r\n${'x-many: 1\r\n'.repeat(200)}\r\n`,
]

test('recognised lines are what parsing makes of them, the first time, the second and later', () => {
  for (let time = 0; time < 4; time++) {
    for (const head of HEADS) {
      for (const limits of [LIMITS, { ...LIMITS, maxHeaders: 1000 }, { ...LIMITS, keepSpellings: true }]) {
        const expected = new HeaderMap()
        const text = head.slice(head.indexOf('\n') + 1)
        const wrong = parseHeaderLines(text, expected, limits, REQUEST_JOINED)
        const scanner = new HeadScanner()
        assert.ok(scanner.feed(Buffer.from(head, 'latin1'), 0), head)
        const headers = new HeaderMap()
        assert.equal(readHeaderLines(scanner, headers, limits, REQUEST_JOINED), wrong, head)
        if (wrong === null) {
          assert.deepEqual(headers.list, expected.list, head)
          assert.deepEqual(headers.spellings, expected.spellings, head)
        }
      }
    }
  }
})

test('a line that differs in one byte from one that is known is another line', () => {
  const read = (value: string): string | undefined => {
    const scanner = new HeadScanner()
    scanner.feed(Buffer.from(`GET / HTTP/1.1\r\nx-token: ${value}\r\n\r\n`, 'latin1'), 0)
    const headers = new HeaderMap()
    assert.equal(readHeaderLines(scanner, headers, LIMITS, REQUEST_JOINED), null)
    return headers.get('x-token')
  }
  const value = 'abcdefghijklmnopqrstuvwxyz'
  for (let i = 0; i < 3; i++) assert.equal(read(value), value)
  for (let at = 0; at < value.length; at++) {
    const changed = `${value.slice(0, at)}#${value.slice(at + 1)}`
    for (let i = 0; i < 3; i++) assert.equal(read(changed), changed)
  }
  assert.equal(read(value), value)
})
