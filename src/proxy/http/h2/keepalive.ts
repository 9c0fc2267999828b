// PING keep-alive (connection_keepalive): a peer that does not answer in time is gone.

import { now } from '../../../base/clock.ts'
import { CloseType, type Connection } from '../../network/connection.ts'
import type { Http2Options } from '../connection-manager/config.ts'
import { Http2Details } from './error.ts'
import type { FrameWriter } from './frame-writer.ts'
import type { Http2Stats } from './stats.ts'

const PAYLOAD = Buffer.alloc(8)

export class Keepalive {
  private readonly options: Http2Options
  private readonly writer: FrameWriter
  private readonly stats: Http2Stats
  private readonly connection: Connection
  private timer: NodeJS.Timeout | null = null
  private deadline: NodeJS.Timeout | null = null
  private lastBytesMs = now()

  /** null when it is off. */
  static of(options: Http2Options, writer: FrameWriter, stats: Http2Stats, connection: Connection): Keepalive | null {
    return options.keepaliveIntervalMs > 0 || options.keepaliveIdleMs > 0
      ? new Keepalive(options, writer, stats, connection)
      : null
  }

  constructor(options: Http2Options, writer: FrameWriter, stats: Http2Stats, connection: Connection) {
    this.options = options
    this.writer = writer
    this.stats = stats
    this.connection = connection
    if (options.keepaliveIntervalMs > 0) this.schedule()
  }

  /** Any byte proves that the peer is there. */
  onBytes(): void {
    this.lastBytesMs = now()
    if (this.deadline === null) return
    clearTimeout(this.deadline)
    this.deadline = null
    if (this.options.keepaliveIntervalMs > 0 && this.timer === null) this.schedule()
  }

  /** A request after a long silence is not trusted to an untested connection. */
  onStream(): void {
    const { keepaliveIdleMs } = this.options
    if (keepaliveIdleMs > 0 && now() - this.lastBytesMs > keepaliveIdleMs && !this.connection.connecting) this.ping()
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    if (this.deadline !== null) clearTimeout(this.deadline)
    this.timer = null
    this.deadline = null
  }

  private schedule(): void {
    const { keepaliveIntervalMs, keepaliveJitterPercent } = this.options
    const jitter = (Math.random() * keepaliveIntervalMs * keepaliveJitterPercent) / 100
    this.timer = setTimeout(onInterval, keepaliveIntervalMs + jitter, this).unref()
  }

  ping(): void {
    this.timer = null
    if (!this.connection.open) return
    if (this.deadline !== null) return
    this.writer.ping(PAYLOAD, 0, false)
    this.deadline = setTimeout(onDeadline, this.options.keepaliveTimeoutMs, this).unref()
  }

  expire(): void {
    this.deadline = null
    if (!this.connection.open) return
    this.stats.keepaliveTimeout.inc()
    this.connection.close(CloseType.NoFlush, Http2Details.KeepaliveTimeout)
  }
}

function onInterval(keepalive: Keepalive): void {
  keepalive.ping()
}

function onDeadline(keepalive: Keepalive): void {
  keepalive.expire()
}
