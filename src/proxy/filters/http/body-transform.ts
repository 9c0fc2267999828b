// Sends a body through a compressor or decompressor of node:zlib, which works beside the event loop: chunks go in as they
// come, and what comes out goes on when it is there.

import type { Transform } from 'node:stream'
import type { Counter } from '../../observe/stats.ts'
import type { BodySink } from './body-sink.ts'

/** A zlib stream. */
export interface ZlibStream extends Transform {
  /** Gives out what it has taken so far; with the bytes that mark this place. */
  flush(callback?: () => void): void
  flush(kind: number, callback?: () => void): void
}

export interface TransformStats {
  readonly bytesIn: Counter
  readonly bytesOut: Counter
}

interface Options {
  readonly stats: TransformStats
  /** Bytes that may wait before the sender is paused. */
  readonly bufferLimit: number
  /** Flush of every chunk, so that a stream of messages stays one; null = the stream gives out what it can anyway. */
  readonly flush: number | null
  /** Most bytes out for one byte in; a body that grows more is given up. 0 = any. */
  readonly maxRatio: number
  /** The body is none of this kind; what has come of it goes on, the rest does not. */
  readonly onError: (code: string) => void
  /** Before the end goes on; true when it has added trailers. */
  readonly onEnd: ((bytesIn: number, bytesOut: number) => boolean) | null
}

const EMPTY = Buffer.alloc(0)
const TOO_MUCH = 'Z_DATA_ERROR'

export class BodyTransform {
  private readonly sink: BodySink
  private readonly zlib: ZlibStream
  private readonly options: Options
  private paused = false
  private failed = false
  private sawEnd = false
  private sawTrailers = false
  private destroyed = false
  private bytesIn = 0
  private bytesOut = 0

  constructor(sink: BodySink, zlib: ZlibStream, options: Options) {
    this.sink = sink
    this.zlib = zlib
    this.options = options
    zlib.on('data', (chunk: Buffer) => this.guard(() => this.onData(chunk)))
    zlib.on('end', () => this.guard(() => this.finish()))
    zlib.on('error', (error: NodeJS.ErrnoException) => this.guard(() => this.fail(error.code ?? '')))
  }

  /** Events come from nobody's callback: a fault is the stream's. */
  private guard(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.sink.onFault(error)
    }
  }

  /** `chunk` is borrowed. */
  write(chunk: Buffer, endStream: boolean): void {
    const { options, zlib } = this
    this.bytesIn += chunk.length
    options.stats.bytesIn.add(chunk.length)
    if (!this.failed) {
      if (chunk.length > 0) {
        zlib.write(Buffer.from(chunk))
        if (options.flush !== null && !endStream) zlib.flush(options.flush)
        if (!this.paused && zlib.writableLength > options.bufferLimit) this.setPaused(true)
      }
    }
    if (endStream) this.end()
  }

  /** The trailers wait for the body. */
  trailers(): void {
    this.sawTrailers = true
    this.end()
  }

  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.zlib.destroy()
  }

  private end(): void {
    this.sawEnd = true
    if (!this.failed) this.zlib.end()
    // Not from within the call that brought the end: the chain has not yet noted that this filter keeps it.
    else setImmediate(() => this.guard(() => this.finish()))
  }

  private onData(chunk: Buffer): void {
    if (this.destroyed || this.failed) return
    this.bytesOut += chunk.length
    const { maxRatio, stats, bufferLimit } = this.options
    if (maxRatio > 0 && this.bytesOut > this.bytesIn * maxRatio) {
      this.fail(TOO_MUCH)
      return
    }
    stats.bytesOut.add(chunk.length)
    this.sink.passOn(chunk, false)
    if (this.paused && this.zlib.writableLength <= bufferLimit / 2) this.setPaused(false)
  }

  private fail(code: string): void {
    if (this.destroyed || this.failed) return
    this.failed = true
    this.options.onError(code)
    this.zlib.destroy()
    if (this.paused) this.setPaused(false)
    if (this.sawEnd) this.finish()
  }

  private finish(): void {
    if (this.destroyed) return
    const added = this.options.onEnd?.(this.bytesIn, this.bytesOut) ?? false
    this.destroy()
    if (this.paused) this.setPaused(false)
    if (this.sawTrailers || added) this.sink.passOnTrailers()
    else this.sink.passOn(EMPTY, true)
  }

  private setPaused(paused: boolean): void {
    this.paused = paused
    this.sink.pause(paused)
  }
}
