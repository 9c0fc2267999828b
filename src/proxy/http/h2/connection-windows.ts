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
  /** Streams whose body waits for a window, in a row: they hold each other, for a Set writes itself anew (NumberedTable). */
  private first: Http2Stream | null = null
  private last: Http2Stream | null = null
  private waiting = 0
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
    for (let turns = this.waiting; turns > 0 && this.sendWindow > 0; turns--) {
      const stream = this.first
      if (stream === null) return
      this.unblock(stream)
      this.block(stream)
      stream.flushQueue()
    }
  }

  /** The stream's body waits for a window: it goes to the end of the row. */
  block(stream: Http2Stream): void {
    if (stream.blocked) return
    stream.blocked = true
    stream.blockedBefore = this.last
    if (this.last === null) this.first = stream
    else this.last.blockedBehind = stream
    this.last = stream
    this.waiting++
  }

  /** It waits no more, or is over. */
  unblock(stream: Http2Stream): void {
    if (!stream.blocked) return
    const { blockedBefore: before, blockedBehind: behind } = stream
    stream.blocked = false
    stream.blockedBefore = null
    stream.blockedBehind = null
    if (before === null) this.first = behind
    else before.blockedBehind = behind
    if (behind === null) this.last = before
    else behind.blockedBefore = before
    this.waiting--
  }
}
