// What HTTP/2 connections do in situations that random requests do not reach. Real Envoy and ours, the same requests:
// the same answer or reset, the same log line.

import assert from 'node:assert/strict'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { AddressInfo, Server, Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { linesOf, type Situation, situationBootstrap, startUpstream } from './harness/situations.ts'

interface Scenario extends Situation {
  readonly headers?: OutgoingHttpHeaders
  /** Body; null = the request is never finished. */
  readonly body?: string | null
  /** The client resets its stream once it has been answered, or at once when there is no answer to come. */
  readonly cancel?: boolean
  /** Requests one after another on the connection. */
  readonly requests?: number
}

/** Upstreams that end the connection, before or after some bytes. */
const closeAtOnce = (_head: string, socket: Socket): null => {
  socket.destroy()
  return null
}
const endAfter =
  (text: string) =>
  (_head: string, socket: Socket): null => {
    socket.end(text)
    return null
  }
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const common = (options: object): object => ({ common_http_protocol_options: options })

const SCENARIOS: readonly Scenario[] = [
  { name: 'a plain request', upstream: () => OK },
  {
    name: 'stream idle timeout, request incomplete',
    hcm: { stream_idle_timeout: '0.3s' },
    body: null,
    upstream: () => null,
  },
  {
    name: 'stream idle timeout, response begun',
    hcm: { stream_idle_timeout: '0.3s' },
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
  },
  { name: 'request timeout', hcm: { request_timeout: '0.3s' }, body: null, upstream: () => null },
  { name: 'route timeout', route: { timeout: '0.3s' }, upstream: () => null },
  { name: 'max stream duration', hcm: common({ max_stream_duration: '0.3s' }), upstream: () => null },
  { name: 'the client resets', cancel: true, upstream: () => null },
  {
    name: 'the client resets within the response',
    cancel: true,
    upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
  },
  { name: 'too many headers', headers: Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-${i}`, '1'])) },
  {
    name: 'headers too large',
    headers: Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`x-${i}`, 'y'.repeat(1000)])),
  },
  {
    name: 'underscores refused',
    hcm: common({ headers_with_underscores_action: 'REJECT_REQUEST' }),
    headers: { x_y: '1' },
  },
  { name: 'no route', headers: { ':authority': 'nobody' } },
  {
    name: 'no route, gRPC',
    headers: { ':authority': 'nobody', ':method': 'POST', 'content-type': 'application/grpc' },
  },
  { name: 'CONNECT without permission', headers: { ':method': 'CONNECT', ':authority': 'a:443' } },
  { name: 'the upstream closes at once', upstream: closeAtOnce },
  {
    name: 'the upstream closes within the body',
    upstream: endAfter('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'),
  },
  { name: 'an answer before the end of the request', body: null, upstream: () => OK },
  {
    name: 'trailers from upstream',
    hcm: { http_protocol_options: { enable_trailers: true } },
    upstreamHttp1: { enable_trailers: true },
    upstream: () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-r: 2\r\n\r\n',
  },
  {
    name: 'expect 100-continue',
    headers: { ':method': 'POST', expect: '100-continue' },
    body: 'hi',
    upstream: () => OK,
  },
  { name: 'HEAD', headers: { ':method': 'HEAD' }, upstream: () => 'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n' },
  { name: '304 without a length', upstream: () => 'HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n' },
  {
    name: 'max requests per connection',
    hcm: common({ max_requests_per_connection: 2 }),
    requests: 2,
    upstream: () => OK,
  },
  {
    name: 'connection idle timeout',
    hcm: { ...common({ idle_timeout: '0.2s' }), drain_timeout: '0.2s' },
    requests: 1,
    upstream: () => OK,
  },
]

interface Outcome {
  readonly streams: readonly unknown[]
  /** [code, last stream id] of each GOAWAY. */
  readonly goaways: readonly unknown[]
}

async function play(port: number, scenario: Scenario): Promise<Outcome> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  const goaways: unknown[] = []
  const closed = new Promise<void>((resolve) => session.on('close', resolve))
  session.on('goaway', (code, last) => goaways.push([code, last]))
  const streams: unknown[] = []
  for (let i = 0; i < (scenario.requests ?? 1); i++) streams.push(await ask(session, scenario))
  // Where the proxy ends the connection itself, its last words count.
  if (scenario.name === 'connection idle timeout') await closed
  session.destroy()
  return { streams, goaways }
}

async function ask(session: ClientHttp2Session, { headers = {}, body = '', cancel }: Scenario): Promise<unknown> {
  const connect = headers[':method'] === 'CONNECT'
  const block = {
    ':authority': 'a',
    ...(connect ? {} : { ':path': '/', ':method': body === '' ? 'GET' : 'POST' }),
    ...headers,
  }
  const stream: ClientHttp2Stream = session.request(block, { endStream: body === '' && !connect })
  let status = 0
  let lines: string[] = []
  let trailers: string[] = []
  const flat = (raw: string[]): string[] =>
    raw.flatMap((text, i) =>
      i % 2 === 0 ? [`${text}: ${text === 'date' || text === 'x-envoy-upstream-service-time' ? '…' : raw[i + 1]}`] : [],
    )
  stream.on('response', (received, _flags, raw: string[]) => {
    status = Number(received[':status'])
    lines = flat(raw)
  })
  stream.on('trailers', (_received, _flags, raw: string[]) => (trailers = flat(raw)))
  stream.on('error', () => {})
  let text = ''
  stream.on('data', (chunk) => {
    text += chunk
    if (cancel) stream.close(8)
  })
  const done = new Promise((resolve) => stream.on('close', resolve))
  if (body === null) stream.write('abc')
  else if (body !== '') stream.end(body)
  if (cancel) setTimeout(() => stream.close(8), 300)
  const timer = setTimeout(() => stream.close(8), 5000)
  await done
  clearTimeout(timer)
  return { status, lines, trailers, text, code: stream.rstCode }
}

describe('HTTP/2 scenarios', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  let proxies: { proxy: RunningProxy; listeners: number[] }[] = []
  let servers: Server[] = []
  before(async () => {
    servers = await Promise.all(SCENARIOS.map(startUpstream))
    const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
    proxies = await Promise.all(
      (['envoy', 'outrigger'] as const).map(async (name) => {
        const listeners = await Promise.all(SCENARIOS.map(() => freePort()))
        const proxy = await startProxy(name, (ports) =>
          situationBootstrap(SCENARIOS, 'HTTP2', ports, listeners, upstreams),
        )
        return { listeners, proxy }
      }),
    )
  })
  after(async () => {
    await Promise.all(proxies.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  describe('in parallel', { concurrency: 8 }, () => {
    for (const [i, scenario] of SCENARIOS.entries()) {
      it(scenario.name, async () => {
        const [theirs, mine] = await Promise.all(proxies.map(({ listeners }) => play(listeners[i]!, scenario)))
        assert.deepEqual(mine, theirs)
        const envoyLog = await linesOf(proxies[0]!.proxy, i, scenario.requests ?? 1)
        assert.deepEqual(await linesOf(proxies[1]!.proxy, i, envoyLog.length), envoyLog)
      })
    }
  })
})
