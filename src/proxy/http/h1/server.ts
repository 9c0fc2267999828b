// The server side of an HTTP/1 connection: requests in, responses out, one after another.

import { latin1 } from '../../../base/bytes.ts'
import type { Connection } from '../../network/connection.ts'
import { CloseType } from '../../network/connection.ts'
import { sliceOf } from '../../network/read-buffer.ts'
import type {
  CodecError,
  RequestDecoder,
  ResponseEncoder,
  ServerCodecCallbacks,
  ServerConnection,
  Stream,
  StreamCallbacks,
  StreamResetReason,
} from '../codec.ts'
import { Protocol } from '../codec.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import { newHeaderBytes } from '../header-bytes.ts'
import { HeaderMap } from '../header-map.ts'
import { joinDuplicates, REQUEST_JOINED } from '../joined-headers.ts'
import { hasControls } from './characters.ts'
import { ChunkedDecoder, type ChunkedSink, chunkHeader } from './chunked.ts'
import { reasonPhrase, shownName, statusLine, statusLine10, trailerLines, writeHead, writeText } from './encode.ts'
import {
  CODEC_ERROR,
  countLinesReceived,
  HEADERS_TOO_LARGE,
  type HeadLimits,
  HeadScanner,
  INVALID_CHARACTERS,
  isLengthFaulty,
  parseHeaderLines,
  TOO_MANY_HEADERS,
} from './head.ts'
import { readHeaderLines } from './header-lines.ts'
import {
  INVALID_AUTHORITY,
  mayBeginRequest,
  parseRequestLine,
  readRequestLine,
  requestLine,
  settleRequest,
} from './request.ts'

const EMPTY = Buffer.alloc(0)
/**
 * Bytes behind an unanswered request from which on reading stops. Until then it goes on, for the end of a connection is
 * only seen by reading: Envoy gives up the request of a client that has left, whatever that client had pipelined.
 */
const MAX_PIPELINED_BYTES = 64 * 1024
/** Responses that may wait to be sent before another request is taken (as in Envoy): pipelined ones need no upstream. */
const MAX_QUEUED_RESPONSES = 2
const RESPONSE_FLOOD: CodecError = {
  details: 'codec_error:Too_many_responses_queued.',
  message: 'too many responses queued',
}
const LOW_VERSION: CodecError = { details: 'low_version', message: 'HTTP/1.0 or older' }
const HTTPS_ON_PLAINTEXT: CodecError = {
  details: 'http1.https_url_on_plaintext_connection',
  message: 'an https target without TLS',
}

function statusOf(error: CodecError): number {
  if (error === HEADERS_TOO_LARGE || error === TOO_MANY_HEADERS) return 431
  if (error === LOW_VERSION) return 426
  if (error === HTTPS_ON_PLAINTEXT) return 403
  return error.details === 'http1.invalid_transfer_encoding' ? 501 : 400
}

/** Why a request of HTTP/0.9 is refused. */
function shortLineError(line: string, parsed: boolean): CodecError {
  if (hasControls(line)) return INVALID_CHARACTERS
  return parsed ? LOW_VERSION : CODEC_ERROR
}

const Body = { None: 0, Length: 1, Chunked: 2, Tunnel: 3 } as const
type Body = (typeof Body)[keyof typeof Body]

export class Http1ServerConnection implements ServerConnection, ChunkedSink {
  readonly protocol = Protocol.Http11
  readonly connection: Connection
  readonly options: Http1Options
  private readonly callbacks: ServerCodecCallbacks
  private readonly limits: HeadLimits
  private readonly refusesHttps: boolean
  private readonly scanner = new HeadScanner()
  private readonly chunked: ChunkedDecoder
  private stream: ServerStream | null = null
  private decoder: RequestDecoder | null = null
  /** Stream of a head that has not come in whole. */
  private early: ServerStream | null = null
  private earlyDecoder: RequestDecoder | null = null
  /** Its first line is here and was found right. */
  private earlyLineRead = false
  private body: Body = Body.None
  private remaining = 0
  /** Bytes behind a request that is still being answered: the first `pipelinedBytes` of a buffer that grows. */
  private pipelined: Buffer | null = null
  private pipelinedBytes = 0
  /** There are so many of them that reading has stopped. */
  private pipelineFull = false
  private dispatching = false
  /** Nothing more is read: a fault. */
  private failed = false
  /** An answer has said that the connection ends with it. */
  private last = false
  private requests = 0
  /** Since nothing waited to be sent. */
  private queuedResponses = 0

  /** `atEdge`: targets of https need TLS (use_remote_address, no trusted hops). */
  constructor(
    connection: Connection,
    callbacks: ServerCodecCallbacks,
    options: Http1Options,
    limits: HeadLimits,
    atEdge = false,
  ) {
    this.connection = connection
    this.callbacks = callbacks
    this.options = options
    this.limits = limits
    this.refusesHttps = atEdge && connection.info.transportProtocol !== 'tls'
    this.chunked = new ChunkedDecoder(limits.maxBytes)
  }

  dispatch(chunk: Buffer): CodecError | null {
    if (this.failed || this.isOver()) return null
    if (this.pipelined !== null) {
      this.hold(chunk)
      return null
    }
    this.dispatching = true
    const error = this.run(chunk, 0)
    this.dispatching = false
    return error
  }

  /** Parses as much of `chunk` as may be parsed now. */
  private run(chunk: Buffer, at: number): CodecError | null {
    let buffer = chunk
    while (at < buffer.length && this.connection.open && !this.failed && !this.isOver()) {
      if (this.decoder === null) {
        if (this.stream) {
          // The next request waits for this one's answer.
          this.hold(buffer.subarray(at))
          return null
        }
        if (this.queuedResponses >= MAX_QUEUED_RESPONSES && this.early === null && this.connection.bufferedBytes > 0)
          return this.onResponseFlood()
        if (!this.scanner.feed(buffer, at)) return this.onPartialHead()
        buffer = this.scanner.buffer
        at = this.scanner.end
        const error = this.onHead()
        if (error) return error
        continue
      }
      switch (this.body) {
        case Body.Length: {
          const take = Math.min(this.remaining, buffer.length - at)
          this.remaining -= take
          const end = this.remaining === 0
          this.onData(sliceOf(buffer, at, at + take), end)
          at += take
          break
        }
        case Body.Chunked: {
          const next = this.chunked.decode(buffer, at, this)
          if (typeof next !== 'number') return this.fail(next)
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

  /** Keeps pipelined bytes; from a certain number of them on the kernel holds back the peer. */
  private hold(chunk: Buffer): void {
    const length = this.pipelinedBytes + chunk.length
    let { pipelined } = this
    if (pipelined === null || pipelined.length < length) {
      const larger = Buffer.allocUnsafe(pipelined === null ? length : Math.max(length, 2 * pipelined.length))
      pipelined?.copy(larger, 0, 0, this.pipelinedBytes)
      this.pipelined = pipelined = larger
    }
    chunk.copy(pipelined, this.pipelinedBytes)
    this.pipelinedBytes = length
    if (length < MAX_PIPELINED_BYTES || this.pipelineFull) return
    this.pipelineFull = true
    this.connection.readDisable(true)
  }

  /**
   * An unfinished head has a stream already, which times it out and logs it. Its size counts, and a first line that
   * cannot be one is refused at once.
   */
  private onPartialHead(): CodecError | null {
    const { scanner } = this
    if (!scanner.waiting) return null
    if (!this.early) {
      this.early = new ServerStream(this, Protocol.Http11, ++this.requests)
      this.earlyDecoder = this.callbacks.newStream(this.early)
      this.earlyLineRead = false
    }
    if (!mayBeginRequest(scanner.buffer[scanner.start]!)) return this.refuse(CODEC_ERROR)
    const { start, firstLine } = scanner
    if (!this.earlyLineRead && firstLine >= 0 && firstLine - start <= this.limits.maxBytes) {
      this.earlyLineRead = true
      const text = latin1(scanner.buffer, start, firstLine)
      const parsed = parseRequestLine(text, this.options)
      if (this.endsWithLine) return this.refuse(shortLineError(text, parsed))
      if (!parsed) return this.refuse(this.isTooLarge() && !scanner.skipped ? HEADERS_TOO_LARGE : CODEC_ERROR)
    }
    return this.isTooLarge() ? this.refuse(HEADERS_TOO_LARGE) : null
  }

  private onResponseFlood(): CodecError {
    this.failed = true
    this.callbacks.newStream(new ServerStream(this, Protocol.Http11, ++this.requests))
    return RESPONSE_FLOOD
  }

  /** A response begins. */
  countResponse(): void {
    if (this.queuedResponses > 0 && this.connection.bufferedBytes === 0) this.queuedResponses = 0
    this.queuedResponses++
  }

  private isTooLarge(): boolean {
    return this.scanner.end - this.scanner.start > this.limits.maxBytes
  }

  /** The request line at hand is one of HTTP/0.9 and refused: nothing that follows it is looked at. */
  private get endsWithLine(): boolean {
    return !requestLine.versionGiven && !this.options.acceptHttp10
  }

  private onHead(): CodecError | null {
    const { scanner, limits } = this
    // In this order, as Envoy's parser reports only the last fault that it finds up to the end of the head.
    if (!mayBeginRequest(scanner.buffer[scanner.start]!)) return this.refuse(CODEC_ERROR)
    if (scanner.firstLine - scanner.start > limits.maxBytes) return this.refuse(HEADERS_TOO_LARGE)
    const parsed = readRequestLine(scanner.buffer, scanner.start, scanner.firstLine, this.options)
    if (this.endsWithLine)
      return this.refuse(shortLineError(latin1(scanner.buffer, scanner.start, scanner.firstLine), parsed))
    // Empty lines before it count up to the limit: Envoy is done with the faulty line before it sees the size.
    if (this.isTooLarge()) return this.refuse(parsed || !scanner.skipped ? HEADERS_TOO_LARGE : CODEC_ERROR)
    if (scanner.forbidden) return this.refuse(INVALID_CHARACTERS)
    if (!parsed) return this.refuse(CODEC_ERROR)
    const headers = new HeaderMap()
    headers.method = requestLine.method
    headers.path = requestLine.target
    const version = requestLine.version
    const stream = this.early ?? new ServerStream(this, Protocol.Http11, ++this.requests)
    stream.wireBytesReceived = scanner.end - scanner.start
    this.stream = stream
    const bad = readHeaderLines(scanner, headers, limits, REQUEST_JOINED)
    if (bad) return this.refuse(isLengthFaulty(headers) ? CODEC_ERROR : bad)
    countLinesReceived(stream.headerBytes, headers)
    const refused = settleRequest(headers, version, this.options, framing)
    // Only a target has a scheme so far.
    if (this.refusesHttps && headers.scheme === 'https') return this.refuse(HTTPS_ON_PLAINTEXT, version)
    const tooLow = version === Protocol.Http10 && !this.options.acceptHttp10
    // Whose request it is is looked at last.
    if (refused && !(tooLow && refused === INVALID_AUTHORITY)) return this.refuse(refused, version)
    if (tooLow) return this.refuse(LOW_VERSION)
    stream.protocol = version
    joinDuplicates(headers, REQUEST_JOINED)
    const decoder = this.earlyDecoder ?? this.callbacks.newStream(stream)
    this.early = null
    this.earlyDecoder = null
    stream.isHead = headers.method === 'HEAD'
    stream.isConnect = headers.method === 'CONNECT'
    if (framing.tunnel) this.body = Body.Tunnel
    else if (framing.chunked) {
      this.body = Body.Chunked
      this.chunked.reset()
    } else if (framing.length > 0) {
      this.body = Body.Length
      this.remaining = framing.length
    } else {
      this.body = Body.None
      stream.requestDone = true
      decoder.decodeHeaders(headers, true)
      this.maybeFinish(stream)
      return null
    }
    this.decoder = decoder
    decoder.decodeHeaders(headers, false)
    return null
  }

  /** Gives the refusal to a stream, made for it if need be, so that it is answered, counted and logged. */
  private refuse(error: CodecError, version: Protocol = Protocol.Http11): CodecError | null {
    this.failed = true
    const stream = this.stream ?? this.early ?? new ServerStream(this, Protocol.Http11, ++this.requests)
    this.stream = stream
    stream.wireBytesReceived = this.scanner.end - this.scanner.start
    const decoder = this.earlyDecoder ?? this.callbacks.newStream(stream)
    // The answer is of the version of the request, which whoever logs it has not been told of.
    stream.protocol = version
    const status = statusOf(error)
    decoder.sendCodecError(status, reasonPhrase(status), error.details)
    return null
  }

  /** Wrong bytes within a request that others know already. */
  private fail(error: CodecError): CodecError | null {
    this.failed = true
    const { decoder, stream } = this
    this.decoder = null
    if (decoder && stream && !stream.responseStarted) {
      decoder.sendCodecError(400, 'Bad Request', error.details)
      return null
    }
    return error
  }

  private onData(chunk: Buffer, end: boolean): void {
    const { decoder, stream } = this
    if (!decoder || !stream) return
    stream.wireBytesReceived += chunk.length
    if (end) {
      this.decoder = null
      stream.requestDone = true
    }
    decoder.decodeData(chunk, end)
    if (end) this.maybeFinish(stream)
  }

  onBodyChunk(chunk: Buffer): void {
    this.onData(chunk, false)
  }

  onBodyEnd(trailers: string): CodecError | null {
    const { decoder, stream } = this
    if (!decoder || !stream) return null
    stream.wireBytesReceived += this.chunked.framingBytes
    let block: HeaderMap | null = null
    if (trailers !== '') {
      block = new HeaderMap()
      const bad = parseHeaderLines(trailers, block, this.limits, REQUEST_JOINED)
      if (bad) return bad
      countLinesReceived(stream.headerBytes, block, true)
      if (!this.options.enableTrailers) block = null
    }
    this.decoder = null
    stream.requestDone = true
    if (block && block.size > 0) decoder.decodeTrailers(block)
    else decoder.decodeData(EMPTY, true)
    this.maybeFinish(stream)
    return null
  }

  /** The owner closes: HTTP connections are not half open (as in Envoy). */
  onEndOfInput(): CodecError | null {
    return null
  }

  /** Both directions of `stream` are done: the next request may come, after resume(). */
  maybeFinish(stream: ServerStream): void {
    if (this.stream !== stream || !stream.requestDone || !stream.responseDone) return
    this.stream = null
    stream.callbacks = null
    stream.releaseReads()
  }

  get holdsRequest(): boolean {
    return this.pipelined !== null && !this.dispatching && this.stream === null
  }

  /** Reads on behind the request that has just been answered. */
  resume(): CodecError | null {
    const { pipelined } = this
    if (pipelined === null || this.dispatching || this.stream !== null) return null
    const waiting = pipelined.subarray(0, this.pipelinedBytes)
    this.pipelined = null
    this.pipelinedBytes = 0
    if (this.pipelineFull) {
      this.pipelineFull = false
      this.connection.readDisable(false)
    }
    if (this.failed || this.last) return null
    this.dispatching = true
    const error = this.run(waiting, 0)
    this.dispatching = false
    return error
  }

  /** The answer announces the end of the connection: of what follows, only the rest of its request is looked at. */
  lastAnswer(): void {
    this.last = true
  }

  /** The request of the last answer is read, or its answer is out. */
  private isOver(): boolean {
    return this.last && (this.decoder === null || this.stream === null || this.stream.responseDone)
  }

  onConnectionClosed(): void {}
  goAway(): void {}
  shutdownNotice(): void {}

  onUnderlyingConnectionAboveWriteBufferHighWatermark(): void {
    this.stream?.callbacks?.onAboveWriteBufferHighWatermark()
  }

  onUnderlyingConnectionBelowWriteBufferLowWatermark(): void {
    this.stream?.callbacks?.onBelowWriteBufferLowWatermark()
  }

  /** 101 or 200 to CONNECT: from here on bytes are bytes. */
  becomeTunnel(): void {
    this.body = Body.Tunnel
  }
}

/** Filled by settleRequest for the request at hand. */
const framing = { tunnel: false, chunked: false, length: 0 }

/** One request's way back. */
class ServerStream implements ResponseEncoder, Stream {
  protocol: Protocol
  readonly id: number
  callbacks: StreamCallbacks | null = null
  wireBytesReceived = 0
  wireBytesSent = 0
  readonly headerBytes = newHeaderBytes()
  requestDone = false
  responseStarted = false
  responseDone = false
  isHead = false
  isConnect = false
  /** What is written waits in the connection, not in the stream: the connection's timeouts are for that. */
  readonly flushing = false
  flushTimeoutMs = 0
  connectFailed = false
  private readonly codec: Http1ServerConnection
  private chunkedBody = false
  private bodyless = false
  private paused = 0

  constructor(codec: Http1ServerConnection, protocol: Protocol, id: number) {
    this.codec = codec
    this.protocol = protocol
    this.id = id
  }

  get stream(): Stream {
    return this
  }

  encode1xxHeaders(headers: HeaderMap): void {
    const { connection, options } = this.codec
    this.wireBytesSent += writeHead(connection, this.statusLine(headers.status), headers, '', options.headerKeyFormat)
  }

  private statusLine(status: number): string {
    const http10 = this.protocol === Protocol.Http10 && this.codec.options.acceptHttp10
    return http10 ? statusLine10(status) : statusLine(status)
  }

  encodeHeaders(headers: HeaderMap, endStream: boolean): void {
    const { status } = headers
    this.responseStarted = true
    this.codec.countResponse()
    if (headers.get('connection') === 'close') this.codec.lastAnswer()
    const tunnel = status === 101 || (this.isConnect && status === 200)
    let framingLine = ''
    this.bodyless = this.isHead || status === 204 || status === 304 || status < 200
    if (tunnel) {
      this.bodyless = false
      this.codec.becomeTunnel()
    } else if (status === 204) {
      // A length without a body (RFC 9110 §8.6).
      headers.remove('content-length')
    } else if (!headers.has('content-length')) {
      if (endStream && !this.isHead) {
        if (status >= 200 && status !== 304) framingLine = `${this.framingName('content-length', headers)}: 0\r\n`
      } else if (this.protocol !== Protocol.Http10 && status >= 200 && status !== 304) {
        // Also in answer to HEAD: it says how the body of a GET would have come.
        this.chunkedBody = !this.bodyless
        framingLine = `${this.framingName('transfer-encoding', headers)}: chunked\r\n`
      }
    }
    const first = this.statusLine(status)
    const { connection, options } = this.codec
    const bytes = writeHead(connection, first, headers, framingLine, options.headerKeyFormat)
    this.wireBytesSent += bytes
    this.headerBytes?.addSent(bytes - first.length - 2, bytes - first.length - 2)
    if (endStream) this.finish()
  }

  private framingName(name: string, headers: HeaderMap): string {
    return shownName(name, headers.spellings, this.codec.options.headerKeyFormat)
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    const { connection } = this.codec
    if (chunk.length > 0 && !this.bodyless) {
      if (this.chunkedBody) {
        this.write(chunkHeader(chunk.length))
        connection.write(chunk, false)
        this.wireBytesSent += chunk.length
        this.write('\r\n')
      } else {
        connection.write(chunk, false)
        this.wireBytesSent += chunk.length
      }
    }
    if (!endStream) return
    if (this.chunkedBody) this.write('0\r\n\r\n')
    this.finish()
  }

  encodeTrailers(trailers: HeaderMap): void {
    if (this.chunkedBody) {
      const lines = this.codec.options.enableTrailers ? trailerLines(trailers) : ''
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
    this.responseDone = true
    this.codec.maybeFinish(this)
  }

  resetStream(_reason: StreamResetReason): void {
    this.callbacks = null
    this.codec.connection.close(CloseType.FlushWrite, '')
  }

  readDisable(disable: boolean): void {
    this.paused += disable ? 1 : -1
    this.codec.connection.readDisable(disable)
  }

  /** A finished stream must not keep the connection from reading the next request. */
  releaseReads(): void {
    while (this.paused > 0) this.readDisable(false)
  }
}
