import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Protocol } from '../codec.ts'
import { parseRequestLine, requestLine } from './request.ts'
import { OPTIONS } from './testing.ts'

/** As Envoy 1.40 took them, alone in a write; '' = refused at once. */
const LINES: readonly (readonly [string, string])[] = [
  ['GET / HTTP/1.1\r', 'GET / 1.1'],
  ['GET  / HTTP/1.1', 'GET / 1.1'],
  ['GET / HTTP/1.1 ', 'GET / 1.1'],
  ['GET /\t HTTP/1.1 \t\r', 'GET / 1.1'],
  ['GET\r/ HTTP/1.1', 'GET / 1.1'],
  ['GET\0/\0HTTP/1.1\b', 'GET / 1.1'],
  ['GET / HTTP/1.0', 'GET / 1.0'],
  ['GET / HTTP/2.0', 'GET / 1.0'],
  ['GET /', 'GET / 0.9'],
  ['GET\t/ ', 'GET / 0.9'],
  ['GET /\0p HTTP/1.1', ''],
  ['GET /a b HTTP/1.1', ''],
  ['GET / HTTP/1.1 x', ''],
  ['GET / HTTP/1.1\x7f', ''],
  ['GET /\x7f HTTP/1.1', ''],
  ['GET / HTTP/1.', ''],
  ['GET HTTP/1.1', ''],
  [' GET / HTTP/1.1', ''],
  ['GEX / HTTP/1.1', ''],
  ['GET', ''],
  ['', ''],
]

test('request lines', () => {
  for (const [line, wanted] of LINES) {
    const taken = parseRequestLine(line, OPTIONS)
    const { method, target, version, versionGiven } = requestLine
    const shown = !versionGiven ? '0.9' : version === Protocol.Http11 ? '1.1' : '1.0'
    assert.equal(taken ? `${method} ${target} ${shown}` : '', wanted, JSON.stringify(line))
  }
})
