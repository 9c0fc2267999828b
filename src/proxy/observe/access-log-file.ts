// Files that access logs write to. Lines are gathered and written at 64 KiB or when the flush timer fires, off the
// event loop, one write at a time and in order. Each thread has its own; O_APPEND keeps lines of several threads whole.

import { close, closeSync, constants, openSync, statSync, write, writeSync } from 'node:fs'
import { errorText } from '../../base/errors.ts'
import { LineBuffer } from './format/line-buffer.ts'
import type { Counter, Gauge, Scope } from './stats.ts'

/** `filesystem.*` */
interface FileStats {
  readonly writeBuffered: Counter
  readonly writeCompleted: Counter
  readonly writeFailed: Counter
  readonly flushedByTimer: Counter
  readonly reopenFailed: Counter
  readonly writeTotalBuffered: Gauge
  /** Lines that did not fit behind a write that stands still: `filesystem.lines_dropped`, which Envoy does not have. */
  lineDropped(): void
}

/** A quiet proxy's log needs little; a busy one's buffer grows to what it needs. */
const FIRST_BYTES = 4096
/** A backlog's buffer is not kept. */
const MAX_KEPT_BYTES = 256 * 1024
/** What may wait behind a write, of one file in one thread: a reader that stalls must not take the proxy's memory. */
const MAX_BACKLOG_BYTES = 8 * 1024 * 1024
/** How long a full pipe is left alone before the next try. */
const RETRY_MS = 5

/** How long the end of a process may wait for what its logs are written to. */
const CLOSE_MS = 1000

/** One open file. Write failures are counted and drop the chunk, as in Envoy: logging must not stop traffic. */
export class AccessLogFile {
  readonly path: string
  private fd: number
  private readonly flushBytes: number
  private readonly stats: FileStats
  /**
   * Lines as bytes. A string kept until the flush would outlive a young generation or two and be copied each time.
   */
  private readonly lines = new LineBuffer(FIRST_BYTES)
  /** The other half of the double buffer, while nothing is being written. */
  private spare: Buffer | null = null
  /** Bytes of whole lines. */
  private buffered = 0
  private writing = false
  /** What its reader does not take is written no more. */
  private givenUp = false
  /** Waits for the write that runs. */
  private onIdle: (() => void) | null = null

  constructor(path: string, fd: number, flushBytes: number, stats: FileStats) {
    this.path = path
    this.fd = fd
    this.flushBytes = flushBytes
    this.stats = stats
  }

  /** Where the next line is to be written, newline included; then endLine(). */
  beginLine(): LineBuffer {
    // What an operator that threw left of its line goes.
    this.lines.length = this.buffered
    return this.lines
  }

  /** Queues what was written since beginLine(). */
  endLine(): void {
    if (this.writing && this.lines.length > MAX_BACKLOG_BYTES) {
      this.lines.length = this.buffered
      this.stats.lineDropped()
      return
    }
    this.buffered = this.lines.length
    this.stats.writeBuffered.inc()
    if (this.buffered >= this.flushBytes) this.flush()
  }

  /** Starts writing what is queued, unless a write runs (which goes on by itself). */
  flush(): void {
    if (this.writing || this.buffered === 0) return
    this.writing = true
    this.stats.writeTotalBuffered.add(this.buffered)
    this.writeChunk(this.take(), 0)
  }

  /** Writes what is queued now, at the end of the process. */
  flushSync(): void {
    if (this.buffered === 0) return
    const chunk = this.take()
    try {
      for (let offset = 0; offset < chunk.length; ) offset += writeSync(this.fd, chunk, offset)
      this.stats.writeCompleted.inc()
    } catch {
      this.stats.writeFailed.inc()
    }
  }

  /** Goes on in a new file of the same name (log rotation); on failure the old one stays in use. */
  reopen(): void {
    if (this.fd <= 2) return
    let fd: number
    try {
      fd = openDescriptor(this.path)
    } catch {
      this.stats.reopenFailed.inc()
      return
    }
    const old = this.fd
    this.fd = fd
    // A write of a chunk may still run on the old descriptor.
    if (this.writing) setTimeout(() => close(old, () => {}), 1000).unref()
    else close(old, () => {})
  }

  /** Writes what is queued, after the write that runs: one still on its way would be lost with the process. */
  async close(): Promise<void> {
    while (this.writing) await new Promise<void>((resolve) => (this.onIdle = resolve))
    this.flushSync()
    if (this.fd > 2) closeSync(this.fd)
  }

  /** Nobody waits for the reader any more. */
  giveUp(): void {
    this.givenUp = true
  }

  /** What is queued; new lines go to the other half of the double buffer. */
  private take(): Buffer {
    const { lines } = this
    const chunk = lines.bytes.subarray(0, this.buffered)
    lines.bytes = this.spare ?? Buffer.allocUnsafeSlow(Math.min(lines.bytes.length, MAX_KEPT_BYTES))
    this.spare = null
    this.buffered = 0
    return chunk
  }

  private giveBack(chunk: Buffer): void {
    if (chunk.buffer.byteLength <= MAX_KEPT_BYTES) this.spare = Buffer.from(chunk.buffer)
  }

  private writeChunk(chunk: Buffer, offset: number): void {
    write(this.fd, chunk, offset, (error, written) => {
      if (error && error.code === 'EAGAIN') {
        if (this.givenUp) return
        setTimeout(() => this.writeChunk(chunk, offset), RETRY_MS)
        return
      }
      if (!error && offset + written < chunk.length) {
        this.writeChunk(chunk, offset + written)
        return
      }
      if (error) this.stats.writeFailed.inc()
      else this.stats.writeCompleted.inc()
      this.stats.writeTotalBuffered.sub(chunk.length)
      this.giveBack(chunk)
      this.writing = false
      this.onIdle?.()
      if (this.buffered >= this.flushBytes) this.flush()
    })
  }
}

/** The access log files of one thread, by path. */
export class AccessLogFiles {
  private readonly files = new Map<string, AccessLogFile>()
  private readonly flushBytes: number
  private readonly stats: FileStats
  private readonly timer: NodeJS.Timeout

  /** `flushIntervalMs`: --file-flush-interval-msec; `flushBytes`: write at this size without waiting for the timer. */
  constructor(flushIntervalMs: number, flushBytes: number, stats: Scope) {
    this.flushBytes = flushBytes
    const scope = stats.scope('filesystem')
    this.stats = {
      writeBuffered: scope.counter('write_buffered'),
      writeCompleted: scope.counter('write_completed'),
      writeFailed: scope.counter('write_failed'),
      flushedByTimer: scope.counter('flushed_by_timer'),
      reopenFailed: scope.counter('reopen_failed'),
      writeTotalBuffered: scope.gauge('write_total_buffered'),
      lineDropped: () => scope.counter('lines_dropped').inc(),
    }
    this.timer = setInterval(() => this.flushByTimer(), flushIntervalMs)
    this.timer.unref()
  }

  /** The file of this path, opened for appending at first use. Throws when it cannot be opened. */
  open(path: string): AccessLogFile {
    let file = this.files.get(path)
    if (file) return file
    let fd: number
    try {
      fd = openDescriptor(path)
    } catch (error) {
      throw new Error(`unable to open file '${path}': ${errorText(error)}`, { cause: error })
    }
    file = new AccessLogFile(path, fd, this.flushBytes, this.stats)
    this.files.set(path, file)
    return file
  }

  /** SIGUSR1 and POST /reopen_logs. */
  reopen(): void {
    for (const file of this.files.values()) file.reopen()
  }

  /** Writes everything out and closes; the last thing a thread does. Gives up on a reader that takes nothing. */
  async close(): Promise<void> {
    clearInterval(this.timer)
    const files = [...this.files.values()]
    this.files.clear()
    let timer: NodeJS.Timeout | undefined
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_MS)))
    await Promise.race([tooLong, Promise.all(files.map((file) => file.close()))])
    clearTimeout(timer)
    for (const file of files) file.giveUp()
  }

  private flushByTimer(): void {
    this.stats.flushedByTimer.inc()
    for (const file of this.files.values()) file.flush()
  }
}

/**
 * /dev/stdout cannot be opened by name when it is a socket, and must not be truncated when it is a file. A named pipe must
 * hold up nobody: without a reader opening it would hold this thread, and a write to a full one a thread of libuv's few.
 */
function openDescriptor(path: string): number {
  if (path === '/dev/stdout') return 1
  if (path === '/dev/stderr') return 2
  const isPipe = statSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false
  return openSync(path, isPipe ? constants.O_RDWR | constants.O_NONBLOCK : 'a')
}
