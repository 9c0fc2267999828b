// One end of an HTTP/2 connection at the frame level, client or server: it writes what it is told, right or wrong, answers
// SETTINGS and PING, and notes what comes as lines.

import type { Socket } from 'node:net'
import { FRAME_HEADER_BYTES, FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { HpackDecoder } from '../../../src/proxy/http/hpack/decoder.ts'
import { Flag, frame, integer, PREFACE, settingsText, uint32 } from '../harness/raw-http2.ts'

/** Longer than any timeout of the configurations here that ends a connection. */
const FENCE_MS = 2000
const TABLE_SIZE = 1
/** More than either proxy may be told to pass on. */
const LARGEST_FIELD = 1024 * 1024
const CLIENT_PREFACE = Buffer.from(PREFACE, 'latin1')

export type Field = readonly [string, string]

/** Called with the first header block of a stream. */
export type OnStream = (peer: Http2Peer, stream: number) => void

export class Http2Peer {
  /** What came, in order; DATA of a stream is one line as long as nothing else of that stream comes between. */
  readonly lines: string[] = []
  readonly localPort: number
  /** Windows are given back as DATA comes. */
  givesWindow = true
  closed = false
  private readonly socket: Socket
  private readonly onStream: OnStream
  private readonly decoder = new HpackDecoder(4096, LARGEST_FIELD)
  private readonly known = new Set<number>()
  /** Of each stream whose last line is about DATA: that line. */
  private readonly dataLines = new Map<number, { line: number; bytes: number }>()
  private pending: Buffer = Buffer.alloc(0)
  private prefaceLeft: number
  private block = ''
  private blockFlags = 0
  private pings = 0
  private acknowledged = 0
  private bodyBytes = 0
  private sizeUpdate = ''
  private wake = (): void => {}

  /** `settings`: payload of the first SETTINGS frame. */
  constructor(socket: Socket, role: 'client' | 'server', settings: string, onStream: OnStream = () => {}) {
    this.socket = socket
    this.onStream = onStream
    this.localPort = socket.localPort!
    this.prefaceLeft = role === 'server' ? CLIENT_PREFACE.length : 0
    socket.setNoDelay(true)
    this.write((role === 'client' ? PREFACE : '') + frame(Frame.Settings, 0, 0, settings))
    socket.on('data', (chunk: Buffer) => this.read(chunk))
    // How a connection ends is seen by 'close'.
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.note(-1, 'closed')
      this.wake()
    })
  }

  write(bytes: string): void {
    if (this.socket.writable) this.socket.write(bytes, 'latin1')
  }

  /** Half-closes; the other side is expected to end the rest. */
  end(): void {
    this.socket.end()
  }

  /** By RST. */
  abort(): void {
    this.socket.resetAndDestroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Lines and bytes of bodies that have come. */
  get progress(): number {
    return this.lines.length + this.bodyBytes
  }

  /** Until all that was written has been dealt with, or the connection is closed. */
  async fence(): Promise<void> {
    if (this.closed) return
    this.pings++
    this.write(frame(Frame.Ping, 0, 0, 'fence   '))
    const deadline = Date.now() + FENCE_MS
    while (!this.closed && this.acknowledged < this.pings && Date.now() < deadline) await this.something(deadline)
  }

  /** Until the connection is closed. */
  async ended(): Promise<void> {
    const deadline = Date.now() + FENCE_MS
    while (!this.closed && Date.now() < deadline) await this.something(deadline)
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

  private note(stream: number, line: string): void {
    this.dataLines.delete(stream)
    this.lines.push(line)
  }

  private noteData(stream: number, bytes: number): void {
    this.bodyBytes += bytes
    const open = this.dataLines.get(stream)
    if (open === undefined) {
      this.note(stream, `${stream} data ${bytes}`)
      this.dataLines.set(stream, { line: this.lines.length - 1, bytes })
      return
    }
    open.bytes += bytes
    this.lines[open.line] = `${stream} data ${open.bytes}`
  }

  private read(chunk: Buffer): void {
    this.pending = this.pending.length > 0 ? Buffer.concat([this.pending, chunk]) : chunk
    if (this.prefaceLeft > 0) {
      if (this.pending.length < this.prefaceLeft) return
      if (!this.pending.subarray(0, this.prefaceLeft).equals(CLIENT_PREFACE)) this.note(-1, 'no preface')
      this.pending = this.pending.subarray(this.prefaceLeft)
      this.prefaceLeft = 0
    }
    while (this.pending.length >= FRAME_HEADER_BYTES) {
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
      case Frame.Data:
        this.noteData(stream, payload.length)
        if (payload.length > 0 && this.givesWindow) {
          this.write(frame(Frame.WindowUpdate, 0, 0, uint32(payload.length)))
          if (!(flags & Flag.EndStream)) this.write(frame(Frame.WindowUpdate, 0, stream, uint32(payload.length)))
        }
        if (flags & Flag.EndStream) this.note(stream, `${stream} end`)
        break
      case Frame.Headers:
        this.blockFlags = flags
        this.block = ''
        this.onPiece(flags, stream, payload)
        break
      case Frame.Continuation:
        this.onPiece(flags, stream, payload)
        break
      case Frame.RstStream:
        this.note(stream, `${stream} reset ${payload.readUInt32BE(0)}`)
        break
      case Frame.Settings:
        if (flags & Flag.Ack) break
        this.note(-1, `settings ${settingsText(payload)}`)
        this.onSettings(payload)
        this.write(frame(Frame.Settings, Flag.Ack, 0, ''))
        break
      case Frame.Ping:
        if (flags & Flag.Ack) this.acknowledged++
        else this.write(frame(Frame.Ping, Flag.Ack, 0, payload.toString('latin1')))
        break
      case Frame.GoAway:
        this.note(-1, `goaway ${payload.readUInt32BE(4)} last ${payload.readUInt32BE(0)}`)
        break
      case Frame.WindowUpdate:
        // How often windows are given back is nobody's business.
        break
      default:
        this.note(stream, `${stream} frame ${type}`)
    }
  }

  private onSettings(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      const size = payload.readUInt32BE(at + 2)
      if (payload.readUInt16BE(at) !== TABLE_SIZE || size >= 4096) continue
      const text = integer(size, 5)
      this.sizeUpdate = String.fromCharCode(32 | text.charCodeAt(0)) + text.slice(1)
    }
  }

  /** What the next header block has to begin with: the table became smaller (RFC 9113 §4.3.1). */
  takeSizeUpdate(): string {
    const update = this.sizeUpdate
    this.sizeUpdate = ''
    return update
  }

  private onPiece(flags: number, stream: number, payload: Buffer): void {
    this.block += payload.toString('latin1')
    if (!(flags & Flag.EndHeaders)) return
    const bytes = Buffer.from(this.block, 'latin1')
    const fields: Field[] = []
    this.decoder.decode(bytes, 0, bytes.length, { onHeader: (name, value) => void fields.push([name, value]) })
    // Envoy forwards pseudo-headers in the order in which they came.
    const pseudo = fields.filter(([name]) => name.startsWith(':')).sort(([a], [b]) => (a < b ? -1 : 1))
    const regular = fields.filter(([name]) => !name.startsWith(':'))
    const text = [...pseudo, ...regular].map((field) => field.join(': ')).join('\n')
    const isNew = !this.known.has(stream)
    this.known.add(stream)
    this.note(stream, `${stream} headers\n${text}`)
    if (isNew) this.onStream(this, stream)
    if (this.blockFlags & Flag.EndStream) this.note(stream, `${stream} end`)
  }
}
