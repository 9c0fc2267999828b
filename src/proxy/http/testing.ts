// Test support: a Connection that keeps what is written, for driving codecs without sockets.

import { ipAddress } from '../network/address.ts'
import { DetectedClose } from '../network/close.ts'
import type { Connection, ConnectionCallbacks } from '../network/connection.ts'
import { SocketConnectionInfo } from '../network/connection-info.ts'

const ADDRESS = ipAddress('127.0.0.1', 80)

export class MemoryConnection implements Connection {
  readonly id = 1
  readonly info = new SocketConnectionInfo(ADDRESS, ADDRESS)
  callbacks!: ConnectionCallbacks
  open = true
  readonly connecting = false
  readonly connectTimedOut = false
  readonly bindFailed = false
  readonly delayedCloseTimedOut = false
  localCloseReason = ''
  readonly bufferedBytes = 0
  readonly aboveHighWatermark = false
  readonly bytesReceived = 0
  bytesSent = 0
  readonly detectedClose = DetectedClose.Normal
  readonly transportFailureReason = ''
  readonly reserveOffset = 0
  batchWrites = false
  paused = 0
  private readonly written: Buffer[] = []
  private reserved = Buffer.alloc(0)

  get output(): Buffer {
    return Buffer.concat(this.written)
  }
  write(chunk: Buffer): void {
    if (!this.open) return
    this.bytesSent += chunk.length
    this.written.push(Buffer.from(chunk))
  }
  reserve(size: number): Buffer {
    this.reserved = Buffer.alloc(size)
    return this.reserved
  }
  commit(used: number): void {
    this.write(this.reserved.subarray(0, used))
  }
  flush(): void {}
  readDisable(disable: boolean): void {
    this.paused += disable ? 1 : -1
    if (this.paused < 0) throw new Error('readDisable(false) without its readDisable(true)')
  }
  close(): void {
    this.open = false
  }
  countBuffered(): void {}
  setBufferLimits(): void {}
  setDelayedCloseTimeoutMs(): void {}
  onFault(error: unknown): void {
    throw error
  }
  setNoDelay(): void {}
}
