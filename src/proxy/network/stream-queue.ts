// What the kernel did not take of a connection's bytes: copied, since they are borrowed, and queued in the stream. Only
// connections that ever queue have one.

import type { Socket } from 'node:net'
import { acquireChunk, releaseChunk } from './queue-chunks.ts'

interface QueueOwner {
  /** The stream has written the oldest of what was queued, or an error ended it. */
  onQueuedWritten(): void
}

export class StreamQueue {
  /** Oldest first; null = memory of its own. */
  private readonly chunks: (Buffer | null)[] = []
  private readonly owner: QueueOwner

  constructor(owner: QueueOwner) {
    this.owner = owner
  }

  /** Bytes `from` to `to` of a borrowed buffer. */
  copy(socket: Socket, buffer: Buffer, from: number, to: number): void {
    const length = to - from
    const chunk = acquireChunk(length)
    const copy = chunk === null ? Buffer.allocUnsafeSlow(length) : chunk.subarray(0, length)
    buffer.copy(copy, 0, from, to)
    this.write(socket, copy, chunk)
  }

  /** Bytes that nobody else refers to. */
  take(socket: Socket, bytes: Buffer): void {
    this.write(socket, bytes, null)
  }

  private write(socket: Socket, bytes: Buffer, chunk: Buffer | null): void {
    this.chunks.push(chunk)
    socket.write(bytes, this.onWritten)
  }

  /** After an error the stream may not be done with the chunk: then it is left to it. */
  private readonly onWritten = (error: Error | null | undefined): void => {
    const chunk = this.chunks.shift()!
    if (chunk !== null && !error) releaseChunk(chunk)
    this.owner.onQueuedWritten()
  }
}
