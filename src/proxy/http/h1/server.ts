// The server side of an HTTP/1 connection: requests in, responses out, one after another.

import { latin1 } from '../../../base/bytes.ts'
import type { Connection } from '../../network/connection.ts'
import { sliceOf } from '../../network/read-buffer.ts'
import type { CodecError, RequestDecoder, ServerCodecCallbacks, ServerConnection } from '../codec.ts'
import { Protocol } from '../codec.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import { HeaderMap } from '../header-map.ts'
import { joinDuplicates, REQUEST_JOINED } from '../joined-headers.ts'
import { ChunkedDecoder, type ChunkedSink } from './chunked.ts'
import { reasonPhrase } from './encode.ts'
import {
  CODEC_ERROR,
  countLinesReceived,
  HEADERS_TOO_LARGE,
  type HeadLimits,
  HeadScanner,
  INVALID_CHARACTERS,
  isLengthFaulty,
  parseHeaderLines,
} from './head.ts'
import { readHeaderLines } from './header-lines.ts'
import { PipelinedBytes } from './pipelined-bytes.ts'
import { HTTPS_ON_PLAINTEXT, LOW_VERSION, RESPONSE_FLOOD, shortLineError, statusOf } from './refusals.ts'
import {
  INVALID_AUTHORITY,
  mayBeginRequest,
  parseRequestLine,
  readRequestLine,
  requestLine,
  settleRequest,
} from './request.ts'
import { type AnsweredConnection, ServerStream } from './server-stream.ts'

const EMPTY = Buffer.alloc(0)
/** Responses that may wait to be sent before another request is taken (as in Envoy): pipelined ones need no upstream. */
const MAX_QUEUED_RESPONSES = 2
const Body = { None: 0, Length: 1, Chunked: 2, Tunnel: 3 } as const
type Body = (typeof Body)[keyof typeof Body]

export class Http1ServerConnection implements ServerConnection, ChunkedSink, AnsweredConnection {
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
  private readonly pipelined: PipelinedBytes
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
    this.pipelined = new PipelinedBytes(connection)
    this.chunked = new ChunkedDecoder(limits.maxBytes)
  }

  dispatch(chunk: Buffer): CodecError | null {
    if (this.failed || this.isOver()) return null
    if (this.pipelined.waiting) {
      this.pipelined.hold(chunk)
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
          this.pipelined.hold(buffer.subarray(at))
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

  maybeFinish(stream: ServerStream): void {
    if (this.stream !== stream || !stream.requestDone || !stream.responseDone) return
    this.stream = null
    stream.callbacks = null
    stream.releaseReads()
  }

  get holdsRequest(): boolean {
    return this.pipelined.waiting && !this.dispatching && this.stream === null
  }

  /** Reads on behind the request that has just been answered. */
  resume(): CodecError | null {
    const { pipelined } = this
    if (!pipelined.waiting || this.dispatching || this.stream !== null) return null
    const waiting = pipelined.take()
    if (this.failed || this.last) return null
    this.dispatching = true
    const error = this.run(waiting, 0)
    this.dispatching = false
    return error
  }

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

  becomeTunnel(): void {
    this.body = Body.Tunnel
  }
}

/** Filled by settleRequest for the request at hand. */
const framing = { tunnel: false, chunked: false, length: 0 }
