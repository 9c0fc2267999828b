// How long the codecs take for one request and its response, without sockets: node bench/codecs.ts [h1|h2] [seconds].

import type { RequestDecoder, ResponseEncoder } from '../src/proxy/http/codec.ts'
import { Http1ServerConnection } from '../src/proxy/http/h1/server.ts'
import { Http2ServerConnection } from '../src/proxy/http/h2/server.ts'
import { Http2Stats } from '../src/proxy/http/h2/stats.ts'
import { HeaderMap } from '../src/proxy/http/header-map.ts'
import { HpackEncoder } from '../src/proxy/http/hpack/encoder.ts'
import { parseHttp1Options, parseHttp2Options } from '../src/proxy/http/parse-options.ts'
import { MemoryConnection } from '../src/proxy/http/testing.ts'
import { StatsStore } from '../src/proxy/observe/stats-store.ts'

/** Throws away what is written, into one buffer as a real connection has it. */
class SinkConnection extends MemoryConnection {
  private readonly sink = Buffer.alloc(64 * 1024)
  override write(chunk: Buffer): void {
    this.bytesSent += chunk.length
  }
  override reserve(): Buffer {
    return this.sink
  }
  override commit(used: number): void {
    this.bytesSent += used
  }
}

const FIELDS = [
  ['user-agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'],
  ['accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
  ['accept-encoding', 'gzip, deflate, br'],
  ['x-forwarded-proto', 'http'],
  ['x-request-id', '5345b881-f0fc-47d3-a266-9c47fe0f2e24'],
  ['cookie', 'session=0123456789abcdef0123456789abcdef'],
] as const
const BODY = Buffer.alloc(1024, 'x')
const LIMITS = {
  maxBytes: 60 * 1024,
  maxHeaders: 100,
  underscores: 'ALLOW',
  keepSpellings: false,
  allowConnect: false,
} as const

const HTTP1 = parseHttp1Options(undefined)
const HTTP2 = parseHttp2Options(undefined)

function newStream(encoder: ResponseEncoder): RequestDecoder {
  return {
    decodeHeaders: () => {
      const headers = new HeaderMap()
      headers.status = 200
      headers.list.push(
        'content-type',
        'text/plain',
        'content-length',
        '1024',
        'date',
        'Mon, 23 Nov 2026 15:00:00 GMT',
        'server',
        'envoy',
        'x-envoy-upstream-service-time',
        '1',
      )
      encoder.encodeHeaders(headers, false)
      encoder.encodeData(BODY, true)
    },
    decodeData() {},
    decodeTrailers() {},
    sendCodecError: (_status, _body, details) => {
      throw new Error(details)
    },
  }
}

function http1(): () => void {
  const codec = new Http1ServerConnection(new SinkConnection(), { newStream, onGoAway() {} }, HTTP1, LIMITS)
  const text = FIELDS.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const request = Buffer.from(`GET /productpage?u=normal HTTP/1.1\r\nhost: bookinfo.example\r\n${text}\r\n`)
  return () => {
    codec.dispatch(request)
  }
}

function http2(): () => void {
  const connection = new SinkConnection()
  const codec = new Http2ServerConnection(
    connection,
    { newStream, onGoAway() {} },
    HTTP2,
    LIMITS,
    new Http2Stats(new StatsStore()),
  )
  codec.dispatch(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1'))
  const encoder = new HpackEncoder(4096)
  const windowUpdate = Buffer.from([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0])
  let id = -1
  return () => {
    encoder.begin()
    encoder.field(':method', 'GET')
    encoder.field(':scheme', 'http')
    encoder.field(':authority', 'bookinfo.example')
    encoder.field(':path', '/productpage?u=normal')
    for (const [name, value] of FIELDS) encoder.field(name, value)
    const frame = Buffer.allocUnsafe(9 + encoder.length)
    frame.writeUIntBE(encoder.length, 0, 3)
    frame[3] = 1
    frame[4] = 5
    frame.writeUInt32BE((id += 2), 5)
    encoder.buffer.copy(frame, 9, 0, encoder.length)
    const error = codec.dispatch(frame) ?? codec.dispatch(windowUpdate)
    if (error) throw new Error(error.details)
  }
}

const SHAPES = { h1: http1, h2: http2 }
const seconds = Number(process.argv[3] ?? 2)
for (const [name, make] of Object.entries(SHAPES)) {
  if (process.argv[2] && process.argv[2] !== name) continue
  const one = make()
  for (let i = 0; i < 50_000; i++) one()
  const start = process.cpuUsage().user
  const until = performance.now() + seconds * 1000
  let count = 0
  while (performance.now() < until) {
    for (let i = 0; i < 1000; i++) one()
    count += 1000
  }
  const spent = process.cpuUsage().user - start
  console.log(`${name}: ${(spent / count).toFixed(2)} µs of CPU a request`)
}
