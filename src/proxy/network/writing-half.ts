// The writing half of a connection over a socket.
//
// Small writes gather in a borrowed write buffer and leave in one system call at the end of the read callback. The system
// call is send(2) on the descriptor itself as long as nothing is queued in the stream: it takes the bytes before it
// returns, so the buffer can be used again at once, and it skips the stream machinery, which costs more than the call.
// What the kernel does not take is copied and queued in the stream.

import type { Socket } from 'node:net'
import type { Gauge } from '../observe/stats.ts'
import { BufferedGauges } from './buffered-gauges.ts'
import type { ConnectionCallbacks } from './connection.ts'
import { sendBytes } from './send.ts'
import { hasHandle } from './socket-handle.ts'
import { StreamQueue } from './stream-queue.ts'
import type { TlsLayer } from './tls-layer.ts'
import { brokenPipe } from './transport-error.ts'
import {
  acquireWriteBuffer,
  enterRead,
  leaveRead,
  markDirty,
  markDirtyForBatch,
  releaseWriteBuffer,
  WRITE_BUFFER_BYTES,
} from './write-buffer.ts'

/** Chunks of this size go to the socket without a copy. */
const DIRECT_WRITE_BYTES = 16 * 1024
const DEFAULT_BUFFER_LIMIT = 1024 * 1024

/** In this order. */
export const State = { Connecting: 0, Open: 1, Closing: 2, Closed: 3 } as const
export type State = (typeof State)[keyof typeof State]

const IGNORE: ConnectionCallbacks = {
  onData() {},
  onEvent() {},
  onAboveWriteBufferHighWatermark() {},
  onBelowWriteBufferLowWatermark() {},
}

/** A base class and no part of its own: reading, closing and writing change the same state, and every byte passes here. */
export abstract class WritingHalf {
  callbacks: ConnectionCallbacks = IGNORE
  bytesSent = 0
  reserveOffset = 0
  aboveHighWatermark = false
  batchWrites = false

  protected buffered: BufferedGauges | null = null
  protected socket: Socket
  protected state: State
  /** -1 while connecting: then bytes go through the stream. */
  protected fd = -1
  protected tls: TlsLayer | null = null
  protected used = 0
  protected endAfterFlush = false
  protected writeEnded = false
  private buffer: Buffer | null = null
  private dirty = false
  private bufferLimit = DEFAULT_BUFFER_LIMIT
  private streamQueue: StreamQueue | null = null

  constructor(socket: Socket, state: State) {
    this.socket = socket
    this.state = state
  }

  abstract onFault(error: unknown): void
  /** Everything is written and the half-close said. */
  protected abstract onWriteEnded(): void

  get bufferedBytes(): number {
    return this.used + this.socket.writableLength
  }

  setBufferLimits(bytes: number): void {
    this.bufferLimit = bytes > 0 ? bytes : Number.POSITIVE_INFINITY
  }

  countBuffered(rx: Gauge, tx: Gauge): void {
    this.buffered?.release()
    this.buffered = new BufferedGauges(rx, tx)
  }

  write(chunk: Buffer, endStream: boolean): void {
    if (this.state > State.Open || this.writeEnded) return
    const length = chunk.length
    this.bytesSent += length
    if (length >= DIRECT_WRITE_BYTES && this.state === State.Open) {
      if (this.used > 0) this.flushBuffer()
      this.send(chunk, length)
      this.checkHighWatermark()
    } else if (length > 0) {
      chunk.copy(this.room(length), this.used)
      this.used += length
      this.schedule()
    }
    if (endStream) {
      this.writeEnded = true
      this.endAfterFlush = true
      this.schedule()
    }
  }

  reserve(size: number): Buffer {
    const buffer = this.room(size)
    this.reserveOffset = this.used
    return buffer
  }

  commit(used: number): void {
    if (this.state > State.Open || this.writeEnded) return
    this.bytesSent += used
    this.used += used
    this.schedule()
  }

  flush(): void {
    this.dirty = false
    if (this.state === State.Connecting) {
      if (this.used > this.bufferLimit) this.checkHighWatermark()
      return
    }
    if (this.state === State.Closed) return
    if (this.used > 0) this.flushBuffer()
    if (this.endAfterFlush) {
      this.endAfterFlush = false
      this.tls?.sayCloseNotify()
      this.socket.end()
      this.onWriteEnded()
    }
    this.checkHighWatermark()
  }

  /** Bytes may go to the descriptor: nothing waits in the stream, and the descriptor is still this socket's. */
  writesDirectly(): boolean {
    return this.fd >= 0 && this.socket.writableLength === 0 && hasHandle(this.socket)
  }

  /** The write buffer with at least `size` free bytes after `used`. */
  private room(size: number): Buffer {
    const buffer = this.buffer
    if (buffer !== null) {
      if (buffer.length - this.used >= size) return buffer
      if (this.state === State.Open && this.used > 0) {
        this.flushBuffer()
        return this.room(size)
      }
      return this.grow(buffer, this.used + size)
    }
    this.buffer = size <= WRITE_BUFFER_BYTES ? acquireWriteBuffer() : Buffer.allocUnsafeSlow(size)
    return this.buffer
  }

  /** While connecting nothing can leave: the buffer grows with what is written (bounded by the owner's watermarks). */
  private grow(buffer: Buffer, needed: number): Buffer {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, buffer.length * 2))
    buffer.copy(larger, 0, 0, this.used)
    releaseWriteBuffer(buffer)
    this.buffer = larger
    return larger
  }

  private schedule(): void {
    if (this.dirty) return
    this.dirty = true
    if (this.batchWrites) markDirtyForBatch(this)
    else markDirty(this)
  }

  /** Nothing more will leave: the buffer goes back. */
  protected dropBuffer(): void {
    if (this.buffer === null) return
    releaseWriteBuffer(this.buffer)
    this.buffer = null
    this.used = 0
  }

  protected flushBuffer(): void {
    const buffer = this.buffer!
    const used = this.used
    this.buffer = null
    this.used = 0
    this.send(buffer, used)
    releaseWriteBuffer(buffer)
  }

  /** Gives the first `length` bytes to the kernel; refers to `buffer` no more when it returns. */
  private send(buffer: Buffer, length: number): void {
    const { socket, tls } = this
    if (tls !== null) {
      if (!tls.write(buffer, length)) socket.destroy(brokenPipe())
      return
    }
    // A broken socket takes nothing: the stream meets the same error and reports it the ordinary way.
    const taken = this.writesDirectly() ? sendBytes(this.fd, buffer, length) : 0
    if (taken === length) return
    this.queue().copy(socket, buffer, taken, length)
    this.buffered?.setUnsent(socket.writableLength)
  }

  queueRecords(bytes: Buffer): void {
    this.queue().take(this.socket, bytes)
    this.buffered?.setUnsent(this.socket.writableLength)
  }

  private queue(): StreamQueue {
    this.streamQueue ??= new StreamQueue(this)
    return this.streamQueue
  }

  onQueuedWritten(): void {
    if (this.state !== State.Closed) this.buffered?.setUnsent(this.socket.writableLength)
    this.checkLowWatermark()
  }

  private checkHighWatermark(): void {
    if (this.aboveHighWatermark || this.bufferedBytes <= this.bufferLimit || this.state > State.Open) return
    this.aboveHighWatermark = true
    this.callbacks.onAboveWriteBufferHighWatermark()
  }

  private checkLowWatermark(): void {
    if (!this.aboveHighWatermark || this.bufferedBytes > this.bufferLimit / 2 || this.state > State.Open) return
    this.aboveHighWatermark = false
    enterRead()
    try {
      this.callbacks.onBelowWriteBufferLowWatermark()
    } catch (error) {
      this.onFault(error)
    }
    leaveRead()
  }
}
