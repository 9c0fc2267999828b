// Writes frames straight into a connection's write buffer, and counts those a peer makes us queue.

import type { Connection } from '../../network/connection.ts'
import { ACK, DEFAULT_MAX_FRAME_SIZE, END_HEADERS, END_STREAM, FRAME_HEADER_BYTES, FrameType } from './constants.ts'
import { OutboundFrames } from './outbound-frames.ts'

/** Keeps the frames of one connection in order; HEADERS with their CONTINUATIONs are one write. */
export class FrameWriter {
  readonly connection: Connection
  readonly outbound = new OutboundFrames()
  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  maxFrameSize = DEFAULT_MAX_FRAME_SIZE

  constructor(connection: Connection) {
    this.connection = connection
  }

  /** Brings the counts of waiting frames up to date. */
  settleCounts(): void {
    const { bufferedBytes, bytesSent } = this.connection
    this.outbound.settle(bytesSent - bufferedBytes, bufferedBytes === 0)
  }

  settings(values: readonly (readonly [id: number, value: number])[]): void {
    const buffer = this.open(FrameType.Settings, 0, 0, values.length * 6)
    let at = this.at
    for (const [id, value] of values) {
      at = buffer.writeUInt16BE(id, at)
      at = buffer.writeUInt32BE(value, at)
    }
    this.close(values.length * 6)
  }

  settingsAck(): void {
    this.open(FrameType.Settings, ACK, 0, 0)
    this.control(0)
  }

  ping(payload: Buffer, start: number, ack: boolean): void {
    const buffer = this.open(FrameType.Ping, ack ? ACK : 0, 0, 8)
    payload.copy(buffer, this.at, start, start + 8)
    this.control(8)
  }

  goAway(lastStreamId: number, code: number): void {
    const buffer = this.open(FrameType.GoAway, 0, 0, 8)
    buffer.writeUInt32BE(lastStreamId, this.at)
    buffer.writeUInt32BE(code, this.at + 4)
    this.close(8)
  }

  rstStream(streamId: number, code: number): void {
    const buffer = this.open(FrameType.RstStream, 0, streamId, 4)
    buffer.writeUInt32BE(code, this.at)
    this.control(4)
  }

  windowUpdate(streamId: number, increment: number): void {
    const buffer = this.open(FrameType.WindowUpdate, 0, streamId, 4)
    buffer.writeUInt32BE(increment, this.at)
    this.close(4)
  }

  /** A header block in as many frames as it needs. */
  headers(streamId: number, block: Buffer, length: number, endStream: boolean): number {
    let type: number = FrameType.Headers
    let flags = endStream ? END_STREAM : 0
    let from = 0
    let written = 0
    do {
      const take = Math.min(length - from, this.maxFrameSize)
      if (from + take === length) flags |= END_HEADERS
      const buffer = this.open(type, flags, streamId, take)
      block.copy(buffer, this.at, from, from + take)
      this.close(take)
      from += take
      written += take + FRAME_HEADER_BYTES
      type = FrameType.Continuation
      flags = 0
    } while (from < length)
    return written
  }

  /** One DATA frame of `[start, end)`, which fits the peer's limits. */
  data(streamId: number, chunk: Buffer, start: number, end: number, endStream: boolean): void {
    const buffer = this.open(FrameType.Data, endStream ? END_STREAM : 0, streamId, end - start)
    chunk.copy(buffer, this.at, start, end)
    this.close(end - start)
  }

  /** Where the payload of the open frame begins. */
  private at = 0

  private open(type: number, flags: number, streamId: number, length: number): Buffer {
    const buffer = this.connection.reserve(FRAME_HEADER_BYTES + length)
    const at = this.connection.reserveOffset
    buffer[at] = length >> 16
    buffer[at + 1] = length >> 8
    buffer[at + 2] = length
    buffer[at + 3] = type
    buffer[at + 4] = flags
    buffer[at + 5] = streamId >> 24
    buffer[at + 6] = streamId >> 16
    buffer[at + 7] = streamId >> 8
    buffer[at + 8] = streamId
    this.at = at + FRAME_HEADER_BYTES
    return buffer
  }

  private close(length: number): void {
    this.connection.commit(FRAME_HEADER_BYTES + length)
    this.outbound.add(false, this.connection.bytesSent)
  }

  /** Frames that a peer can make us send: ACKs and resets. */
  private control(length: number): void {
    this.connection.commit(FRAME_HEADER_BYTES + length)
    this.outbound.add(true, this.connection.bytesSent)
  }
}
