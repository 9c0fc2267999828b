// What stands behind an unanswered request: read on so that the end of the connection is seen, within a bound.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RequestDecoder, ResponseEncoder } from '../codec.ts'
import { HeaderMap } from '../header-map.ts'
import { MemoryConnection } from '../testing.ts'
import { Http1ServerConnection } from './server.ts'
import { LIMITS, OPTIONS } from './testing.ts'

const BOUND = 64 * 1024

/** Notes paths and bytes of bodies; answers when told. */
class Server {
  readonly connection = new MemoryConnection()
  readonly codec = new Http1ServerConnection(this.connection, this, OPTIONS, LIMITS)
  readonly paths: string[] = []
  bodyBytes = 0
  private readonly encoders: ResponseEncoder[] = []

  newStream(encoder: ResponseEncoder): RequestDecoder {
    this.encoders.push(encoder)
    return {
      decodeHeaders: (headers) => {
        this.paths.push(headers.path)
      },
      decodeData: (chunk) => {
        this.bodyBytes += chunk.length
      },
      decodeTrailers() {},
      sendCodecError: (_status, _body, details) => assert.fail(details),
    }
  }

  onGoAway(): void {}

  answer(): void {
    const headers = new HeaderMap()
    headers.status = 200
    this.encoders.shift()!.encodeHeaders(headers, true)
    this.codec.resume()
  }
}

const request = (path: string): Buffer => Buffer.from(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`)

test('reading goes on behind a request, and the next ones wait in order', () => {
  const server = new Server()
  server.codec.dispatch(Buffer.concat([request('/1'), request('/2').subarray(0, 9)]))
  for (const byte of request('/2').subarray(9)) server.codec.dispatch(Buffer.from([byte]))
  server.codec.dispatch(request('/3'))
  assert.equal(server.connection.paused, 0)
  assert.deepEqual(server.paths, ['/1'])
  server.answer()
  assert.deepEqual(server.paths, ['/1', '/2'])
  server.answer()
  server.answer()
  assert.deepEqual(server.paths, ['/1', '/2', '/3'])
})

test('from 64 KiB on reading stops until the answer', () => {
  const server = new Server()
  const head = Buffer.from(`POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: ${2 * BOUND}\r\n\r\n`)
  server.codec.dispatch(Buffer.concat([request('/1'), head]))
  server.codec.dispatch(Buffer.alloc(BOUND - head.length - 1))
  assert.equal(server.connection.paused, 0)
  server.codec.dispatch(Buffer.alloc(1))
  assert.equal(server.connection.paused, 1)
  // TLS may hand on what it had read before.
  server.codec.dispatch(Buffer.alloc(100))
  assert.equal(server.connection.paused, 1)
  server.answer()
  assert.equal(server.connection.paused, 0)
  assert.deepEqual(server.paths, ['/1', '/2'])
  assert.equal(server.bodyBytes, BOUND - head.length + 100)
  server.codec.dispatch(Buffer.concat([Buffer.alloc(2 * BOUND - server.bodyBytes), request('/3')]))
  assert.equal(server.bodyBytes, 2 * BOUND)
  server.answer()
  assert.deepEqual(server.paths, ['/1', '/2', '/3'])
})
