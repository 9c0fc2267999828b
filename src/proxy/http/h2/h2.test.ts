// Both sides against node:http2 (nghttp2), over real sockets.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { acceptSocket } from '../../network/accept.ts'
import { ipAddress } from '../../network/address.ts'
import { openConnection } from '../../network/connect.ts'
import { CloseType, type Connection } from '../../network/connection.ts'
import { SocketConnectionInfo } from '../../network/connection-info.ts'
import { StatsStore } from '../../observe/stats-store.ts'
import type {
  CodecConnection,
  RequestDecoder,
  ResponseDecoder,
  ResponseEncoder,
  ServerCodecCallbacks,
} from '../codec.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import { HeaderMap } from '../header-map.ts'
import { parseHttp2Options } from '../parse-options.ts'
import { Http2ClientConnection } from './client.ts'
import { Http2ServerConnection } from './server.ts'
import { Http2Stats } from './stats.ts'
import { frame } from './testing.ts'

const OPTIONS: Http2Options = {
  ...parseHttp2Options(undefined),
  maxConcurrentStreams: 100,
  initialStreamWindowSize: 256 * 1024,
  initialConnectionWindowSize: 1024 * 1024,
  allowConnect: true,
}
const LIMITS = { maxBytes: 60 * 1024, maxHeaders: 100, underscores: 'ALLOW', allowConnect: true } as const

/** Owner of a server connection as the connection manager is one: faults close it. */
function attach(connection: Connection, codec: CodecConnection, log: string[]): void {
  connection.callbacks = {
    onData(chunk, endStream) {
      const error = codec.dispatch(chunk)
      if (error) {
        log.push(error.stream?.details ?? error.details)
        connection.close(CloseType.FlushWriteAndDelay, error.details)
      } else if (endStream) connection.close(CloseType.FlushWrite)
    },
    onEvent() {},
    onAboveWriteBufferHighWatermark: () => codec.onUnderlyingConnectionAboveWriteBufferHighWatermark(),
    onBelowWriteBufferLowWatermark: () => codec.onUnderlyingConnectionBelowWriteBufferLowWatermark(),
  }
}

interface TestServer {
  readonly port: number
  readonly log: string[]
  readonly stats: StatsStore
  readonly codecs: Http2ServerConnection[]
}

async function serve(
  t: TestContext,
  handler: (encoder: ResponseEncoder) => RequestDecoder,
  options: Partial<Http2Options> = {},
): Promise<TestServer> {
  const log: string[] = []
  const stats = new StatsStore()
  const codecs: Http2ServerConnection[] = []
  const open = new Set<Connection>()
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    const { port } = socket.address() as AddressInfo
    const address = ipAddress('127.0.0.1', port)
    const connection = acceptSocket(socket, new SocketConnectionInfo(address, address), null)
    open.add(connection)
    const callbacks: ServerCodecCallbacks = { newStream: handler, onGoAway: () => log.push('goaway') }
    const codec = new Http2ServerConnection(
      connection,
      callbacks,
      { ...OPTIONS, ...options },
      LIMITS,
      new Http2Stats(stats),
    )
    codecs.push(codec)
    attach(connection, codec, log)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const connection of open) connection.close(CloseType.NoFlush)
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, log, stats, codecs }
}

function response(status: number, ...list: string[]): HeaderMap {
  const headers = new HeaderMap()
  headers.status = status
  headers.list.push(...list)
  return headers
}

/** Answers with the body it got, and trailers when it got some. */
class Echo implements RequestDecoder {
  private readonly encoder: ResponseEncoder
  private readonly chunks: Buffer[] = []
  headers: HeaderMap | null = null
  constructor(encoder: ResponseEncoder) {
    this.encoder = encoder
    encoder.stream.callbacks = {
      onResetStream() {},
      onAboveWriteBufferHighWatermark() {},
      onBelowWriteBufferLowWatermark() {},
    }
  }
  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.headers = headers
    if (endStream) this.answer(null)
  }
  decodeData(chunk: Buffer, endStream: boolean): void {
    this.chunks.push(Buffer.from(chunk))
    if (endStream) this.answer(null)
  }
  decodeTrailers(trailers: HeaderMap): void {
    this.answer(trailers)
  }
  sendCodecError(): void {}
  private answer(trailers: HeaderMap | null): void {
    const body = Buffer.concat(this.chunks)
    const { method, path, authority, list } = this.headers!
    this.encoder.encodeHeaders(
      response(200, 'x-method', method, 'x-path', path, 'x-authority', authority, 'x-list', list.join(',')),
      body.length === 0 && !trailers,
    )
    if (body.length > 0) this.encoder.encodeData(body, !trailers)
    if (trailers) this.encoder.encodeTrailers(trailers)
  }
}

interface Answer {
  headers: http2.IncomingHttpHeaders
  body: Buffer
  trailers: http2.IncomingHttpHeaders
}

function session(t: TestContext, port: number, options: http2.ClientSessionOptions = {}): http2.ClientHttp2Session {
  const client = http2.connect(`http://127.0.0.1:${port}`, options)
  t.after(() => client.destroy())
  client.on('error', () => {})
  return client
}

async function request(
  client: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Buffer,
  trailers?: http2.OutgoingHttpHeaders,
): Promise<Answer> {
  const stream = client.request(headers, { endStream: !body && !trailers, waitForTrailers: Boolean(trailers) })
  if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  const answer: Answer = { headers: {}, body: Buffer.alloc(0), trailers: {} }
  stream.on('response', (h) => (answer.headers = h))
  stream.on('trailers', (h) => (answer.trailers = h))
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  if (body || trailers) stream.end(body)
  await once(stream, 'close')
  answer.body = Buffer.concat(chunks)
  return answer
}

test('serves nghttp2: headers, Huffman strings, repeated requests from the table', async (t) => {
  const server = await serve(t, (encoder) => new Echo(encoder))
  const client = session(t, server.port)
  for (let i = 0; i < 50; i++) {
    const answer = await request(client, { ':path': `/p?${i}`, 'x-a': 'B'.repeat(i), cookie: ['a=1', 'b=2'] })
    assert.equal(answer.headers[':status'], 200)
    assert.equal(answer.headers['x-path'], `/p?${i}`)
    assert.match(String(answer.headers['x-list']), /cookie,a=1; b=2/)
  }
  assert.deepEqual(server.log, [])
})

test('serves bodies larger than every window, in both directions, with trailers', async (t) => {
  const server = await serve(t, (encoder) => new Echo(encoder))
  const client = session(t, server.port)
  const body = Buffer.alloc(5_000_000, 'abcdefg')
  const answers = await Promise.all(
    [1, 2, 3].map((i) => request(client, { ':method': 'POST', ':path': `/${i}` }, body, { 'x-sum': String(i) })),
  )
  answers.forEach((answer, i) => {
    assert.ok(answer.body.equals(body))
    assert.equal(answer.trailers['x-sum'], String(i + 1))
  })
})

test('a paused reader holds the peer back and loses nothing', async (t) => {
  let encoder!: ResponseEncoder
  let received = 0
  let ended!: () => void
  const done = new Promise<void>((resolve) => (ended = resolve))
  const server = await serve(t, (e) => {
    encoder = e
    return {
      decodeHeaders: () => e.stream.readDisable(true),
      decodeData: (chunk, end) => {
        received += chunk.length
        if (end) {
          e.encodeHeaders(response(200), true)
          ended()
        }
      },
      decodeTrailers() {},
      sendCodecError() {},
    }
  })
  const client = session(t, server.port)
  const stream = client.request({ ':method': 'POST' })
  const body = Buffer.alloc(1_000_000)
  stream.end(body)
  // The client can send one stream window and no more.
  await new Promise<void>((resolve) => {
    const wait = (): void => {
      if (
        client.state.remoteWindowSize !== undefined &&
        stream.state.localWindowSize !== undefined &&
        stream.writableLength > 0 &&
        encoder
      )
        resolve()
      else setImmediate(wait)
    }
    wait()
  })
  assert.equal(received, 0)
  encoder.stream.readDisable(false)
  await done
  assert.equal(received, body.length)
})

test('a slow client pauses the producer: counted watermarks', async (t) => {
  const events: string[] = []
  const server = await serve(t, (e) => {
    e.stream.callbacks = {
      onResetStream() {},
      onAboveWriteBufferHighWatermark: () => events.push('above'),
      onBelowWriteBufferLowWatermark: () => events.push('below'),
    }
    return {
      decodeHeaders: () => {
        e.encodeHeaders(response(200), false)
        e.encodeData(Buffer.alloc(1_000_000), true)
      },
      decodeData() {},
      decodeTrailers() {},
      sendCodecError() {},
    }
  })
  const client = session(t, server.port, { settings: { initialWindowSize: 16_384 } })
  const answer = await request(client, {})
  assert.equal(answer.body.length, 1_000_000)
  assert.deepEqual(events, ['above', 'below'])
})

test('an answer before the end of the request resets the rest with NO_ERROR', async (t) => {
  const server = await serve(t, (e) => ({
    decodeHeaders: () => e.encodeHeaders(response(413), true),
    decodeData() {},
    decodeTrailers() {},
    sendCodecError() {},
  }))
  const client = session(t, server.port)
  const stream = client.request({ ':method': 'POST' })
  stream.write('x')
  const [headers] = await once(stream, 'response')
  assert.equal(headers[':status'], 413)
  stream.resume()
  await once(stream, 'close')
  assert.equal(stream.rstCode, 0)
  // Late DATA of that stream is no fault of the next one.
  assert.equal((await request(client, {})).headers[':status'], 413)
})

test('extended CONNECT comes up as an upgrade and goes down as 200', async (t) => {
  let seen!: HeaderMap
  const server = await serve(t, (e) => ({
    decodeHeaders: (headers) => {
      seen = headers
      e.encodeHeaders(response(101, 'upgrade', 'websocket', 'connection', 'upgrade'), false)
    },
    decodeData: (chunk, end) => e.encodeData(chunk, end),
    decodeTrailers() {},
    sendCodecError() {},
  }))
  const client = session(t, server.port)
  await once(client, 'remoteSettings')
  const answer = await request(
    client,
    { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', ':scheme': 'http', ':authority': 'h' },
    Buffer.from('ping'),
  )
  assert.equal(answer.headers[':status'], 200)
  assert.equal(answer.headers.upgrade, undefined)
  assert.equal(answer.body.toString(), 'ping')
  assert.equal(seen.method, 'GET')
  assert.equal(seen.get('upgrade'), 'websocket')
})

test('graceful drain: GOAWAY, the stream in flight ends well', async (t) => {
  let answer!: () => void
  const started = new Promise<void>((resolve) => {
    answer = resolve
  })
  let encoder!: ResponseEncoder
  const server = await serve(t, (e) => {
    encoder = e
    return { decodeHeaders: () => answer(), decodeData() {}, decodeTrailers() {}, sendCodecError() {} }
  })
  const client = session(t, server.port)
  const goaways: number[] = []
  client.on('goaway', (_code, last) => goaways.push(last))
  const pending = request(client, {})
  await started
  server.codecs[0]!.shutdownNotice()
  server.codecs[0]!.goAway()
  encoder.encodeHeaders(response(200), true)
  assert.equal((await pending).headers[':status'], 200)
  assert.deepEqual(goaways, [0x7fffffff, 1])
})

/** A raw client: sends bytes after preface and SETTINGS, resolves with all that came back. */
async function raw(server: TestServer, ...frames: Buffer[]): Promise<Buffer> {
  const socket = connect(server.port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0), ...frames]))
  return readToEnd(socket)
}

async function readToEnd(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'end')
  socket.destroy()
  return Buffer.concat(chunks)
}

/** Code of the first GOAWAY, or -1. */
function goAwayCode(bytes: Buffer): number {
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3)
    if (bytes[at + 3] === 7) return bytes.readUInt32BE(at + 13)
    at += 9 + length
  }
  return -1
}

/** GET / on http, authority h. */
const GET = Buffer.from([0x82, 0x86, 0x84, 0x01, 1, 0x68])

const FLOODS: [string, Partial<Http2Options>, () => Buffer[], string][] = [
  [
    'PING',
    {},
    () => Array.from({ length: 1100 }, () => frame(6, 0, 0, Buffer.alloc(8))),
    'http2.outbound_control_frames_flood',
  ],
  ['SETTINGS', {}, () => Array.from({ length: 1100 }, () => frame(4, 0, 0)), 'http2.outbound_control_frames_flood'],
  ['empty DATA', {}, () => [frame(1, 4, 1, GET), frame(0, 0, 1), frame(0, 0, 1)], 'http2.inbound_empty_frames_flood'],
  [
    'empty CONTINUATION',
    {},
    () => [frame(1, 0, 1, GET), frame(9, 0, 1), frame(9, 0, 1)],
    'http2.inbound_empty_frames_flood',
  ],
  [
    'large CONTINUATION',
    {},
    // x: y, time and again, until the block has more than a mebibyte.
    () => [
      frame(1, 0, 1, GET),
      ...Array.from({ length: 65 }, () => frame(9, 0, 1, Buffer.alloc(16_380, Buffer.from([0, 1, 0x78, 1, 0x79])))),
    ],
    'http2.header_list_size_too_large',
  ],
  [
    'PRIORITY',
    {},
    () => Array.from({ length: 101 }, () => frame(2, 0, 3, Buffer.alloc(5))),
    'codec_error:Too_many_PRIORITY_frames',
  ],
  [
    'WINDOW_UPDATE',
    {},
    () => Array.from({ length: 6 }, () => frame(8, 0, 0, Buffer.from([0, 0, 0, 1]))),
    'codec_error:Too_many_WINDOW_UPDATE_frames',
  ],
  [
    'rapid reset',
    {},
    () =>
      Array.from({ length: 250 }, (_, i) =>
        Buffer.concat([frame(1, 5, i * 2 + 1, GET), frame(3, 0, i * 2 + 1, Buffer.from([0, 0, 0, 8]))]),
      ),
    'too_many_premature_resets',
  ],
]
for (const [name, options, frames, details] of FLOODS) {
  test(`a flood of ${name} ends the connection`, async (t) => {
    const server = await serve(
      t,
      () => ({ decodeHeaders() {}, decodeData() {}, decodeTrailers() {}, sendCodecError() {} }),
      options,
    )
    const bytes = await raw(server, ...frames())
    assert.equal(goAwayCode(bytes), 11)
    assert.deepEqual(server.log, [details])
  })
}

test('malformed requests end the connection, or only the stream when so configured', async (t) => {
  const upperCase = Buffer.concat([GET, Buffer.from([0x00, 1, 0x41, 1, 0x61])])
  const splitting = Buffer.concat([Buffer.from([0x82, 0x86, 0x04, 9]), Buffer.from('/a HTTP/1')])
  for (const block of [upperCase, splitting]) {
    const strict = await serve(t, (encoder) => new Echo(encoder))
    assert.equal(goAwayCode(await raw(strict, frame(1, 5, 1, block))), 1)
    assert.deepEqual(strict.log, ['http2.invalid.header.field'])
  }
  const lenient = await serve(t, (encoder) => new Echo(encoder), { streamErrorOnInvalidMessage: true })
  const socket = connect(lenient.port, '127.0.0.1')
  socket.write(
    Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      frame(4, 0, 0),
      frame(1, 5, 1, upperCase),
      frame(1, 5, 3, GET),
    ]),
  )
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    if (bytes.includes(frame(3, 0, 1, Buffer.from([0, 0, 0, 1]))) && bytes.includes('x-method')) break
  }
  assert.deepEqual(lenient.log, [])
})

test('input may be cut anywhere', async (t) => {
  const server = await serve(t, (encoder) => new Echo(encoder))
  const socket = connect(server.port, '127.0.0.1')
  socket.setNoDelay(true)
  const padded = Buffer.concat([Buffer.from([3]), Buffer.from('hello'), Buffer.alloc(3)])
  const bytes = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0xff, 0xff])),
    frame(1, 0, 1, GET.subarray(0, 1)),
    frame(9, 4, 1, GET.subarray(1)),
    frame(0, 8, 1, padded),
    frame(0, 9, 1, padded),
  ])
  for (const byte of bytes) socket.write(Buffer.from([byte]))
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk)
    if (Buffer.concat(chunks).includes('hellohello')) break
  }
  assert.deepEqual(server.log, [])
})

// ---- client side

class Collector implements ResponseDecoder {
  interim: number[] = []
  headers: HeaderMap | null = null
  trailers: HeaderMap | null = null
  chunks: Buffer[] = []
  reset = ''
  readonly done: Promise<void>
  private finish!: () => void
  constructor() {
    this.done = new Promise((resolve) => (this.finish = resolve))
  }
  decode1xxHeaders(headers: HeaderMap): void {
    this.interim.push(headers.status)
  }
  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    this.headers = headers
    if (endStream) this.finish()
  }
  decodeData(chunk: Buffer, endStream: boolean): void {
    this.chunks.push(Buffer.from(chunk))
    if (endStream) this.finish()
  }
  decodeTrailers(trailers: HeaderMap): void {
    this.trailers = trailers
    this.finish()
  }
  onResetStream(reason: string): void {
    this.reset = reason
    this.finish()
  }
  onAboveWriteBufferHighWatermark(): void {}
  onBelowWriteBufferLowWatermark(): void {}
}

interface TestClient {
  codec: Http2ClientConnection
  completed: boolean[]
  maxStreams: number[]
  log: string[]
  goAway: Promise<void>
}

async function client(
  t: TestContext,
  onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
  settings: http2.Settings = {},
): Promise<TestClient> {
  const server = http2.createServer({ settings })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers)
  })
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (s) => sessions.add(s))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const completed: boolean[] = []
  const maxStreams: number[] = []
  const log: string[] = []
  const connection = openConnection(ipAddress('127.0.0.1', (server.address() as AddressInfo).port), {
    bindSource: null,
    tls: null,
    connectTimeoutMs: 0,
    keepalive: null,
    socketOptions: [],
    bufferLimitBytes: 0,
  })
  let drained!: () => void
  const goAway = new Promise<void>((resolve) => (drained = resolve))
  const codec = new Http2ClientConnection(
    connection,
    {
      onGoAway: () => drained(),
      onStreamComplete: (reusable) => completed.push(reusable),
      onMaxStreamsChanged: (max) => maxStreams.push(max),
    },
    OPTIONS,
    LIMITS,
    new Http2Stats(new StatsStore()),
  )
  attach(connection, codec, log)
  t.after(() => {
    connection.close(CloseType.NoFlush)
    for (const s of sessions) s.destroy()
    server.close()
  })
  return { codec, completed, maxStreams, log, goAway }
}

function send(
  codec: Http2ClientConnection,
  fill: (headers: HeaderMap) => void,
  body?: Buffer,
  trailers?: HeaderMap,
): Collector {
  const collector = new Collector()
  const headers = new HeaderMap()
  headers.method = 'GET'
  headers.path = '/'
  headers.scheme = 'http'
  headers.authority = 'a.example'
  fill(headers)
  const encoder = codec.newStream(collector)
  encoder.stream.callbacks = collector
  encoder.encodeHeaders(headers, !body && !trailers)
  if (body) encoder.encodeData(body, !trailers)
  if (trailers) encoder.encodeTrailers(trailers)
  return collector
}

test('asks nghttp2: interim responses, body, trailers, settings', async (t) => {
  const c = await client(
    t,
    (stream, headers) => {
      stream.additionalHeaders({ ':status': 103, link: 'x' })
      stream.respond({ ':status': 201, 'x-path': headers[':path'], 'x-te': headers.te }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.pipe(stream)
    },
    { maxConcurrentStreams: 7 },
  )
  const body = Buffer.alloc(3_000_000, 'x')
  const collectors = [1, 2, 3].map((i) =>
    send(
      c.codec,
      (h) => {
        h.method = 'POST'
        h.path = `/${i}`
        h.list.push('te', 'trailers', 'connection', 'close', 'x-many', 'y'.repeat(20_000))
      },
      body,
    ),
  )
  for (const [i, collector] of collectors.entries()) {
    await collector.done
    assert.deepEqual(collector.interim, [103])
    assert.equal(collector.headers!.status, 201)
    assert.equal(collector.headers!.get('x-path'), `/${i + 1}`)
    assert.equal(collector.headers!.get('x-te'), 'trailers')
    assert.ok(Buffer.concat(collector.chunks).equals(body))
    assert.equal(collector.trailers!.get('grpc-status'), '0')
  }
  assert.deepEqual(c.completed, [true, true, true])
  assert.deepEqual(c.maxStreams, [7])
  assert.deepEqual(c.log, [])
})

test('a HEAD response may declare a length', async (t) => {
  const c = await client(t, (stream) => stream.respond({ ':status': 200, 'content-length': 10 }, { endStream: true }))
  const head = send(c.codec, (h) => (h.method = 'HEAD'))
  await head.done
  assert.equal(head.headers!.get('content-length'), '10')
})

test('resets and GOAWAY of the server', async (t) => {
  const c = await client(t, (stream, headers) => {
    if (headers[':path'] === '/reset') stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    else {
      stream.session!.close()
      stream.respond({ ':status': 200 }, { endStream: true })
    }
  })
  const refused = send(c.codec, (h) => (h.path = '/reset'))
  await refused.done
  assert.equal(refused.reset, 'remote refused stream reset')
  const last = send(c.codec, () => {})
  await last.done
  await c.goAway
  assert.equal(last.headers!.status, 200)
})

test('an upgrade goes out as extended CONNECT and comes back as 101', async (t) => {
  const c = await client(
    t,
    (stream, headers) => {
      assert.equal(headers[':method'], 'CONNECT')
      assert.equal(headers[':protocol'], 'websocket')
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    },
    { enableConnectProtocol: true },
  )
  const collector = send(
    c.codec,
    (h) => h.list.push('upgrade', 'websocket', 'connection', 'Upgrade'),
    Buffer.from('ping'),
  )
  await collector.done
  assert.equal(collector.headers!.status, 101)
  assert.equal(collector.headers!.get('upgrade'), 'websocket')
  assert.equal(Buffer.concat(collector.chunks).toString(), 'ping')
})
