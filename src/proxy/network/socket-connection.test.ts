import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { StatsStore } from '../observe/stats-store.ts'
import { acceptSocket } from './accept.ts'
import { ipAddress } from './address.ts'
import { openConnection } from './connect.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from './connection.ts'
import { SocketConnectionInfo } from './connection-info.ts'
import type { SocketConnection } from './socket-connection.ts'

const PLAIN = {
  bindSource: null,
  tls: null,
  connectTimeoutMs: 0,
  keepalive: null,
  socketOptions: [],
  bufferLimitBytes: 0,
}

/** Keeps what a connection tells its owner. */
class Recorder implements ConnectionCallbacks {
  readonly events: ConnectionEvent[] = []
  readonly chunks: Buffer[] = []
  ended = false
  above = 0
  below = 0
  private waiting: { until: () => boolean; resolve: () => void }[] = []
  onData(chunk: Buffer, endStream: boolean): void {
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    this.ended ||= endStream
    this.wake()
  }
  onEvent(event: ConnectionEvent): void {
    this.events.push(event)
    this.wake()
  }
  onAboveWriteBufferHighWatermark(): void {
    this.above++
    this.wake()
  }
  onBelowWriteBufferLowWatermark(): void {
    this.below++
    this.wake()
  }
  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve) => this.waiting.push({ until: condition, resolve }))
  }
  private wake(): void {
    for (const w of this.waiting) if (w.until()) w.resolve()
  }
}

/** A raw peer on one side, an accepted Connection on the other. */
async function acceptedPair(t: TestContext): Promise<{ peer: Socket; connection: SocketConnection; seen: Recorder }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const peer = netConnect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  const [socket] = (await accepted) as [Socket]
  const info = new SocketConnectionInfo(
    ipAddress(socket.localAddress!, socket.localPort!),
    ipAddress(socket.remoteAddress!, socket.remotePort!),
  )
  const connection = acceptSocket(socket, info, null)
  const seen = new Recorder()
  connection.callbacks = seen
  t.after(() => {
    peer.destroy()
    connection.close(CloseType.NoFlush)
    server.close()
  })
  return { peer, connection, seen }
}

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('latin1')
}

test('bytes pass both ways, half closes too', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  peer.end('hello')
  await seen.until(() => seen.ended)
  assert.equal(seen.text, 'hello')
  assert.ok(connection.open)
  connection.write(Buffer.from('wor'), false)
  const room = connection.reserve(2)
  connection.commit(room.write('ld', connection.reserveOffset, 'latin1'))
  connection.write(Buffer.alloc(0), true)
  assert.equal(await readAll(peer), 'world')
  await seen.until(() => seen.events.length > 0)
  assert.deepEqual(seen.events, [ConnectionEvent.LocalClose])
  assert.equal(connection.bytesReceived, 5)
  assert.equal(connection.bytesSent, 5)
})

test('what the kernel does not take is queued in order and watermarks are told', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.setBufferLimits(64 * 1024)
  const big = Buffer.alloc(16 * 1024 * 1024)
  for (let i = 0; i < big.length; i += 4) big.writeUInt32LE(i, i)
  connection.write(Buffer.from('head'), false)
  connection.write(big, false)
  // The connection has copied what it still needs: the caller's memory is free for reuse.
  const expected = Buffer.concat([Buffer.from('head'), big, Buffer.from('tail')])
  big.fill(0)
  assert.ok(connection.aboveHighWatermark)
  connection.write(Buffer.from('tail'), true)
  const got: Buffer[] = []
  for await (const chunk of peer) got.push(chunk as Buffer)
  assert.ok(Buffer.concat(got).equals(expected))
  assert.equal(seen.above, 1)
})

test('falling below half the limit is told once', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.setBufferLimits(64 * 1024)
  connection.write(Buffer.alloc(16 * 1024 * 1024), false)
  peer.resume()
  await seen.until(() => seen.below === 1)
  assert.equal(seen.above, 1)
  assert.equal(connection.aboveHighWatermark, false)
})

test('gauges follow what the last read brought and what waits to be written', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  const scope = new StatsStore().scope('c')
  const [rx, tx] = [scope.gauge('rx'), scope.gauge('tx')]
  connection.countBuffered(rx, tx)
  peer.write('hello')
  await seen.until(() => seen.text === 'hello')
  assert.equal(rx.value, 5)
  peer.write('you')
  await seen.until(() => seen.text === 'helloyou')
  assert.equal(rx.value, 3)
  peer.pause()
  const chunk = Buffer.alloc(1024 * 1024)
  while (connection.bufferedBytes === 0) connection.write(chunk, false)
  assert.equal(tx.value, connection.bufferedBytes)
  connection.setBufferLimits(1)
  connection.write(chunk, false)
  assert.equal(seen.above, 1)
  peer.resume()
  await seen.until(() => seen.below === 1)
  assert.equal(tx.value, 0)
  connection.close(CloseType.NoFlush)
  assert.deepEqual([rx.value, tx.value], [0, 0])
})

test('readDisable is counted and loses nothing', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.readDisable(true)
  connection.readDisable(true)
  connection.readDisable(false)
  peer.write('x'.repeat(200_000))
  await once(peer, 'drain')
  assert.equal(connection.bytesReceived, 0)
  connection.readDisable(false)
  peer.end()
  await seen.until(() => seen.ended)
  assert.equal(connection.bytesReceived, 200_000)
})

test('FlushWrite delivers what was written, then closes', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.write(Buffer.from('bye'), false)
  connection.close(CloseType.FlushWrite, 'done')
  assert.equal(await readAll(peer), 'bye')
  assert.equal(connection.open, false)
  assert.deepEqual(seen.events, [ConnectionEvent.LocalClose])
  assert.equal(connection.info.connectionTerminationDetails, 'done')
})

test('FlushWriteAndDelay half-closes, drops late bytes and ends with the peer', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.setDelayedCloseTimeoutMs(60_000)
  connection.write(Buffer.from('bye'), false)
  connection.close(CloseType.FlushWriteAndDelay)
  assert.equal(await readAll(peer), 'bye')
  assert.deepEqual(seen.events, [])
  peer.end('too late')
  await seen.until(() => seen.events.length > 0)
  assert.deepEqual(seen.events, [ConnectionEvent.RemoteClose])
  assert.equal(seen.text, '')
})

test('a peer that takes the last bytes slowly gets them all; one that takes none is left', async (t) => {
  const size = 24 * 1024 * 1024
  const slow = await acceptedPair(t)
  slow.connection.setDelayedCloseTimeoutMs(60_000)
  slow.connection.write(Buffer.alloc(size), false)
  slow.connection.close(CloseType.FlushWrite)
  let got = 0
  let timeouts = 0
  for await (const chunk of slow.peer) {
    got += (chunk as Buffer).length
    // More than the buffers of two sockets hold: bytes have left since the close.
    if (timeouts > 0 || got < (size * 3) / 4) continue
    slow.connection.onDelayedCloseTimeout()
    timeouts++
  }
  assert.equal(got, size)
  await slow.seen.until(() => slow.seen.events.length > 0)
  assert.deepEqual(slow.seen.events, [ConnectionEvent.LocalClose])
  assert.equal(slow.connection.delayedCloseTimedOut, false)

  const stuck = await acceptedPair(t)
  stuck.peer.pause()
  stuck.connection.setDelayedCloseTimeoutMs(20)
  stuck.connection.write(Buffer.alloc(size), false)
  stuck.connection.close(CloseType.FlushWrite)
  await stuck.seen.until(() => stuck.seen.events.length > 0)
  assert.deepEqual(stuck.seen.events, [ConnectionEvent.LocalClose])
  assert.equal(stuck.connection.delayedCloseTimedOut, true)
})

test('AbortReset sends RST and a received RST is told from a FIN', async (t) => {
  const one = await acceptedPair(t)
  one.connection.close(CloseType.AbortReset)
  one.peer.resume()
  const [error] = (await once(one.peer, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNRESET')
  assert.equal(one.connection.detectedClose, 'LocalReset')
  const two = await acceptedPair(t)
  two.peer.resetAndDestroy()
  await two.seen.until(() => two.seen.events.length > 0)
  assert.deepEqual(two.seen.events, [ConnectionEvent.RemoteClose])
  assert.equal(two.connection.detectedClose, 'RemoteReset')
})

test('writes in one read callback leave in one packet', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  seen.onData = () => {
    for (const part of ['a', 'b', 'c']) connection.write(Buffer.from(part), false)
  }
  peer.write('go')
  const [first] = (await once(peer, 'data')) as [Buffer]
  assert.equal(first.toString(), 'abc')
})

async function listening(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer(onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

function open(
  t: TestContext,
  port: number,
  options: Partial<Parameters<typeof openConnection>[1]> = {},
): { connection: Connection; seen: Recorder } {
  const connection = openConnection(ipAddress('127.0.0.1', port), { ...PLAIN, ...options })
  const seen = new Recorder()
  connection.callbacks = seen
  t.after(() => connection.close(CloseType.NoFlush))
  return { connection, seen }
}

test('an upstream connection sends what was written before it stood', async (t) => {
  const port = await listening(t, (socket) => socket.on('data', (chunk) => socket.end(`got ${chunk}`)))
  const { connection, seen } = open(t, port)
  connection.write(Buffer.from('early'), false)
  assert.ok(connection.connecting)
  await seen.until(() => seen.ended)
  assert.equal(seen.text, 'got early')
  assert.equal(seen.events[0], ConnectionEvent.Connected)
  assert.match(connection.info.localAddress.text, /^127\.0\.0\.1:\d+$/)
})

test("a refused connection reports Envoy's reason", async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const { connection, seen } = open(t, port)
  await seen.until(() => seen.events.length > 0)
  assert.deepEqual(seen.events, [ConnectionEvent.RemoteClose])
  assert.equal(connection.transportFailureReason, 'delayed connect error: Connection refused')
})

test('bindSource chooses the local address', async (t) => {
  let from: string | undefined
  const port = await listening(t, (socket) => {
    from = socket.remoteAddress
    socket.end()
  })
  const { seen } = open(t, port, { bindSource: ipAddress('127.0.0.6', 0) })
  await seen.until(() => seen.ended)
  assert.equal(from, '127.0.0.6')
})

test('what was read before a pause took effect is kept in order until reading resumes', async (t) => {
  const { peer, connection, seen } = await acceptedPair(t)
  connection.readDisable(true)
  connection.receive(Buffer.from('peeked '))
  peer.end('sent')
  connection.receive(Buffer.from('more '))
  connection.readDisable(false)
  assert.equal(seen.text, '', 'not from within the caller')
  await seen.until(() => seen.ended)
  assert.equal(seen.text, 'peeked more sent')
  assert.equal(connection.bytesReceived, 16)
})
