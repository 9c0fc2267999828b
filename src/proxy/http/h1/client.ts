// The client side of an HTTP/1 connection: one request at a time, no pipelining.

import { latin1 } from '../../../base/bytes.ts'
import { CloseType, type Connection } from '../../network/connection.ts'
import { sliceOf } from '../../network/read-buffer.ts'
import type {
  ClientCodecCallbacks,
  ClientConnection,
  CodecError,
  RequestEncoder,
  ResponseDecoder,
  Stream,
  StreamCallbacks,
} from '../codec.ts'
import { Protocol, type StreamResetReason } from '../codec.ts'
import { hasToken, isUpgrade } from '../connection-header.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import { newHeaderBytes } from '../header-bytes.ts'
import { HeaderMap } from '../header-map.ts'
import { joinDuplicates, RESPONSE_JOINED } from '../joined-headers.ts'
import { ChunkedDecoder, type ChunkedSink, chunkHeader } from './chunked.ts'
import { shownName, trailerLines, writeRequestHead, writeText } from './encode.ts'
import {
  CODEC_ERROR,
  countLinesReceived,
  HEADERS_TOO_LARGE,
  type HeadLimits,
  HeadScanner,
  INVALID_CHARACTERS,
  parseContentLength,
  parseHeaderLines,
} from './head.ts'
import { readHeaderLines } from './header-lines.ts'

const EMPTY = Buffer.alloc(0)

const Body = { None: 0, Length: 1, Chunked: 2, UntilClose: 3 } as const
type Body = (typeof Body)[keyof typeof Body]

/** Methods whose requests carry no body unless they say so: no `content-length: 0` is written for them. */
const BODYLESS = new Set(['GET', 'HEAD', 'DELETE', 'TRACE', 'CONNECT'])

export class Http1ClientConnection implements ClientConnection, ChunkedSink {
  readonly protocol = Protocol.Http11
  readonly connection: Connection
  readonly options: Http1Options
  private readonly callbacks: ClientCodecCallbacks
  private readonly limits: HeadLimits
  private readonly scanner = new HeadScanner()
  private readonly chunked: ChunkedDecoder
  private stream: ClientStream | null = null
  private inBody = false
  private body: Body = Body.None
  private remaining = 0
  /** The server has agreed to one. */
  tunnel = false
  private reusable = true
  /** A stream was reset: what else comes is not looked at. */
  private ended = false
  private requests = 0

  constructor(connection: Connection, callbacks: ClientCodecCallbacks, options: Http1Options, limits: HeadLimits) {
    this.connection = connection
    this.callbacks = callbacks
    this.options = options
    this.limits = limits
    this.chunked = new ChunkedDecoder(limits.maxBytes)
  }

  newStream(decoder: ResponseDecoder): RequestEncoder {
    const stream = new ClientStream(this, decoder, ++this.requests)
    this.stream = stream
    return stream
  }

  dispatch(chunk: Buffer): CodecError | null {
    let buffer = chunk
    let at = 0
    while (at < buffer.length) {
      const { stream } = this
      // Bytes nobody asked for: the connection is out of step.
      if (!stream) return this.ended ? null : CODEC_ERROR
      if (!this.inBody) {
        // Servers are not forgiven empty lines before a response (Envoy).
        if (!this.scanner.waiting && (buffer[at] === 10 || buffer[at] === 13)) return CODEC_ERROR
        if (!this.scanner.feed(buffer, at)) {
          return this.scanner.end - this.scanner.start > this.limits.maxBytes ? HEADERS_TOO_LARGE : null
        }
        buffer = this.scanner.buffer
        at = this.scanner.end
        const error = this.onHead(stream)
        if (error) return error
        continue
      }
      switch (this.body) {
        case Body.Length: {
          const take = Math.min(this.remaining, buffer.length - at)
          this.remaining -= take
          this.onData(sliceOf(buffer, at, at + take), this.remaining === 0)
          at += take
          break
        }
        case Body.Chunked: {
          const next = this.chunked.decode(buffer, at, this)
          if (typeof next !== 'number') return next
          at = next
          break
        }
        default:
          this.onData(buffer.subarray(at), false)
          at = buffer.length
      }
    }
    return null
  }

  private onHead(stream: ClientStream): CodecError | null {
    const { scanner } = this
    const status = parseStatusLine(scanner.buffer, scanner.start, scanner.firstLine)
    if (status < 0) return CODEC_ERROR
    if (scanner.end - scanner.start > this.limits.maxBytes) return HEADERS_TOO_LARGE
    if (scanner.forbidden) return INVALID_CHARACTERS
    const headers = new HeaderMap()
    headers.status = status
    const bad = readHeaderLines(scanner, headers, this.limits, RESPONSE_JOINED)
    if (bad) return bad
    joinDuplicates(headers, RESPONSE_JOINED)
    stream.wireBytesReceived += scanner.end - scanner.start
    countLinesReceived(stream.headerBytes, headers)
    if ((status < 200 || status === 204) && !withoutBody(headers)) return CODEC_ERROR
    if (status < 200 && status !== 101) {
      // Envoy knows the ones from 100 to 104; others end here.
      if (status <= 104) stream.decoder.decode1xxHeaders(headers)
      return null
    }
    // Any other version counts as that one.
    const http10 = scanner.buffer[scanner.start + 5] !== 49 || scanner.buffer[scanner.start + 7] !== 49
    return this.onFinalHeaders(stream, headers, http10)
  }

  private onFinalHeaders(stream: ClientStream, headers: HeaderMap, http10: boolean): CodecError | null {
    const { status, list } = headers
    let length = -1
    let encoding: string | undefined
    let connection: string | undefined
    let oldClose = false
    for (let i = 0; i < list.length; i += 2) {
      switch (list[i]) {
        case 'content-length': {
          const value = parseContentLength(list[i + 1]!)
          if (value < 0) return CODEC_ERROR
          length = value
          break
        }
        case 'transfer-encoding':
          encoding = encoding === undefined ? list[i + 1]! : `${encoding},${list[i + 1]}`
          break
        case 'connection':
          connection = connection === undefined ? list[i + 1]! : `${connection},${list[i + 1]}`
          break
        case 'proxy-connection':
          oldClose ||= hasToken(list[i + 1]!, 'close')
          break
      }
    }
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') return CODEC_ERROR
    if (encoding !== undefined && length >= 0) {
      if (!this.options.allowChunkedLength) return CODEC_ERROR
      headers.remove('content-length')
      length = -1
    }
    this.reusable =
      !oldClose &&
      (connection === undefined
        ? !http10
        : http10
          ? hasToken(connection, 'keep-alive')
          : !hasToken(connection, 'close'))
    if (!this.reusable) this.callbacks.onGoAway()
    stream.responseStarted = true
    const tunnel = stream.isConnect ? status === 200 : status === 101 && stream.isUpgrade && isUpgrade(headers)
    this.tunnel = tunnel
    if (tunnel) {
      this.reusable = false
      this.body = Body.UntilClose
    } else if (stream.isHead || status === 101 || status === 204 || status === 304 || length === 0) {
      this.finishResponse(stream)
      stream.decoder.decodeHeaders(headers, true)
      this.maybeComplete(stream)
      return null
    } else if (encoding !== undefined) {
      this.body = Body.Chunked
      this.chunked.reset()
    } else if (length > 0) {
      this.body = Body.Length
      this.remaining = length
    } else {
      this.reusable = false
      this.body = Body.UntilClose
    }
    this.inBody = true
    stream.decoder.decodeHeaders(headers, false)
    return null
  }

  private onData(chunk: Buffer, end: boolean): void {
    const { stream } = this
    if (!stream) return
    stream.wireBytesReceived += chunk.length
    if (end) this.finishResponse(stream)
    stream.decoder.decodeData(chunk, end)
    if (end) this.maybeComplete(stream)
  }

  onBodyChunk(chunk: Buffer): void {
    this.onData(chunk, false)
  }

  onBodyEnd(trailers: string): CodecError | null {
    const { stream } = this
    if (!stream) return null
    stream.wireBytesReceived += this.chunked.framingBytes
    let block: HeaderMap | null = null
    if (trailers !== '') {
      block = new HeaderMap()
      const bad = parseHeaderLines(trailers, block, this.limits, RESPONSE_JOINED)
      if (bad) return bad
      countLinesReceived(stream.headerBytes, block, true)
      if (!this.options.enableTrailers) block = null
    }
    this.finishResponse(stream)
    if (block && block.size > 0) stream.decoder.decodeTrailers(block)
    else stream.decoder.decodeData(EMPTY, true)
    this.maybeComplete(stream)
    return null
  }

  private finishResponse(stream: ClientStream): void {
    stream.responseDone = true
    this.inBody = false
  }

  onEndOfInput(): CodecError | null {
    const { stream } = this
    if (!stream) return null
    if (!this.inBody) return this.scanner.waiting ? CODEC_ERROR : null
    // A body cut short is no body (RFC 9112 §8).
    if (this.body !== Body.UntilClose) return CODEC_ERROR
    // A tunnel has no end of its own: the connection's end resets it (as in Envoy).
    if (this.tunnel) return null
    this.onData(EMPTY, true)
    return null
  }

  /** The request is written and the response read: the connection is free, or of no further use. */
  maybeComplete(stream: ClientStream): void {
    if (this.stream !== stream || !stream.requestDone || !stream.responseDone) return
    this.stream = null
    stream.callbacks = null
    stream.releaseReads()
    this.callbacks.onStreamComplete(this.reusable && !stream.unframed)
  }

  /** A reset ends the connection, and with it the stream: nothing else can follow half a message. */
  reset(stream: ClientStream): void {
    if (this.stream !== stream) return
    this.stream = null
    this.ended = true
    stream.releaseReads()
    this.connection.close(CloseType.NoFlush, '')
  }

  /** The connection went away under the stream, if there is one. */
  onConnectionClosed(reason: StreamResetReason): void {
    const { stream } = this
    if (!stream) return
    this.stream = null
    const { callbacks } = stream
    stream.callbacks = null
    callbacks?.onResetStream(reason, '')
  }

  goAway(): void {}
  shutdownNotice(): void {}

  onUnderlyingConnectionAboveWriteBufferHighWatermark(): void {
    this.stream?.callbacks?.onAboveWriteBufferHighWatermark()
  }

  onUnderlyingConnectionBelowWriteBufferLowWatermark(): void {
    this.stream?.callbacks?.onBelowWriteBufferLowWatermark()
  }
}

/** What answers without a body may say of one: a length of 0, which goes. False for anything else (RFC 9112 §6.1). */
function withoutBody(headers: HeaderMap): boolean {
  if (headers.has('transfer-encoding')) return false
  const length = headers.getAll('content-length')
  if (length === undefined) return true
  headers.remove('content-length')
  return length === '0'
}

const VERSION = Buffer.from('HTTP/1.')
const ODD_STATUS_LINE = /^HTTP\/\d\.\d[\0- ]+(\d{3})(?:[\0- ]|$)/

/** `HTTP/x.y SSS …`: the status, or -1. The head has an end, so there are bytes to look at until a wrong one. */
function parseStatusLine(head: Buffer, start: number, end: number): number {
  for (let i = 0; i < VERSION.length; i++) if (head[start + i] !== VERSION[i]) return oddStatus(head, start, end)
  const minor = head[start + 7]
  if ((minor !== 48 && minor !== 49) || head[start + 8] !== 32 || head[start + 9] === 32)
    return oddStatus(head, start, end)
  let status = 0
  for (let i = start + 9; i < start + 12; i++) {
    const digit = head[i]! - 48
    if (!(digit >= 0 && digit <= 9)) return -1
    status = status * 10 + digit
  }
  const after = head[start + 12]
  return status >= 100 && (after === 32 || after === 13 || after === 10) ? status : -1
}

/** The status of a line with another version or more blanks than one between its words (as Envoy reads them). */
function oddStatus(head: Buffer, start: number, end: number): number {
  const status = Number(ODD_STATUS_LINE.exec(latin1(head, start, end))?.[1] ?? -1)
  return status >= 100 ? status : -1
}

/** Of a request line besides method and target, with the line that ends the head. */
const REQUEST_LINE_REST = '  HTTP/1.1\r\n\r\n'.length

/** One request. */
class ClientStream implements RequestEncoder, Stream {
  readonly protocol = Protocol.Http11
  readonly id: number
  readonly decoder: ResponseDecoder
  callbacks: StreamCallbacks | null = null
  wireBytesReceived = 0
  wireBytesSent = 0
  readonly headerBytes = newHeaderBytes()
  requestDone = false
  responseStarted = false
  responseDone = false
  isHead = false
  isConnect = false
  isUpgrade = false
  /** There were bytes for a tunnel: to a server that refuses one they are another request, that nobody has looked at. */
  unframed = false
  private readonly codec: Http1ClientConnection
  private chunkedBody = false
  private paused = 0

  constructor(codec: Http1ClientConnection, decoder: ResponseDecoder, id: number) {
    this.codec = codec
    this.decoder = decoder
    this.id = id
  }

  get stream(): Stream {
    return this
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean): void {
    const { options } = this.codec
    const { method } = headers
    this.isHead = method === 'HEAD'
    this.isConnect = method === 'CONNECT'
    const upgrade = headers.has('upgrade')
    this.isUpgrade = upgrade && isUpgrade(headers)
    let framing = ''
    if (!this.isConnect && !upgrade && !headers.has('content-length')) {
      if (!endStream) {
        this.chunkedBody = true
        framing = `${shownName('transfer-encoding', headers.spellings, options.headerKeyFormat)}: chunked\r\n`
      } else if (method !== 'GET' && !BODYLESS.has(method))
        framing = `${shownName('content-length', headers.spellings, options.headerKeyFormat)}: 0\r\n`
    }
    const target = this.isConnect
      ? headers.authority
      : options.sendFullyQualifiedUrl
        ? `${headers.scheme}://${headers.authority}${headers.path}`
        : headers.path
    const host = shownName('host', headers.spellings, options.headerKeyFormat)
    const { connection } = this.codec
    const bytes = writeRequestHead(connection, target, host, headers, framing, options.headerKeyFormat)
    this.wireBytesSent += bytes
    const lines = bytes - method.length - target.length - REQUEST_LINE_REST
    this.headerBytes?.addSent(lines, lines)
    if (endStream) this.finish()
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    if (chunk.length > 0) {
      if (this.isUpgrade || this.isConnect) this.unframed = true
      // Of a tunnel that was refused they go nowhere.
      if (!this.unframed || !this.responseStarted || this.codec.tunnel) this.writeBody(chunk)
    }
    if (!endStream) return
    if (this.chunkedBody) this.write('0\r\n\r\n')
    this.finish()
  }

  private writeBody(chunk: Buffer): void {
    if (this.chunkedBody) this.write(chunkHeader(chunk.length))
    this.codec.connection.write(chunk, false)
    this.wireBytesSent += chunk.length
    if (this.chunkedBody) this.write('\r\n')
  }

  encodeTrailers(trailers: HeaderMap): void {
    if (this.chunkedBody) {
      const { options } = this.codec
      const lines = options.enableTrailers ? trailerLines(trailers) : ''
      this.headerBytes?.addSent(lines.length, lines.length)
      this.write(`0\r\n${lines}\r\n`)
    }
    this.finish()
  }

  private write(text: string): void {
    writeText(this.codec.connection, text)
    this.wireBytesSent += text.length
  }

  private finish(): void {
    this.requestDone = true
    // The end of a tunnel's request is the end of its connection (as in Envoy).
    if (this.isConnect) this.codec.connection.close(CloseType.FlushWriteAndDelay)
    this.codec.maybeComplete(this)
  }

  resetStream(_reason: StreamResetReason): void {
    this.callbacks = null
    this.codec.reset(this)
  }

  readDisable(disable: boolean): void {
    this.paused += disable ? 1 : -1
    this.codec.connection.readDisable(disable)
  }

  releaseReads(): void {
    while (this.paused > 0) this.readDisable(false)
  }
}
