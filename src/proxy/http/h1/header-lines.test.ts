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

test('heads of one connection that share lines in any order end where they end', () => {
  const pool = Array.from({ length: 700 }, (_, i) => `x-header-${i}: ${'v'.repeat(i % 90)}${i * 7919}`)
  const limits = { ...LIMITS, maxHeaders: 1000 }
  const scanners = [new HeadScanner(), new HeadScanner()]
  let state = 1
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  for (let n = 0; n < 3000; n++) {
    const from = below(pool.length)
    const lines = pool.slice(from, from + below(12)).filter(() => below(5) > 0)
    const head = `GET / HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
    const scanner = scanners[below(2)]!
    assert.ok(scanner.feed(Buffer.from(`${head}GET /next HTTP/1.1\r\n`, 'latin1'), 0), head)
    assert.equal(scanner.end, head.length)
    const headers = new HeaderMap()
    assert.equal(readHeaderLines(scanner, headers, limits, REQUEST_JOINED), null)
    assert.deepEqual(
      headers.list,
      lines.flatMap((line) => line.split(': ')),
    )
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

test('a head that comes byte by byte is moved a few times, not once a byte', () => {
  const head = Buffer.from(`GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(50_000)}\r\n\r\n`)
  const scanner = new HeadScanner()
  const homes = new Set<ArrayBufferLike>()
  for (let at = 0; at < head.length; at++) {
    assert.equal(scanner.feed(head.subarray(at, at + 1), 0), at === head.length - 1)
    homes.add(scanner.buffer.buffer)
  }
  assert.deepEqual(scanner.buffer.subarray(scanner.start, scanner.end), head)
  assert.ok(homes.size < 20, `${homes.size} buffers`)
})
