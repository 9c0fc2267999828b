// Port forwards of the Kubernetes API: SPDY/3.1 as clients of Kubernetes speak it, from the server's side. A forwarded
// connection is two streams, one for data and one for errors, that name the port in their headers.
import type { Duplex } from 'node:stream'
import { constants, createInflate } from 'node:zlib'

// SPDY/3 §2.6.10.1: what header blocks are compressed against: words with their lengths in front, then this text.
// `_` stands for a blank.
const WORDS = `
  options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
  allow authorization cache-control connection content-base content-encoding content-language content-length
  content-location content-md5 content-range content-type date etag expect expires from host if-match
  if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
  proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
  user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
  keep-alive origin
`
const TAIL =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritat' +
  'ive Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found5' +
  '00 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct N' +
  'ov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,applic' +
  'ation/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf' +
  '-8charset=iso-8859-1,utf-,*,enq=0.'

const DICTIONARY = Buffer.concat([
  ...WORDS.trim()
    .split(/\s+/)
    .map((word) => lengthPrefixed(word.replaceAll('_', ' '))),
  Buffer.from(TAIL),
])

const SYN_STREAM = 1
const SYN_REPLY = 2
const RST_STREAM = 3
const PING = 6
const VERSION = 3
const FLAG_FIN = 1
const HEAD_BYTES = 8
const NO_HEADERS = Buffer.alloc(4)
/** A zlib stream's head, and no headers as a stored block (RFC 1951 §3.2.4) with an empty one behind it, which flushes. */
const ZLIB_HEAD = Buffer.from([0x78, 0x01])
const STORED_NO_HEADERS = Buffer.from([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])

type Headers = Readonly<Record<string, string>>

/** Takes over the connection of a request that asks for a port forward. */
export function servePortForward(socket: Duplex, head: Buffer, connect: (port: number) => Duplex): void {
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\nx-stream-protocol-version: portforward.k8s.io\r\n\r\n',
  )
  const forward = new PortForward(socket, connect)
  forward.receive(head)
  socket.on('data', (chunk: Buffer) => forward.receive(chunk))
}

class PortForward {
  private readonly socket: Duplex
  private readonly connect: (port: number) => Duplex
  private readonly upstreams = new Map<number, Duplex>()
  private readonly inflate = createInflate({ dictionary: DICTIONARY, flush: constants.Z_SYNC_FLUSH })
  private pending = Buffer.alloc(0)
  private replied = false
  /** Header blocks are one compressed stream: a frame waits until the one before it is read. */
  private turn: Promise<void> = Promise.resolve()

  constructor(socket: Duplex, connect: (port: number) => Duplex) {
    this.socket = socket
    this.connect = connect
    socket.on('error', () => this.end())
    socket.on('close', () => this.end())
  }

  receive(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk])
    while (this.pending.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.pending.readUIntBE(5, 3)
      if (this.pending.length < end) return
      const frame = this.pending.subarray(0, end)
      this.pending = this.pending.subarray(end)
      this.turn = this.turn.then(() => this.frame(frame)).catch(() => this.end())
    }
  }

  private async frame(frame: Buffer): Promise<void> {
    const flags = frame[4]!
    const payload = frame.subarray(HEAD_BYTES)
    if ((frame[0]! & 0x80) === 0) {
      const upstream = this.upstreams.get(frame.readUInt32BE(0))
      if (payload.length > 0) upstream?.write(payload)
      if (flags & FLAG_FIN) upstream?.end()
      return
    }
    const type = frame.readUInt16BE(2)
    if (type === PING) this.socket.write(frame)
    if (type === RST_STREAM) this.upstreams.get(payload.readUInt32BE(0))?.destroy()
    if (type === SYN_STREAM) this.open(payload.readUInt32BE(0), await this.headers(payload.subarray(10)))
  }

  private open(id: number, { streamtype, port }: Headers): void {
    this.control(SYN_REPLY, id, this.replied ? STORED_NO_HEADERS : Buffer.concat([ZLIB_HEAD, STORED_NO_HEADERS]))
    this.replied = true
    if (streamtype !== 'data') {
      this.data(id, Buffer.alloc(0), FLAG_FIN)
      return
    }
    const upstream = this.connect(Number(port))
    this.upstreams.set(id, upstream)
    upstream.on('data', (chunk: Buffer) => this.data(id, chunk))
    upstream.on('error', () => upstream.destroy())
    upstream.on('end', () => this.data(id, Buffer.alloc(0), FLAG_FIN))
    upstream.on('close', () => this.upstreams.delete(id))
  }

  private async headers(block: Buffer): Promise<Headers> {
    const text = await new Promise<Buffer>((resolve) => {
      this.inflate.write(block, () => resolve((this.inflate.read() as Buffer | null) ?? NO_HEADERS))
    })
    const out: Record<string, string> = {}
    let at = 4
    const next = () => {
      const length = text.readUInt32BE(at)
      at += 4 + length
      return text.toString('latin1', at - length, at)
    }
    while (at < text.length) out[next()] = next()
    return out
  }

  private control(type: number, id: number, rest: Buffer): void {
    const head = Buffer.alloc(HEAD_BYTES + 4)
    head.writeUInt16BE(0x8000 | VERSION, 0)
    head.writeUInt16BE(type, 2)
    head.writeUInt32BE(4 + rest.length, 4)
    head.writeUInt32BE(id, HEAD_BYTES)
    this.socket.write(Buffer.concat([head, rest]))
  }

  private data(id: number, chunk: Buffer, flags = 0): void {
    if (this.socket.writableEnded) return
    const head = Buffer.alloc(HEAD_BYTES)
    head.writeUInt32BE(id, 0)
    head.writeUInt32BE(chunk.length, 4)
    head[4] = flags
    this.socket.write(Buffer.concat([head, chunk]))
  }

  private end(): void {
    for (const upstream of this.upstreams.values()) upstream.destroy()
    this.socket.destroy()
  }
}

function lengthPrefixed(word: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(word.length)
  return Buffer.concat([length, Buffer.from(word)])
}
