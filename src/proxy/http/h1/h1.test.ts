// Bytes in, what the codec says out; every case whole, in pieces of several sizes, and byte by byte.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { RequestDecoder, ResponseDecoder, ResponseEncoder } from '../codec.ts'
import { Protocol } from '../codec.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import { HeaderMap } from '../header-map.ts'
import { MemoryConnection } from '../testing.ts'
import { Http1ClientConnection } from './client.ts'
import { Http1ServerConnection } from './server.ts'
import { LIMITS, OPTIONS } from './testing.ts'

const SPLITS = [Number.POSITIVE_INFINITY, 7, 3, 1]

function headerText(headers: HeaderMap): string {
  const fields: string[] = []
  for (let i = 0; i < headers.list.length; i += 2) fields.push(`${headers.list[i]}=${headers.list[i + 1]}`)
  return fields.join(' ')
}

/** Answers each complete request with 200; `close` refusals as a connection manager does. */
class Server {
  readonly events: string[] = []
  readonly connection = new MemoryConnection()
  readonly codec: Http1ServerConnection
  private body = ''

  constructor(options: Partial<Http1Options>, limits: Partial<typeof LIMITS>) {
    this.codec = new Http1ServerConnection(this.connection, this, { ...OPTIONS, ...options }, { ...LIMITS, ...limits })
  }

  newStream(encoder: ResponseEncoder): RequestDecoder {
    return {
      decodeHeaders: (headers, end) => {
        this.events.push(`${headers.method} ${headers.path} host=${headers.authority} ${headerText(headers)}`.trim())
        if (end) this.answer(encoder)
      },
      decodeData: (chunk, end) => {
        this.body += chunk.toString('latin1')
        if (end) this.answer(encoder)
      },
      decodeTrailers: (trailers) => {
        this.answer(encoder, ` trailers ${headerText(trailers)}`)
      },
      sendCodecError: (status, _body, details) => {
        this.events.push(`${status} ${details}`)
        this.reply(encoder, status, 'connection', 'close')
      },
    }
  }

  onGoAway(): void {}

  private answer(encoder: ResponseEncoder, suffix = ''): void {
    this.events.push(`end ${JSON.stringify(this.body)}${suffix}`)
    this.body = ''
    this.reply(encoder, 200)
    this.codec.resume()
  }

  private reply(encoder: ResponseEncoder, status: number, ...list: string[]): void {
    const headers = new HeaderMap()
    headers.status = status
    headers.list.push(...list)
    encoder.encodeHeaders(headers, true)
  }

  feed(bytes: Buffer, size: number): void {
    for (let at = 0; at < bytes.length; at += size) {
      const error = this.codec.dispatch(bytes.subarray(at, at + size))
      if (error) {
        this.events.push(`error ${error.details}`)
        return
      }
    }
  }
}

interface RequestCase {
  readonly name: string
  readonly bytes: string
  readonly events: readonly string[]
  readonly options?: Partial<Http1Options>
  readonly limits?: Partial<typeof LIMITS>
  /** Too long to come in pieces. */
  readonly whole?: boolean
}

const REQUESTS: readonly RequestCase[] = [
  {
    name: 'a plain request',
    bytes: 'GET /a?b HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n',
    events: ['GET /a?b host=h accept=*/*', 'end ""'],
  },
  {
    name: 'two pipelined requests, the first with a length',
    bytes: 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: h\r\n\r\n',
    events: ['POST / host=h content-length=5', 'end "hello"', 'GET /2 host=h', 'end ""'],
  },
  {
    name: 'chunks with an extension, trailers dropped',
    bytes: 'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n',
    events: ['PUT / host=h transfer-encoding=chunked', 'end "hello"'],
  },
  {
    name: 'trailers when enabled',
    options: { enableTrailers: true },
    bytes: 'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\r\n\r\n',
    events: ['PUT / host=h transfer-encoding=chunked', 'end "" trailers t=1'],
  },
  {
    name: 'bare line feeds and a leading empty line',
    bytes: '\r\nGET / HTTP/1.1\nHost: h\n\n',
    events: ['GET / host=h', 'end ""'],
  },
  {
    name: 'a folded line keeps its blanks',
    bytes: 'GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n   b\r\n\r\n',
    events: ['GET / host=h x=a   b', 'end ""'],
  },
  {
    // Joined anew for each of its lines this takes many seconds.
    name: 'very many folded lines are one value',
    bytes: `GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n${' b\r\n'.repeat(14_000)}Y: c\r\n\r\n`,
    events: [`GET / host=h x=a${' b'.repeat(14_000)} y=c`, 'end ""'],
    whole: true,
  },
  {
    name: 'very many trailers',
    bytes: `PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${'T:\n'.repeat(20_000)}\r\n`,
    events: ['PUT / host=h transfer-encoding=chunked', '400 http1.too_many_headers'],
    whole: true,
  },
  {
    name: 'trailers whose lines end in different ways',
    options: { enableTrailers: true },
    bytes:
      'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\nU: 2\r\n\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n',
    events: ['PUT / host=h transfer-encoding=chunked', 'end "" trailers t=1 u=2', 'GET /2 host=h', 'end ""'],
  },
  {
    name: 'an absolute target replaces Host',
    bytes: 'GET http://other:81/p HTTP/1.1\r\nHost: h\r\n\r\n',
    events: ['GET /p host=other:81', 'end ""'],
  },
  {
    name: 'length and chunked together',
    bytes: 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    events: ['400 http1.content_length_and_chunked_not_allowed'],
  },
  {
    name: 'two lengths',
    bytes: 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    events: ['400 http1.codec_error'],
  },
  {
    name: 'a transfer coding we do not know',
    bytes: 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    events: ['501 http1.invalid_transfer_encoding'],
  },
  { name: 'a space before the colon', bytes: 'GET / HTTP/1.1\r\nHost : h\r\n\r\n', events: ['400 http1.codec_error'] },
  {
    name: 'a control byte in a value',
    bytes: 'GET / HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n',
    events: ['400 http1.invalid_characters'],
  },
  {
    name: 'a bad chunk size after the head was taken',
    bytes: 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\n',
    events: ['POST / host=h transfer-encoding=chunked', '400 http1.codec_error'],
  },
  {
    name: 'a head larger than the limit',
    limits: { maxBytes: 64 as never },
    bytes: `GET / HTTP/1.1\r\nHost: h\r\nX: ${'y'.repeat(100)}\r\n\r\n`,
    events: ['431 http1.headers_too_large'],
  },
  {
    name: 'more headers than the limit',
    limits: { maxHeaders: 2 as never },
    bytes: 'GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n',
    events: ['431 http1.too_many_headers'],
  },
  {
    name: 'nothing is read behind a refusal',
    bytes: 'get / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n',
    events: ['400 http1.codec_error'],
  },
]

describe('requests', () => {
  for (const { name, bytes, events, options = {}, limits = {}, whole = false } of REQUESTS) {
    test(name, () => {
      for (const size of whole ? SPLITS.slice(0, 1) : SPLITS) {
        const server = new Server(options, limits)
        server.feed(Buffer.from(bytes, 'latin1'), Math.min(size, bytes.length))
        assert.deepEqual(server.events, events, `in pieces of ${size}`)
      }
    })
  }
})

describe('responses written', () => {
  const write = (
    use: (encoder: ResponseEncoder) => void,
    request = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n',
    options: Partial<Http1Options> = {},
  ): string => {
    const connection = new MemoryConnection()
    const newStream = (encoder: ResponseEncoder): RequestDecoder => ({
      decodeHeaders: () => use(encoder),
      decodeData() {},
      decodeTrailers() {},
      sendCodecError() {},
    })
    new Http1ServerConnection(connection, { newStream, onGoAway() {} }, { ...OPTIONS, ...options }, LIMITS).dispatch(
      Buffer.from(request),
    )
    return connection.output.toString('latin1')
  }
  const response = (status: number, ...list: string[]): HeaderMap => {
    const headers = new HeaderMap()
    headers.status = status
    headers.list.push(...list)
    return headers
  }

  test('a body without a length goes out in chunks', () => {
    const text = write((e) => {
      e.encodeHeaders(response(200), false)
      e.encodeData(Buffer.from('hello'), false)
      e.encodeData(Buffer.alloc(0), true)
    })
    assert.equal(text, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n')
  })

  test('trailers follow the last chunk when enabled', () => {
    const trailers = new HeaderMap()
    trailers.list.push('t', '1')
    const use = (e: ResponseEncoder): void => {
      e.encodeHeaders(response(200), false)
      e.encodeTrailers(trailers)
    }
    assert.ok(write(use, undefined, { enableTrailers: true }).endsWith('\r\n\r\n0\r\nt: 1\r\n\r\n'))
    assert.ok(write(use).endsWith('\r\n\r\n0\r\n\r\n'))
  })

  test('no body and no length where none may be', () => {
    assert.equal(
      write((e) => e.encodeHeaders(response(204), true)),
      'HTTP/1.1 204 No Content\r\n\r\n',
    )
    assert.equal(
      write((e) => e.encodeHeaders(response(200, 'content-length', '7'), true), 'HEAD / HTTP/1.1\r\nHost: h\r\n\r\n'),
      'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n',
    )
    assert.equal(
      write((e) => e.encodeHeaders(response(200), true)),
      'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
    )
  })

  test('names in proper case', () => {
    const text = write(
      (e) => e.encodeHeaders(response(200, 'x-my-name', '1', 'content-length', '0'), true),
      undefined,
      { headerKeyFormat: 'proper_case_words' },
    )
    assert.equal(text, 'HTTP/1.1 200 OK\r\nX-My-Name: 1\r\nContent-Length: 0\r\n\r\n')
  })
})

class Client implements ResponseDecoder {
  readonly events: string[] = []
  private body = ''
  decode1xxHeaders(headers: HeaderMap): void {
    this.events.push(`interim ${headers.status}`)
  }
  decodeHeaders(headers: HeaderMap, end: boolean): void {
    this.events.push(`${headers.status} ${headerText(headers)}`.trim())
    if (end) this.events.push('end')
  }
  decodeData(chunk: Buffer, end: boolean): void {
    this.body += chunk.toString('latin1')
    if (end) this.events.push(`end ${JSON.stringify(this.body)}`)
  }
  decodeTrailers(trailers: HeaderMap): void {
    this.events.push(`end ${JSON.stringify(this.body)} trailers ${headerText(trailers)}`)
  }
}

interface ResponseCase {
  readonly name: string
  readonly method?: string
  readonly bytes: string
  /** The server closes after the bytes. */
  readonly closes?: boolean
  readonly events: readonly string[]
}

const RESPONSES: readonly ResponseCase[] = [
  {
    name: 'a length',
    bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    events: ['200 content-length=2', 'end "ok"', 'free true'],
  },
  {
    name: 'chunks',
    bytes: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    events: ['200 transfer-encoding=chunked', 'end "ok"', 'free true'],
  },
  {
    name: 'interim responses first',
    bytes: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    events: ['interim 100', 'interim 103', '204', 'end', 'free true'],
  },
  {
    name: 'HEAD has no body',
    method: 'HEAD',
    bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n',
    events: ['200 content-length=9', 'end', 'free true'],
  },
  {
    name: 'connection: close',
    bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
    events: ['200 content-length=0 connection=close', 'end', 'free false'],
  },
  {
    name: 'a body until close',
    closes: true,
    bytes: 'HTTP/1.1 200 OK\r\n\r\nall',
    events: ['200', 'end "all"', 'free false'],
  },
  {
    name: 'a body cut short',
    closes: true,
    bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc',
    events: ['200 content-length=9', 'error http1.codec_error'],
  },
  {
    name: 'length and chunked together',
    bytes: 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
    events: ['error http1.codec_error'],
  },
  { name: 'no HTTP at all', bytes: 'SSH-2.0-x\r\n\r\n', events: ['error http1.codec_error'] },
]

describe('responses read', () => {
  for (const { name, method = 'GET', bytes, closes, events } of RESPONSES) {
    test(name, () => {
      for (const size of SPLITS) {
        const client = new Client()
        const callbacks = {
          onGoAway() {},
          onStreamComplete: (free: boolean) => client.events.push(`free ${free}`),
          onMaxStreamsChanged() {},
        }
        const codec = new Http1ClientConnection(new MemoryConnection(), callbacks, OPTIONS, LIMITS)
        const headers = new HeaderMap()
        headers.method = method
        headers.path = '/'
        headers.authority = 'h'
        codec.newStream(client).encodeHeaders(headers, true)
        const input = Buffer.from(bytes, 'latin1')
        let error = null
        for (let at = 0; at < input.length && !error; at += size) error = codec.dispatch(input.subarray(at, at + size))
        if (!error && closes) error = codec.onEndOfInput()
        if (error) client.events.push(`error ${error.details}`)
        assert.deepEqual(client.events, events, `in pieces of ${size}`)
      }
    })
  }
})

test('the rest of a request is read behind an answer that ends the connection, and nothing else', () => {
  let body = ''
  let requests = 0
  let answer: ResponseEncoder | undefined
  const decoder: RequestDecoder = {
    decodeHeaders() {
      requests++
    },
    decodeData: (chunk) => void (body += chunk.toString('latin1')),
    decodeTrailers() {},
    sendCodecError() {},
  }
  const newStream = (encoder: ResponseEncoder): RequestDecoder => {
    answer = encoder
    return decoder
  }
  const codec = new Http1ServerConnection(new MemoryConnection(), { newStream, onGoAway() {} }, OPTIONS, LIMITS)
  codec.dispatch(Buffer.from('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello'))
  const headers = new HeaderMap()
  headers.status = 200
  headers.list.push('connection', 'close')
  answer!.encodeHeaders(headers, false)
  codec.dispatch(Buffer.from('worldGET / HTTP/1.1\r\nhost: a\r\n\r\n'))
  answer!.encodeData(Buffer.from('ok'), true)
  assert.equal(codec.resume(), null)
  assert.deepEqual([body, requests], ['helloworld', 1])
})

test('bytes of an upgrade that was refused do not go out, and their connection serves nobody else', () => {
  for (const body of ['', 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n']) {
    const connection = new MemoryConnection()
    let reusable: boolean | null = null
    const callbacks = {
      onGoAway() {},
      onMaxStreamsChanged() {},
      onStreamComplete: (free: boolean) => (reusable = free),
    }
    const codec = new Http1ClientConnection(connection, callbacks, OPTIONS, LIMITS)
    const headers = new HeaderMap()
    headers.method = 'GET'
    headers.path = '/'
    headers.authority = 'h'
    headers.list.push('connection', 'upgrade', 'upgrade', 'websocket')
    const encoder = codec.newStream(new Client())
    encoder.encodeHeaders(headers, false)
    assert.equal(codec.dispatch(Buffer.from('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')), null)
    encoder.encodeData(Buffer.from(body), true)
    assert.equal(reusable, body === '')
    assert.equal(connection.output.includes('smuggled'), false)
  }
})

describe('requests written', () => {
  const write = (fill: (headers: HeaderMap) => void, body: string | null = null): string => {
    const connection = new MemoryConnection()
    const callbacks = { onGoAway() {}, onStreamComplete() {}, onMaxStreamsChanged() {} }
    const headers = new HeaderMap()
    headers.method = 'GET'
    headers.path = '/p'
    headers.authority = 'h'
    fill(headers)
    const encoder = new Http1ClientConnection(connection, callbacks, OPTIONS, LIMITS).newStream(new Client())
    assert.equal(encoder.stream.protocol, Protocol.Http11)
    encoder.encodeHeaders(headers, body === null)
    if (body !== null) encoder.encodeData(Buffer.from(body), true)
    return connection.output.toString('latin1')
  }

  test('host comes first', () => {
    assert.equal(
      write((h) => h.list.push('accept', '*/*')),
      'GET /p HTTP/1.1\r\nhost: h\r\naccept: */*\r\n\r\n',
    )
  })

  test('a request that may have a body says that it has none', () => {
    assert.ok(write((h) => (h.method = 'POST')).includes('\r\ncontent-length: 0\r\n'))
    assert.ok(!write((h) => (h.method = 'DELETE')).includes('content-length'))
  })

  test('a body without a length goes out in chunks', () => {
    assert.ok(
      write((h) => (h.method = 'POST'), 'hi').endsWith('transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'),
    )
  })
})
