import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, createGunzip, createGzip, gunzipSync, gzipSync } from 'node:zlib'
import { StatsStore } from '../../observe/stats-store.ts'
import type { BodySink } from './body-sink.ts'
import { BodyTransform, type ZlibStream } from './body-transform.ts'

/** What went on, until the end. */
class Collected implements BodySink {
  readonly chunks: Buffer[] = []
  readonly pauses: boolean[] = []
  onChunk: (() => void) | null = null
  private over!: (how: 'end' | 'trailers') => void
  readonly ended = new Promise<'end' | 'trailers'>((resolve) => {
    this.over = resolve
  })
  passOn(chunk: Buffer, endStream: boolean): void {
    if (chunk.length > 0) this.chunks.push(chunk)
    this.onChunk?.()
    if (endStream) this.over('end')
  }
  passOnTrailers(): void {
    this.over('trailers')
  }
  onFault(error: unknown): void {
    throw error
  }
  pause(pause: boolean): void {
    this.pauses.push(pause)
  }
  get body(): Buffer {
    return Buffer.concat(this.chunks)
  }
}

function transform(zlib: ZlibStream, more: { flush?: number; maxRatio?: number; bufferLimit?: number } = {}) {
  const scope = new StatsStore().scope('t')
  const sink = new Collected()
  const errors: string[] = []
  const stats = { bytesIn: scope.counter('in'), bytesOut: scope.counter('out') }
  const body = new BodyTransform(sink, zlib, {
    stats,
    bufferLimit: more.bufferLimit ?? 1024 * 1024,
    flush: more.flush ?? null,
    maxRatio: more.maxRatio ?? 0,
    onError: (code) => errors.push(code),
    onEnd: null,
  })
  return { sink, errors, stats, body }
}

test('what went in comes out, and is counted', async () => {
  const { sink, stats, body } = transform(createGzip())
  body.write(Buffer.from('hello '), false)
  body.write(Buffer.from('world'), true)
  assert.equal(await sink.ended, 'end')
  assert.equal(gunzipSync(sink.body).toString(), 'hello world')
  assert.equal(stats.bytesIn.value, 11)
  assert.equal(stats.bytesOut.value, sink.body.length)
})

test('a chunk comes out before the next one is there', async () => {
  const { sink, body } = transform(createGzip(), { flush: constants.Z_SYNC_FLUSH })
  const message = new Promise<void>((resolve) => {
    sink.onChunk = () => {
      const soFar = gunzipSync(sink.body, { finishFlush: constants.Z_SYNC_FLUSH }).toString()
      if (soFar === 'first') resolve()
    }
  })
  body.write(Buffer.from('first'), false)
  await message
  body.destroy()
})

test('trailers follow the body', async () => {
  const { sink, body } = transform(createGunzip())
  body.write(gzipSync('x'), false)
  body.trailers()
  assert.equal(await sink.ended, 'trailers')
  assert.equal(sink.body.toString(), 'x')
})

test('what is no such body ends, with an error, and so does one that grows too much', async () => {
  const garbage = transform(createGunzip())
  garbage.body.write(Buffer.from('garbage'), false)
  garbage.body.write(Buffer.from('more'), true)
  await garbage.sink.ended
  assert.deepEqual(garbage.errors, ['Z_DATA_ERROR'])
  const bomb = transform(createGunzip(), { maxRatio: 100 })
  bomb.body.write(gzipSync(Buffer.alloc(10_000_000)), true)
  await bomb.sink.ended
  assert.deepEqual(bomb.errors, ['Z_DATA_ERROR'])
  assert.ok(bomb.sink.body.length < 1_100_000)
})

test('the sender waits while too much is on its way', async () => {
  const { sink, body } = transform(createGzip(), { bufferLimit: 1000 })
  for (let i = 0; i < 10; i++) body.write(Buffer.alloc(400, i), false)
  assert.deepEqual(sink.pauses, [true])
  body.write(Buffer.alloc(0), true)
  await sink.ended
  assert.deepEqual(sink.pauses, [true, false])
})
