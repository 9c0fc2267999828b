// An HTTP/2 upstream that writes its frames itself, right or wrong, and remembers what it got. The answers are those of
// recording-upstream.ts, and more that only frames can give.

import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import { FRAME_HEADER_BYTES, FrameType as Frame } from '../../../src/proxy/http/h2/constants.ts'
import { HpackDecoder } from '../../../src/proxy/http/hpack/decoder.ts'
import { Flag, frame, headerBlock, PREFACE, uint32 } from './raw-http2.ts'
import { partsOf, type ReceivedRequest, type RecordingUpstream } from './recording-upstream.ts'

const MAX_FRAME = 16_000
/** What is written at once, as windows allow: more than any answer of the tests is not needed. */
const CONNECTION_WINDOW = 0x3fff_0000

/**
 * Beside the answers of recording-upstream.ts: `rst=CODE` resets the stream behind what was sent of it (the end is left
 * out), `goaway=CODE` is said with the answer, `pieces` cuts the header block, `padded` pads, `stray` ends what has ended,
 * `data-first` sends a body without a head, `early-end` ends with an informational head, `bad=NAME:VALUE` is a header that
 * no name rule holds for. `drop`, `junk` and `half-head` are streams that are reset or malformed. What may end a connection
 * is said only if `mayBreak`: other streams would meet it at a moment of their own; else the stream is reset.
 */
export async function startRawHttp2Upstream(mayBreak: boolean): Promise<RecordingUpstream> {
  const seen = new Map<string, ReceivedRequest[]>()
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    new Session(socket, mayBreak, (request, id) => {
      const list = seen.get(id) ?? []
      seen.set(id, list)
      list.push(request)
      return list.length - 1
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    received: (id) => seen.get(id) ?? [],
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

interface Stream {
  readonly fields: [string, string][]
  readonly trailers: string[]
  body: string
}

class Session {
  private readonly socket: Socket
  private readonly decoder = new HpackDecoder(4096)
  private readonly streams = new Map<number, Stream>()
  private readonly mayBreak: boolean
  private readonly record: (request: ReceivedRequest, id: string) => number
  private pending = Buffer.alloc(0)
  private block = ''
  private ending = false
  private greeted = false

  constructor(socket: Socket, mayBreak: boolean, record: (request: ReceivedRequest, id: string) => number) {
    this.socket = socket
    this.mayBreak = mayBreak
    this.record = record
    this.write(
      frame(Frame.Settings, 0, 0, `\0\x04${uint32(0x7fff_ffff)}`) +
        frame(Frame.WindowUpdate, 0, 0, uint32(CONNECTION_WINDOW)),
    )
    socket.on('data', (chunk: Buffer) => this.read(chunk))
  }

  private write(bytes: string): void {
    if (this.socket.writable) this.socket.write(bytes, 'latin1')
  }

  private read(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk])
    if (!this.greeted) {
      if (this.pending.length < PREFACE.length) return
      this.greeted = true
      this.pending = this.pending.subarray(PREFACE.length)
    }
    while (this.pending.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + this.pending.readUIntBE(0, 3)
      if (this.pending.length < end) return
      const [type, flags] = [this.pending[3]!, this.pending[4]!]
      const stream = this.pending.readUInt32BE(5)
      const payload = this.pending.subarray(FRAME_HEADER_BYTES, end)
      this.pending = this.pending.subarray(end)
      this.onFrame(type, flags, stream, payload)
    }
  }

  private onFrame(type: number, flags: number, id: number, payload: Buffer): void {
    const end = (flags & Flag.EndStream) !== 0
    switch (type) {
      case Frame.Settings:
        if (!(flags & Flag.Ack)) this.write(frame(Frame.Settings, Flag.Ack, 0, ''))
        break
      case Frame.Ping:
        if (!(flags & Flag.Ack)) this.write(frame(Frame.Ping, Flag.Ack, 0, payload.toString('latin1')))
        break
      case Frame.Headers:
        this.ending = end
        this.block = payload.toString('latin1')
        if (flags & Flag.EndHeaders) this.onBlock(id)
        break
      case Frame.Continuation:
        this.block += payload.toString('latin1')
        if (flags & Flag.EndHeaders) this.onBlock(id)
        break
      case Frame.Data: {
        const stream = this.streams.get(id)
        if (stream === undefined) break
        stream.body += payload.toString('latin1')
        if (end) this.onRequest(id, stream)
        break
      }
      case Frame.RstStream:
        this.streams.delete(id)
        break
    }
  }

  private onBlock(id: number): void {
    const bytes = Buffer.from(this.block, 'latin1')
    const fields: [string, string][] = []
    this.decoder.decode(bytes, 0, bytes.length, { onHeader: (name, value) => void fields.push([name, value]) })
    const known = this.streams.get(id)
    const stream: Stream = known ?? { fields, trailers: [], body: '' }
    if (known) known.trailers.push(...fields.map(([name, value]) => `${name}: ${value}`))
    else this.streams.set(id, stream)
    if (this.ending) this.onRequest(id, stream)
  }

  private onRequest(id: number, { fields, trailers, body }: Stream): void {
    this.streams.delete(id)
    const lines = fields.map(([name, value]) => `${name}: ${value}`)
    const value = (name: string): string => fields.find(([other]) => other === name)?.[1] ?? ''
    const attempt = this.record(
      {
        requestLine: lines
          .filter((line) => line.startsWith(':'))
          .sort()
          .join(' '),
        headers: lines.filter((line) => !line.startsWith(':')),
        body,
        ...(trailers.length > 0 ? { trailers } : {}),
      },
      value('x-case'),
    )
    const answers = (value('x-answer') || '200').split(';')
    const answer = answers[Math.min(attempt, answers.length - 1)]!
    if (!this.mayBreak && BREAKING.test(answer)) this.write(resetFrame(id, 2))
    else this.write(answerFrames(id, answer, value(':method') === 'HEAD'))
  }
}

const BREAKING =
  /^(junk|half-head|101)|,(short|extra|stray|data-first|early-end|goaway=|bad=|header=(:|x bad|transfer-encoding|connection|keep-alive|content-length))/i

const resetFrame = (id: number, code: number): string => frame(Frame.RstStream, 0, id, uint32(code))

/** One answer as frames of stream `id`. */
function answerFrames(id: number, answer: string, head: boolean): string {
  const [status = '200', ...options] = answer.split(',')
  const value = (key: string): string | undefined => options.find((o) => o.startsWith(`${key}=`))?.slice(key.length + 1)
  const pairs = (key: string): [string, string][] =>
    options.flatMap((o): [string, string][] => {
      if (!o.startsWith(`${key}=`)) return []
      const text = o.slice(key.length + 1)
      const colon = text.indexOf(':', 1)
      return [[text.slice(0, colon), text.slice(colon + 1)]]
    })
  switch (status) {
    case 'hang':
      return ''
    case 'drop':
    case 'reset':
      return resetFrame(id, Number(value('rst') ?? 2))
    case 'junk':
      return frame(Frame.Headers, Flag.EndHeaders, id, headerBlock([['x-only', '1']]))
    case 'half-head':
      return frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, id, headerBlock([[':status', 'abc']]))
  }
  const bodyless = status === '204' || status === '304' || head
  const parts = bodyless ? [] : partsOf(value('hex'), value('len')).flatMap(cut)
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const block: [string, string][] = [[':status', status]]
  for (const [name, text] of pairs('header')) block.push([name.toLowerCase(), text])
  for (const [name, text] of pairs('bad')) block.push([name, text])
  if (!options.includes('chunked') && !bodyless)
    block.push(['content-length', String(options.includes('short') ? length + 1 : length)])
  const trailers = pairs('trailer')
  const cutOff = value('rst') !== undefined
  const padded = options.includes('padded')
  let out = ''
  if (options.includes('early')) {
    const flags = Flag.EndHeaders | (options.includes('early-end') ? Flag.EndStream : 0)
    const early = headerBlock([
      [':status', '103'],
      ['link', '</a>'],
    ])
    out += frame(Frame.Headers, flags, id, early)
  }
  const data = parts.filter((part, i) => part !== '' || i > 0)
  const only = data.length === 0 && trailers.length === 0 && !cutOff
  if (!options.includes('data-first'))
    out += headFrames(id, headerBlock(block), only, options.includes('pieces'), padded)
  for (const [i, part] of data.entries()) {
    const last = i === data.length - 1 && trailers.length === 0 && !cutOff
    const flags = (last ? Flag.EndStream : 0) | (padded ? Flag.Padded : 0)
    out += frame(Frame.Data, flags, id, padded ? `\x04${part}\0\0\0\0` : part)
  }
  if (trailers.length > 0 && !cutOff)
    out += frame(Frame.Headers, Flag.EndHeaders | Flag.EndStream, id, headerBlock(trailers))
  if (options.includes('extra') || options.includes('stray')) out += frame(Frame.Data, Flag.EndStream, id, 'more')
  if (cutOff) out += resetFrame(id, Number(value('rst')))
  const goaway = value('goaway')
  if (goaway !== undefined) out += frame(Frame.GoAway, 0, 0, uint32(0x7fff_ffff) + uint32(Number(goaway)))
  return out
}

function cut(part: string): string[] {
  const out: string[] = []
  for (let at = 0; at < part.length; at += MAX_FRAME) out.push(part.slice(at, at + MAX_FRAME))
  return out.length > 0 ? out : ['']
}

function headFrames(id: number, block: string, end: boolean, pieces: boolean, padded: boolean): string {
  const size = pieces ? Math.ceil(block.length / 3) : block.length
  let out = ''
  for (let at = 0; at < block.length; at += size) {
    let payload = block.slice(at, at + size)
    let flags = at + size >= block.length ? Flag.EndHeaders : 0
    if (at === 0 && end) flags |= Flag.EndStream
    if (at === 0 && padded) {
      flags |= Flag.Padded
      payload = `\x03${payload}\0\0\0`
    }
    out += frame(at === 0 ? Frame.Headers : Frame.Continuation, flags, id, payload)
  }
  return out
}
