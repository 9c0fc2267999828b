// What the peer sends is given back to it, whatever becomes of it: a window that leaks stops a connection in the end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StatsStore } from '../../observe/stats-store.ts'
import { type RequestDecoder, type ResponseEncoder, StreamResetReason } from '../codec.ts'
import { HeaderMap } from '../header-map.ts'
import { parseHttp2Options } from '../parse-options.ts'
import { MemoryConnection } from '../testing.ts'
import { Http2ServerConnection } from './server.ts'
import { Http2Stats } from './stats.ts'
import { frame } from './testing.ts'

const LIMITS = { maxBytes: 60 * 1024, maxHeaders: 100, underscores: 'ALLOW', allowConnect: true } as const
const WINDOW = 64 * 1024
/** POST https://h/ */
const POST = Buffer.concat([Buffer.from([0x83, 0x87, 0x84, 0x41, 1]), Buffer.from('h')])

class Peer {
  readonly connection = new MemoryConnection()
  readonly codec: Http2ServerConnection

  constructor(decoder: (encoder: ResponseEncoder) => Pick<RequestDecoder, 'decodeData'>) {
    const options = {
      ...parseHttp2Options(undefined),
      initialStreamWindowSize: WINDOW,
      initialConnectionWindowSize: WINDOW,
    }
    const newStream = (encoder: ResponseEncoder): RequestDecoder => ({
      decodeHeaders() {},
      decodeTrailers() {},
      sendCodecError() {},
      ...decoder(encoder),
    })
    const callbacks = { newStream, onGoAway() {} }
    this.codec = new Http2ServerConnection(
      this.connection,
      callbacks,
      options,
      LIMITS,
      new Http2Stats(new StatsStore()),
    )
    this.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0))
  }

  send(...bytes: Buffer[]): void {
    for (const piece of bytes) assert.equal(this.codec.dispatch(piece), null)
  }

  /** Sum of the WINDOW_UPDATEs of `stream` so far, the one that makes the first window a byte larger among them. */
  given(stream: number): number {
    const { output } = this.connection
    let sum = 0
    for (let at = 0; at < output.length; at += 9 + output.readUIntBE(at, 3))
      if (output[at + 3] === 8 && output.readUInt32BE(at + 5) === stream) sum += output.readUInt32BE(at + 9)
    return sum
  }
}

test('padding is given back in both windows', () => {
  let received = 0
  const peer = new Peer(() => ({ decodeData: (chunk) => (received += chunk.length) }))
  peer.send(frame(1, 4, 1, POST))
  const padded = frame(0, 8, 1, Buffer.concat([Buffer.from([255, 0x61]), Buffer.alloc(255)]))
  for (let sent = 0; sent < 10 * WINDOW; sent += 257) peer.send(padded)
  assert.equal(received, Math.ceil((10 * WINDOW) / 257))
  assert.ok(peer.given(0) >= 9 * WINDOW)
  assert.ok(peer.given(1) >= 9 * WINDOW)
})

test('what comes of a frame whose stream has ended meanwhile is given back', () => {
  const peer = new Peer((encoder) => ({ decodeData: () => encoder.stream.resetStream(StreamResetReason.LocalReset) }))
  const streams = 40
  for (let i = 0; i < streams; i++) {
    const id = 2 * i + 1
    const data = frame(0, 0, id, Buffer.alloc(16_384))
    peer.send(frame(1, 4, id, POST), data.subarray(0, 1000), data.subarray(1000))
  }
  assert.ok(peer.given(0) >= streams * 16_384 - WINDOW)
  assert.ok(peer.given(0) - 1 <= streams * 16_384)
})

test('what is held for a paused reader is given back once when its stream ends', () => {
  let encoder!: ResponseEncoder
  let pieces = 0
  const peer = new Peer((e) => {
    encoder = e
    return {
      decodeData: () => {
        pieces++
        e.stream.resetStream(StreamResetReason.LocalReset)
      },
    }
  })
  for (let id = 1; id < 21; id += 2) {
    peer.send(frame(1, 4, id, POST))
    encoder.stream.readDisable(true)
    for (let i = 0; i < 3; i++) peer.send(frame(0, 0, id, Buffer.alloc(16_000)))
    encoder.stream.readDisable(false)
  }
  assert.equal(pieces, 10)
  assert.ok(peer.given(0) - 1 <= 10 * 3 * 16_000)
})

/** One SETTINGS frame of SETTINGS_INITIAL_WINDOW_SIZE again and again. */
function windows(...sizes: number[]): Buffer {
  const payload = Buffer.alloc(6 * sizes.length)
  sizes.forEach((size, i) => {
    payload.writeUInt16BE(4, 6 * i)
    payload.writeUInt32BE(size, 6 * i + 2)
  })
  return frame(4, 0, 0, payload)
}

test('thousands of windows in one SETTINGS frame cost the streams one change, and the last one holds', (t) => {
  const encoders: ResponseEncoder[] = []
  const peer = new Peer((encoder) => {
    encoders.push(encoder)
    return { decodeData() {} }
  })
  peer.send(windows(0))
  for (let id = 1; id <= 9; id += 2) peer.send(frame(1, 5, id, POST))
  const headers = new HeaderMap()
  headers.status = 200
  for (const encoder of encoders) {
    encoder.encodeHeaders(headers, false)
    encoder.encodeData(Buffer.alloc(10, 'x'), true)
  }
  const sent = (): number[] => {
    const { output } = peer.connection
    const ids: number[] = []
    for (let at = 0; at < output.length; at += 9 + output.readUIntBE(at, 3))
      if (output[at + 3] === 0) ids.push(output.readUInt32BE(at + 5))
    return ids
  }
  assert.deepEqual(sent(), [])
  const walks = t.mock.method(peer.codec.streams, 'all')
  peer.send(windows(...Array.from({ length: 2700 }, (_, i) => (i % 2) * 100), 4))
  assert.equal(walks.mock.callCount(), 1)
  // Four bytes each, in the order in which they wait; then the rest.
  assert.deepEqual(sent(), [1, 3, 5, 7, 9])
  const before = peer.connection.output.length
  peer.send(windows(100))
  // The acknowledgement comes first (RFC 9113 §6.5.3): a peer may not expect so much DATA before it.
  assert.deepEqual(peer.connection.output.subarray(before, before + 9), frame(4, 1, 0))
  assert.deepEqual(sent(), [1, 3, 5, 7, 9, 1, 3, 5, 7, 9])
})

test('a window that a SETTINGS frame makes too large in between ends the connection', () => {
  const peer = new Peer(() => ({ decodeData() {} }))
  peer.send(frame(1, 5, 1, POST), frame(8, 0, 1, Buffer.from([0, 0, 0, 1])))
  assert.match(String(peer.codec.dispatch(windows(0x7fffffff, 65_535))?.message), /SETTINGS_INITIAL_WINDOW_SIZE/)
})
