// The windows of a connection as a whole (RFC 9113 §5.2), both ways, and the streams that wait for them.

import type { Http2Options } from '../connection-manager/config.ts'
import { DEFAULT_WINDOW, MAX_WINDOW } from './constants.ts'
import type { FrameWriter } from './frame-writer.ts'
import type { Http2Stream } from './stream.ts'

export class ConnectionWindows {
  /** What we may send. */
  sendWindow = DEFAULT_WINDOW
  /** Of each stream of the peer's, at its begin. */
  readonly initialWindow: number
  /** Streams whose body waits for a window. */
  readonly blocked = new Set<Http2Stream>()
  /** Nothing is said to the peer any more. */
  closed = false
  /** What the peer may send. */
  private receiveWindow = DEFAULT_WINDOW
  private readonly full: number
  /** Consumed bytes for which no WINDOW_UPDATE was sent. */
  private unacknowledged = 0
  private readonly writer: FrameWriter

  constructor(options: Http2Options, writer: FrameWriter) {
    this.writer = writer
    this.initialWindow = options.initialStreamWindowSize
    this.full = Math.max(options.initialConnectionWindowSize, DEFAULT_WINDOW)
  }

  /** SETTINGS say nothing of this window: its size is told in a WINDOW_UPDATE (§6.9.2). */
  open(): void {
    if (this.full <= this.receiveWindow) return
    this.writer.windowUpdate(0, this.full - this.receiveWindow)
    this.receiveWindow = this.full
  }

  /** A DATA frame of `bytes`; false: more than the peer may send. */
  receive(bytes: number): boolean {
    this.receiveWindow -= bytes
    return this.receiveWindow >= 0
  }

  /** `bytes` of body were taken off the window and are used up. */
  consumed(bytes: number): void {
    this.unacknowledged += bytes
    if (this.unacknowledged < this.full >> 1 || this.closed) return
    this.writer.windowUpdate(0, this.unacknowledged)
    this.receiveWindow += this.unacknowledged
    this.unacknowledged = 0
  }

  /** The peer's WINDOW_UPDATE; false: the window is larger than one can be (§6.9.1). */
  grow(increment: number): boolean {
    this.sendWindow += increment
    if (this.sendWindow > MAX_WINDOW) return false
    this.flushBlocked()
    return true
  }

  /** Every waiting stream gets its turn; who waits again goes to the end. */
  flushBlocked(): void {
    if (this.blocked.size === 0 || this.sendWindow <= 0) return
    for (const stream of [...this.blocked]) {
      if (this.sendWindow <= 0) return
      this.blocked.delete(stream)
      this.blocked.add(stream)
      stream.flushQueue()
    }
  }

  /** The stream is over. */
  forget(stream: Http2Stream): void {
    if (this.blocked.size > 0) this.blocked.delete(stream)
  }
}
