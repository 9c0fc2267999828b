// A client that does not open its HTTP/2 window for the end of a response: which timeout ends the stream, and how. Real Envoy
// and ours, the same frames.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, type Server } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { frame } from '../../src/proxy/http/h2/testing.ts'
import { envoyBinary, freePort, type RunningProxy, startProxy } from './harness/proxies.ts'
import { linesOf, type Situation, situationBootstrap, startUpstream, statsOf } from './harness/situations.ts'

interface Case extends Situation {
  /** The client opens its window by one byte whenever a DATA frame has come. */
  readonly trickle?: boolean
  /** No timeout ends the stream: the client leaves. */
  readonly stays?: boolean
}

const BODY = 'x'.repeat(100)
const upstream = (): string => `HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n${BODY}`
const chunked = (): string =>
  `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n${BODY}\r\n0\r\nx-r: 2\r\n\r\n`
const hcm = (idle: string, flush?: string): object => ({
  stream_idle_timeout: idle,
  ...(flush && { stream_flush_timeout: flush }),
})

const CASES: readonly Case[] = [
  { name: 'the stream idle timeout', hcm: hcm('0.2s'), upstream },
  { name: 'the flush timeout', hcm: hcm('60s', '0.2s'), upstream },
  { name: 'the flush timeout of the route', hcm: hcm('60s'), route: { flush_timeout: '0.2s' }, upstream },
  {
    name: 'the idle timeout of the route is none',
    hcm: hcm('60s'),
    route: { idle_timeout: '0.2s' },
    upstream,
    stays: true,
  },
  { name: 'without one', hcm: hcm('0.2s', '0s'), upstream, stays: true },
  { name: 'nor without an idle timeout', hcm: hcm('0s'), upstream, stays: true },
  {
    name: 'trailers wait too',
    hcm: { ...hcm('0.2s'), http_protocol_options: { enable_trailers: true } },
    upstreamHttp1: { enable_trailers: true },
    upstream: chunked,
  },
  { name: 'a window that opens in time lets all of it out', hcm: hcm('60s'), upstream, trickle: true },
]

// A window of ten bytes; :method GET, :scheme http, :path /, :authority a (RFC 7541 appendix A).
const REQUEST = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0, 10])),
  frame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61])),
])

/** What happens to the stream: frames, lengths of bodies, error codes. */
async function play(port: number, { trickle, stays }: Case): Promise<string[]> {
  const socket = connect({ port, host: '127.0.0.1' })
  const seen: string[] = []
  let bytes: Buffer = Buffer.alloc(0)
  let over = (): void => {}
  const ended = new Promise<void>((resolve) => {
    over = resolve
  })
  const take = (type: number, flags: number, payload: Buffer): void => {
    const end = flags & 1 ? ' end' : ''
    if (type === 0) seen.push(`data ${payload.length}${end}`)
    else if (type === 1) seen.push(`headers${end}`)
    else if (type === 3) seen.push(`reset ${payload.toString('hex')}`)
    else return
    if (type === 3 || end !== '' || (stays && type === 0)) over()
    else if (trickle && type === 0) socket.write(frame(8, 0, 1, Buffer.from([0, 0, 0, 45])))
  }
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const length = bytes.readUIntBE(0, 3)
      take(bytes[3]!, bytes[4]!, bytes.subarray(9, 9 + length))
      bytes = bytes.subarray(9 + length)
    }
  })
  socket.write(REQUEST)
  await ended
  // Longer than any timeout that might end it.
  if (stays) await new Promise((resolve) => setTimeout(resolve, 500))
  socket.end()
  await once(socket.resume(), 'close')
  return seen
}

describe('a response that waits for the client’s window', { skip: envoyBinary() ? false : 'no real Envoy' }, () => {
  let proxies: { proxy: RunningProxy; listeners: number[] }[] = []
  let servers: Server[] = []
  before(async () => {
    servers = await Promise.all(CASES.map(startUpstream))
    const upstreams = servers.map((server) => (server.address() as AddressInfo).port)
    proxies = await Promise.all(
      (['envoy', 'outrigger'] as const).map(async (name) => {
        const listeners = await Promise.all(CASES.map(() => freePort()))
        const proxy = await startProxy(name, (ports) => situationBootstrap(CASES, 'HTTP2', ports, listeners, upstreams))
        return { listeners, proxy }
      }),
    )
  })
  after(async () => {
    await Promise.all(proxies.map(({ proxy }) => proxy.stop()))
    for (const server of servers) server.close()
  })

  for (const [i, one] of CASES.entries()) {
    it(one.name, async () => {
      const [theirs, mine] = await Promise.all(proxies.map(({ listeners }) => play(listeners[i]!, one)))
      assert.deepEqual(mine, theirs)
      const logs = await Promise.all(proxies.map(({ proxy }) => linesOf(proxy, i, 1)))
      assert.deepEqual(logs[1], logs[0])
    })
  }

  it('counts alike', async () => {
    const counted = /tx_flush_timeout|http2\.(tx_reset|pending)|^http\.s\d\.downstream_rq_(idle|rx_reset|tx_reset)/
    const [theirs, mine] = await Promise.all(proxies.map(({ proxy }) => statsOf(proxy, counted)))
    assert.deepEqual(mine, theirs)
  })
})
