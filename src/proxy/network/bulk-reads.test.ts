import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net'
import { constants } from 'node:os'
import { after, before, test } from 'node:test'
import { acceptSocket } from './accept.ts'
import { ipAddress } from './address.ts'
import { DetectedClose } from './close.ts'
import { CloseType, type ConnectionCallbacks, ConnectionEvent } from './connection.ts'
import { SocketConnectionInfo } from './connection-info.ts'
import type { SocketConnection } from './socket-connection.ts'

const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
before(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening')
})
after(() => {
  server.close()
})

/** A connection with its peer; `onData` may be replaced. */
class Pair implements ConnectionCallbacks {
  readonly peer: Socket
  readonly connection: SocketConnection
  text = ''
  ended = false
  closed = false
  /** Reads that libuv has not made. */
  bulkReads = 0
  onText: () => void = () => {}
  private wake: () => void = () => {}

  constructor(peer: Socket, connection: SocketConnection) {
    this.peer = peer
    this.connection = connection
    connection.callbacks = this
    const { receiveFromSocket, onSocketRead } = connection
    connection.receiveFromSocket = (length) => {
      this.bulkReads++
      receiveFromSocket.call(connection, length)
    }
    connection.onSocketRead = () => {
      this.bulkReads--
      onSocketRead.call(connection)
    }
  }

  static async open(): Promise<Pair> {
    const accepted = once(server, 'connection')
    const peer = netConnect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
    peer.setNoDelay(true).on('error', () => {})
    const [socket] = (await accepted) as [Socket]
    const address = ipAddress('127.0.0.1', 1)
    return new Pair(peer, acceptSocket(socket, new SocketConnectionInfo(address, address), null))
  }

  /** One that has been read so often that it is read in bulk. */
  static async busy(): Promise<Pair> {
    const pair = await Pair.open()
    for (let i = 0; i < 16; i++) {
      pair.peer.write('.')
      await pair.until(() => pair.text.length > i)
    }
    pair.text = ''
    pair.bulkReads = 0
    return pair
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.wake = () => condition() && resolve()
      this.wake()
    })
  }
  onData(chunk: Buffer, endStream: boolean): void {
    assert.ok(!this.closed, 'no bytes after the end')
    this.text += chunk.toString('latin1')
    this.ended ||= endStream
    if (chunk.length > 0) this.onText()
    this.wake()
  }
  onEvent(event: ConnectionEvent): void {
    if (event !== ConnectionEvent.Connected) this.closed = true
    this.wake()
  }
  onAboveWriteBufferHighWatermark(): void {}
  onBelowWriteBufferLowWatermark(): void {}
}

/** Says `count` bytes to one of them; each that one of the two reads makes the peer of the other write the next. */
async function volley(a: Pair, b: Pair, count: number): Promise<string> {
  let sent = 0
  const next = (to: Pair) => () => {
    if (sent < count) to.peer.write(String.fromCharCode(97 + (sent++ % 26)))
  }
  a.onText = next(b)
  b.onText = next(a)
  next(a)()
  const whole = () => a.text.length + b.text.length === count
  await Promise.race([a.until(whole), b.until(whole)])
  a.onText = () => {}
  b.onText = () => {}
  let said = ''
  for (let i = 0; i < count; i++) said += (i % 2 === 0 ? a : b).text[i >> 1]
  a.text = ''
  b.text = ''
  return said
}

function letters(count: number): string {
  return Array.from({ length: count }, (_, i) => String.fromCharCode(97 + (i % 26))).join('')
}

test('bytes come whole and in order, whoever reads them', { skip: process.platform !== 'linux' }, async () => {
  const [a, b] = [await Pair.busy(), await Pair.busy()]
  assert.equal(await volley(a, b, 400), letters(400))
  assert.ok(a.bulkReads + b.bulkReads > 200, `${a.bulkReads} and ${b.bulkReads} reads in bulk`)
  for (const pair of [a, b]) pair.connection.close(CloseType.NoFlush)
})

test('a paused connection is not read until it resumes', async () => {
  const [a, b, paused] = [await Pair.busy(), await Pair.busy(), await Pair.busy()]
  paused.connection.readDisable(true)
  paused.peer.write('later')
  await volley(a, b, 200)
  assert.equal(paused.text, '')
  paused.connection.readDisable(false)
  await paused.until(() => paused.text.length === 5)
  assert.equal(paused.text, 'later')
  for (const pair of [a, b, paused]) pair.connection.close(CloseType.NoFlush)
})

test('a half-close comes after the bytes before it, a reset ends the connection', async () => {
  const [a, b, c] = [await Pair.busy(), await Pair.busy(), await Pair.busy()]
  a.onText = () => {
    if (a.text === 'go') b.peer.end('bye')
  }
  a.peer.write('go')
  await b.until(() => b.ended)
  assert.equal(b.text, 'bye')
  a.onText = () => {
    if (a.text === 'gone') c.peer.resetAndDestroy()
  }
  a.text = ''
  a.peer.write('gone')
  await c.until(() => c.closed)
  assert.equal(c.connection.detectedClose, DetectedClose.RemoteReset)
  for (const pair of [a, b]) pair.connection.close(CloseType.NoFlush)
})

test('a connection closed while others are read gets no more, and the next one with its descriptor its own bytes', async () => {
  const [a, b, closing] = [await Pair.busy(), await Pair.busy(), await Pair.busy()]
  a.onText = () => {
    if (closing.closed) return
    closing.peer.write('unheard')
    closing.connection.close(CloseType.NoFlush)
  }
  a.peer.write('x')
  await a.until(() => a.text === 'x')
  assert.equal(closing.text, '')
  a.text = ''
  const next = [await Pair.busy(), await Pair.busy()] as const
  assert.equal(await volley(...next, 200), letters(200))
  assert.equal(await volley(a, b, 200), letters(200))
  for (const pair of [a, b, ...next]) pair.connection.close(CloseType.NoFlush)
})

test('an error that a read in bulk is told ends the connection as it does elsewhere', async () => {
  const pair = await Pair.busy()
  pair.connection.onReadError(constants.errno.ECONNRESET)
  await pair.until(() => pair.closed)
  assert.equal(pair.connection.detectedClose, DetectedClose.RemoteReset)
})
