// The cheapest gRPC stream there is, for load clients: HTTP/2 with prior knowledge on one TCP connection, one stream.
// It receives everything and keeps to the protocol, but interprets no response headers.
import { connect, type Socket } from 'node:net'

const FRAME = { data: 0, headers: 1, rstStream: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8 } as const
const ACK = 1
const END_STREAM = 1
const END_HEADERS = 4
const HEADER_BYTES = 9
const EMPTY = Buffer.alloc(0)
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
/** As large as can be: like Envoy's, one response never waits for window updates. */
const WINDOW = 2 ** 31 - 1
/** The windows are filled up again when this much has been read. */
const REFILL_BYTES = 2 ** 26

/** What all connections read into, one after the other. */
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024)
/** Message buffers in reuse: large ones are expensive to get and to give back. */
const pool: Buffer[] = []

export interface StreamEvents {
  /** A whole message; valid during the call only. */
  onMessage(message: Buffer): void
  /** The stream or its connection ended. */
  onEnd(reason: string): void
}

/** One bidirectional call. */
export class GrpcStream {
  readonly #socket: Socket
  readonly #events: StreamEvents
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerFilled = 0
  /** Bytes of the frame at hand that have not come yet; -1: its header has not come yet. */
  #remaining = -1
  /** The frame at hand, unless it is DATA. */
  #payload: Buffer[] = []
  #message: Buffer | null = null
  #length = 0
  #filled = 0
  readonly #prefix = Buffer.alloc(5)
  #prefixFilled = 0
  #unrefilled = 0
  #ended = false

  constructor(target: string, path: string, events: StreamEvents) {
    const colon = target.lastIndexOf(':')
    this.#events = events
    this.#socket = connect({
      host: target.slice(0, colon),
      port: Number(target.slice(colon + 1)),
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (length) => {
          this.#read(readBuffer, length)
          return true
        },
      },
    })
    this.#socket.on('error', (error) => this.#end(error.message))
    this.#socket.on('close', () => this.#end('connection closed'))
    const settings = Buffer.alloc(6)
    settings.writeUInt16BE(4, 0)
    settings.writeUInt32BE(WINDOW, 2)
    this.#socket.write(PREFACE)
    this.#frame(FRAME.settings, 0, 0, settings)
    this.#frame(FRAME.windowUpdate, 0, 0, uint32(WINDOW - 65_535))
    this.#frame(FRAME.headers, END_HEADERS, 1, requestHeaders(target, path))
  }

  /** Sends one message. */
  write(message: Uint8Array): void {
    const payload = Buffer.alloc(5 + message.length)
    payload.writeUInt32BE(message.length, 1)
    payload.set(message, 5)
    for (let at = 0; at < payload.length; at += 16_384) {
      this.#frame(FRAME.data, 0, 1, payload.subarray(at, at + 16_384))
    }
  }

  #frame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    const frame = Buffer.alloc(HEADER_BYTES + payload.length)
    frame.writeUIntBE(payload.length, 0, 3)
    frame[3] = type
    frame[4] = flags
    frame.writeUInt32BE(stream, 5)
    frame.set(payload, HEADER_BYTES)
    this.#socket.write(frame)
  }

  #end(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#socket.destroy()
    this.#events.onEnd(reason)
  }

  #read(bytes: Buffer, length: number): void {
    for (let at = 0; at < length && !this.#ended; ) {
      if (this.#remaining < 0) {
        const take = Math.min(HEADER_BYTES - this.#headerFilled, length - at)
        bytes.copy(this.#header, this.#headerFilled, at, at + take)
        this.#headerFilled += take
        at += take
        if (this.#headerFilled < HEADER_BYTES) return
        this.#remaining = this.#header.readUIntBE(0, 3)
      } else {
        const take = Math.min(this.#remaining, length - at)
        if (this.#header[3] === FRAME.data) this.#data(bytes, at, at + take)
        else this.#payload.push(Buffer.from(bytes.subarray(at, at + take)))
        this.#remaining -= take
        at += take
      }
      if (this.#remaining === 0) this.#frameEnded()
    }
  }

  #frameEnded(): void {
    const type = this.#header[3]!
    const flags = this.#header[4]!
    const payload = this.#payload.length === 0 ? EMPTY : Buffer.concat(this.#payload)
    this.#remaining = -1
    this.#headerFilled = 0
    if (this.#payload.length > 0) this.#payload = []
    if (type === FRAME.data) {
      this.#unrefilled += this.#header.readUIntBE(0, 3)
      if (this.#unrefilled >= REFILL_BYTES) {
        for (const stream of [0, 1]) this.#frame(FRAME.windowUpdate, 0, stream, uint32(this.#unrefilled))
        this.#unrefilled = 0
      }
    } else if (type === FRAME.settings && !(flags & ACK)) this.#frame(FRAME.settings, ACK, 0, EMPTY)
    else if (type === FRAME.ping && !(flags & ACK)) this.#frame(FRAME.ping, ACK, 0, payload)
    if (type === FRAME.rstStream || type === FRAME.goaway) this.#end(`frame of type ${type}`)
    else if ((type === FRAME.data || type === FRAME.headers) && flags & END_STREAM) this.#end('stream ended')
  }

  #data(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      if (this.#message === null) {
        const take = Math.min(5 - this.#prefixFilled, end - at)
        bytes.copy(this.#prefix, this.#prefixFilled, at, at + take)
        this.#prefixFilled += take
        at += take
        if (this.#prefixFilled < 5) return
        this.#length = this.#prefix.readUInt32BE(1)
        this.#filled = 0
        const pooled = pool.findIndex((buffer) => buffer.length >= this.#length)
        this.#message = pooled < 0 ? Buffer.allocUnsafeSlow(this.#length) : pool.splice(pooled, 1)[0]!
      }
      const take = Math.min(this.#length - this.#filled, end - at)
      bytes.copy(this.#message, this.#filled, at, at + take)
      this.#filled += take
      at += take
      if (this.#filled < this.#length) return
      const message = this.#message
      this.#message = null
      this.#prefixFilled = 0
      this.#events.onMessage(message.subarray(0, this.#length))
      if (message.length > 65_536 && pool.length < 8) pool.push(message)
    }
  }
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}

/** HPACK without its tables' dynamic part: indexed where the static table has it, else literal. */
function requestHeaders(authority: string, path: string): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  return Buffer.concat([
    Buffer.from([0x83, 0x86]), // :method POST, :scheme http
    Buffer.from([0x04]),
    text(path),
    Buffer.from([0x01]),
    text(authority),
    Buffer.from([0x0f, 0x10]), // content-type
    text('application/grpc'),
    Buffer.from([0x00]),
    text('te'),
    text('trailers'),
  ])
}
