// HTTP/2 frames as a client may write them, right or wrong, and what comes back, told as lines.

import { connect, type Socket } from 'node:net'
import { FRAME_HEADER_BYTES, FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { frame as frameBytes } from '../../../src/proxy/http/h2/testing.ts'
import { HpackDecoder } from '../../../src/proxy/http/hpack/decoder.ts'

export const Flag = { EndStream: 1, Ack: 1, EndHeaders: 4, Padded: 8, Priority: 32 } as const
export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

/** One frame. Byte strings are one char per byte. */
export function frame(type: number, flags: number, stream: number, payload: string): string {
  return frameBytes(type, flags, stream, Buffer.from(payload, 'latin1')).toString('latin1')
}

export function uint32(value: number): string {
  return String.fromCharCode((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
}

/** A header block of literals that no table is to remember, without Huffman codes (RFC 7541 §6.2.2). */
export function headerBlock(fields: readonly (readonly [string, string])[]): string {
  const text = (value: string): string => `${integer(value.length, 7)}${value}`
  return fields.map(([name, value]) => `\0${text(name)}${text(value)}`).join('')
}

/** RFC 7541 §5.1; the bits before the prefix are 0. */
export function integer(value: number, bits: number): string {
  const most = (1 << bits) - 1
  if (value < most) return String.fromCharCode(value)
  let out = String.fromCharCode(most)
  let rest = value - most
  for (; rest >= 128; rest >>>= 7) out += String.fromCharCode((rest & 127) | 128)
  return out + String.fromCharCode(rest)
}

/** A connection that answers SETTINGS and PING, gives back window as it reads, and notes everything else. */
export class RawHttp2 {
  readonly lines: string[] = []
  readonly closed: Promise<void>
  /** The proxy's first SETTINGS have come, or the connection is closed. */
  readonly greeted: Promise<void>
  localPort = 0
  private readonly socket: Socket
  private readonly decoder = new HpackDecoder(4096)
  private readonly ended = new Set<number>()
  private readonly bodies = new Map<number, string>()
  private pending = Buffer.alloc(0)
  private block = ''
  private pings = 0
  private acknowledged = 0
  private isClosed = false
  private wake = (): void => {}
  private greet = (): void => {}

  /** `window`: initial window of the streams. */
  constructor(port: number, window: number, socket: Socket = connect(port, '127.0.0.1')) {
    this.socket = socket
    this.socket.on('connect', () => (this.localPort = this.socket.localPort!))
    const settings = window === 65_535 ? '' : `\0\x04${uint32(window)}`
    this.write(PREFACE + frame(Frame.Settings, 0, 0, settings))
    this.socket.on('data', (chunk: Buffer) => this.read(chunk))
    // A connection that is reset has been told of before, or is seen to be closed.
    this.socket.on('error', () => {})
    this.greeted = new Promise((resolve) => (this.greet = resolve))
    this.closed = new Promise((resolve) =>
      this.socket.on('close', () => {
        this.isClosed = true
        resolve()
        this.greet()
        this.wake()
      }),
    )
  }

  write(bytes: string): void {
    if (this.socket.writable) this.socket.write(bytes, 'latin1')
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Until the stream has ended and what was sent before that has come, the connection is closed, or `ms` are over. */
  async settled(stream: number, ms: number): Promise<void> {
    const deadline = Date.now() + ms
    while (!this.isClosed && !this.ended.has(stream) && Date.now() < deadline) await this.something(deadline)
    if (this.isClosed) return
    if (!this.ended.has(stream)) this.lines.push(`${stream} (still open)`)
    this.write(frame(Frame.Ping, 0, 0, 'fence   '))
    this.pings++
    while (!this.isClosed && this.acknowledged < this.pings && Date.now() < deadline) await this.something(deadline)
  }

  private something(deadline: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, deadline - Date.now()))
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  private read(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk])
    for (;;) {
      if (this.pending.length < FRAME_HEADER_BYTES) break
      const end = FRAME_HEADER_BYTES + this.pending.readUIntBE(0, 3)
      if (this.pending.length < end) break
      const [type, flags] = [this.pending[3]!, this.pending[4]!]
      this.onFrame(type, flags, this.pending.readUInt32BE(5), this.pending.subarray(FRAME_HEADER_BYTES, end))
      this.pending = this.pending.subarray(end)
    }
    this.wake()
  }

  private onFrame(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case Frame.Data: {
        this.bodies.set(stream, (this.bodies.get(stream) ?? '') + payload.toString('latin1'))
        if (payload.length > 0) {
          this.write(frame(Frame.WindowUpdate, 0, 0, uint32(payload.length)))
          if (!(flags & Flag.EndStream)) this.write(frame(Frame.WindowUpdate, 0, stream, uint32(payload.length)))
        }
        if (flags & Flag.EndStream) this.end(stream)
        break
      }
      case Frame.Headers:
      case Frame.Continuation:
        this.block += payload.toString('latin1')
        if (flags & Flag.EndStream && type === Frame.Headers) this.ending = stream
        if (flags & Flag.EndHeaders) this.onHeaders(stream)
        break
      case Frame.RstStream:
        this.lines.push(`${stream} reset ${payload.readUInt32BE(0)}`)
        this.end(stream, false)
        break
      case Frame.Settings:
        if (flags & Flag.Ack) break
        this.lines.push(`settings ${settingsText(payload)}`)
        this.greet()
        this.write(frame(Frame.Settings, Flag.Ack, 0, ''))
        break
      case Frame.Ping:
        if (flags & Flag.Ack) this.acknowledged++
        else this.write(frame(Frame.Ping, Flag.Ack, 0, payload.toString('latin1')))
        break
      case Frame.GoAway:
        this.lines.push(`goaway ${payload.readUInt32BE(4)} last ${payload.readUInt32BE(0)}`)
        break
      case Frame.WindowUpdate:
        break
      default:
        this.lines.push(`frame ${type} of ${stream}`)
    }
  }

  /** The stream that the header block at hand ends, or 0. */
  private ending = 0

  private onHeaders(stream: number): void {
    const bytes = Buffer.from(this.block, 'latin1')
    this.block = ''
    this.lines.push(`${stream} headers after ${this.bodies.get(stream)?.length ?? 0}`)
    this.decoder.decode(bytes, 0, bytes.length, {
      onHeader: (name, value) => void this.lines.push(`${name}: ${value}`),
    })
    this.lines.push('')
    if (this.ending === stream) this.end(stream)
    this.ending = 0
  }

  private end(stream: number, whole = true): void {
    this.ended.add(stream)
    if (whole) this.lines.push(`${stream} end, body ${this.bodies.get(stream) ?? ''}`)
  }
}

/** `id=value` of each, by id. */
export function settingsText(payload: Buffer): string {
  const list: string[] = []
  for (let at = 0; at < payload.length; at += 6)
    list.push(`${payload.readUInt16BE(at)}=${payload.readUInt32BE(at + 2)}`)
  return list.sort().join(' ')
}
