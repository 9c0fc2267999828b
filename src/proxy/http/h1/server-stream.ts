// One HTTP/1 request's way back: the head of its response with the framing that it needs, its body and its trailers.

import type { Connection } from '../../network/connection.ts'
import { CloseType } from '../../network/connection.ts'
import type { ResponseEncoder, Stream, StreamCallbacks, StreamResetReason } from '../codec.ts'
import { Protocol } from '../codec.ts'
import type { Http1Options } from '../connection-manager/config.ts'
import { newHeaderBytes } from '../header-bytes.ts'
import type { HeaderMap } from '../header-map.ts'
import { chunkHeader } from './chunked.ts'
import { shownName, statusLine, statusLine10, trailerLines, writeHead, writeText } from './encode.ts'

/** The connection, as what answers on it sees it. */
export interface AnsweredConnection {
  readonly connection: Connection
  readonly options: Http1Options
  /** A response begins. */
  countResponse(): void
  /** The answer announces the end of the connection: of what follows, only the rest of its request is looked at. */
  lastAnswer(): void
  /** 101 or 200 to CONNECT: from here on bytes are bytes. */
  becomeTunnel(): void
  /** Both directions of `stream` may be done: then the next request may come, after resume(). */
  maybeFinish(stream: ServerStream): void
}

/** One request's way back. */
export class ServerStream implements ResponseEncoder, Stream {
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
  private readonly codec: AnsweredConnection
  private chunkedBody = false
  private bodyless = false
  private paused = 0

  constructor(codec: AnsweredConnection, protocol: Protocol, id: number) {
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
