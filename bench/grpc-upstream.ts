// The cheapest gRPC server there is, for the gRPC shapes of load: on the first port it answers every call with one message
// of 1 KiB, on the second with STREAM_MESSAGES of them, each a DATA frame. HTTP/2 with prior knowledge; it keeps to
// frames, settings, pings and the connection's window. node bench/grpc-upstream.ts UNARY-PORT STREAM-PORT

import { createServer, type Socket } from 'node:net'

const STREAM_MESSAGES = 20
const FRAME = { data: 0, headers: 1, settings: 4, ping: 6, windowUpdate: 8 } as const
const ACK = 1
const END_STREAM = 1
const END_HEADERS = 4
const HEADER_BYTES = 9
const PREFACE_BYTES = 24
/** Consumed bytes after which the client's window is filled up again: below half of the 65,535 it begins with. */
const REFILL_BYTES = 16_384

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(streamId, 5)
  payload.copy(bytes, HEADER_BYTES)
  return bytes
}

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
// HPACK without its table: indexed where the static table has it, else literal.
const RESPONSE = Buffer.concat([Buffer.from([0x88, 0x0f, 0x10]), text('application/grpc')])
const TRAILERS = Buffer.concat([Buffer.from([0x00]), text('grpc-status'), text('0')])
const MESSAGE = Buffer.alloc(5 + 1024, 'x')
MESSAGE.writeUInt8(0, 0)
MESSAGE.writeUInt32BE(1024, 1)

/** The whole answer as it goes over the wire; the stream's number stands at `places`. */
interface Answer {
  readonly bytes: Buffer
  readonly places: readonly number[]
  readonly dataBytes: number
}

function answer(messages: number): Answer {
  const frames = [frame(FRAME.headers, END_HEADERS, 0, RESPONSE)]
  for (let i = 0; i < messages; i++) frames.push(frame(FRAME.data, 0, 0, MESSAGE))
  frames.push(frame(FRAME.headers, END_HEADERS | END_STREAM, 0, TRAILERS))
  const places: number[] = []
  let at = 0
  for (const one of frames) {
    places.push(at + 5)
    at += one.length
  }
  return { bytes: Buffer.concat(frames), places, dataBytes: messages * MESSAGE.length }
}

class Connection {
  private readonly socket: Socket
  private held: Buffer = Buffer.alloc(0)
  private toSkip = PREFACE_BYTES
  private window = 65_535
  private consumed = 0
  private readonly answer: Answer
  /** Streams whose answers wait for the connection's window. */
  private readonly waiting: number[] = []
  private output: Buffer[] = []

  constructor(socket: Socket, answer: Answer) {
    this.socket = socket
    this.answer = answer
    socket.setNoDelay(true)
    socket.write(frame(FRAME.settings, 0, 0, Buffer.alloc(0)))
    socket.on('error', () => {}) // The proxy ends when its measurement does.
    socket.on('data', (chunk) => this.read(chunk))
  }

  private read(chunk: Buffer): void {
    let bytes = this.held.length > 0 ? Buffer.concat([this.held, chunk]) : chunk
    const skipped = Math.min(this.toSkip, bytes.length)
    this.toSkip -= skipped
    bytes = bytes.subarray(skipped)
    let at = 0
    while (bytes.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + bytes.readUIntBE(at, 3)
      if (end > bytes.length) break
      const payload = bytes.subarray(at + HEADER_BYTES, end)
      this.onFrame(bytes[at + 3]!, bytes[at + 4]!, bytes.readUInt32BE(at + 5), payload)
      at = end
    }
    this.held = Buffer.from(bytes.subarray(at))
    this.answerWaiting()
    if (this.output.length > 0) this.socket.write(Buffer.concat(this.output))
    this.output = []
  }

  private onFrame(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case FRAME.headers:
        break
      case FRAME.data:
        this.consumed += payload.length
        break
      case FRAME.settings:
        if (!(flags & ACK)) this.output.push(frame(FRAME.settings, ACK, 0, Buffer.alloc(0)))
        return
      case FRAME.ping:
        if (!(flags & ACK)) this.output.push(frame(FRAME.ping, ACK, 0, payload))
        return
      case FRAME.windowUpdate:
        if (streamId === 0) this.window += payload.readUInt32BE(0)
        return
      default:
        return
    }
    if (flags & END_STREAM) this.waiting.push(streamId)
  }

  private answerWaiting(): void {
    if (this.consumed >= REFILL_BYTES) {
      const increment = Buffer.alloc(4)
      increment.writeUInt32BE(this.consumed)
      this.output.push(frame(FRAME.windowUpdate, 0, 0, increment))
      this.consumed = 0
    }
    const { bytes, places, dataBytes } = this.answer
    let done = 0
    for (; done < this.waiting.length && dataBytes <= this.window; done++) {
      const streamId = this.waiting[done]!
      this.window -= dataBytes
      const copy = Buffer.from(bytes)
      for (const place of places) copy.writeUInt32BE(streamId, place)
      this.output.push(copy)
    }
    this.waiting.splice(0, done)
  }
}

for (const [i, messages] of [1, STREAM_MESSAGES].entries()) {
  const whole = answer(messages)
  createServer((socket) => new Connection(socket, whole)).listen(Number(process.argv[2 + i]), '127.0.0.1')
}
