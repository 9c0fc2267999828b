// The seam between protocols and everything above: h1 and h2 hand up the same objects, nothing above asks which.
// Shapes and meanings are those of Envoy's envoy/http/codec.h.
//
// Data chunks are BORROWED: valid until the call returns, because sockets read into a reused buffer. Whoever keeps
// a chunk longer copies it.

import type { HeaderBytes } from './header-bytes.ts'
import type { HeaderMap } from './header-map.ts'

/** Wire protocol of a stream; the value is what `%PROTOCOL%` prints. */
export const Protocol = { Http10: 'HTTP/1.0', Http11: 'HTTP/1.1', Http2: 'HTTP/2' } as const
export type Protocol = (typeof Protocol)[keyof typeof Protocol]

/** Why a stream ended before its end. Text is Envoy's (envoy-contract §8), also used in response code details. */
export const StreamResetReason = {
  LocalReset: 'local reset',
  LocalRefusedStreamReset: 'local refused stream reset',
  RemoteReset: 'remote reset',
  RemoteRefusedStreamReset: 'remote refused stream reset',
  RemoteResetNoError: 'remote reset no error',
  LocalConnectionFailure: 'local connection failure',
  RemoteConnectionFailure: 'remote connection failure',
  ConnectionTimeout: 'connection timeout',
  ConnectionTermination: 'connection termination',
  Overflow: 'overflow',
  ConnectError: 'remote error with CONNECT request',
  ProtocolError: 'protocol error',
  OverloadManager: 'overload manager reset',
  Http1PrematureUpstreamHalfClose: 'HTTP/1 premature upstream half close',
} as const
export type StreamResetReason = (typeof StreamResetReason)[keyof typeof StreamResetReason]

/** What a stream tells its user besides data. */
export interface StreamCallbacks {
  /** The stream is gone; no further call in either direction. `details` is a response-code detail or ''. */
  onResetStream(reason: StreamResetReason, details: string): void
  /** The peer takes bytes slower than they are written: stop producing. Calls are paired with the one below. */
  onAboveWriteBufferHighWatermark(): void
  onBelowWriteBufferLowWatermark(): void
  /** What `flushing` was about is over: the end is on its way, or the peer has not taken it in time. */
  onFlushed?(): void
}

/** One stream's transport side. */
export interface Stream {
  readonly protocol: Protocol
  /** H2: the stream id; H1: a per-connection request number. */
  readonly id: number
  callbacks: StreamCallbacks | null
  resetStream(reason: StreamResetReason): void
  /** Counted: `true` stops delivering body bytes, the matching `false` resumes. */
  readDisable(disable: boolean): void
  /** Bytes on the wire so far, for access logs: header and body bytes as received and sent. */
  readonly wireBytesReceived: number
  readonly wireBytesSent: number
  /** null unless a log format prints them. */
  readonly headerBytes: HeaderBytes | null
}

/** Server side: what the codec calls with the parts of a request. */
export interface RequestDecoder {
  decodeHeaders(headers: HeaderMap, endStream: boolean): void
  decodeData(chunk: Buffer, endStream: boolean): void
  /** Ends the stream. */
  decodeTrailers(trailers: HeaderMap): void
  /** The codec refuses this request but the stream can still carry an answer (e.g. 400, 431). */
  sendCodecError(status: number, body: string, details: string): void
}

/** Server side: what the connection manager calls to answer. */
export interface ResponseEncoder {
  readonly stream: Stream
  /** The end has been encoded and waits for the peer's window; onFlushed or onResetStream follows. H1: never. */
  readonly flushing: boolean
  /** What was wrong with the request and let pass: a response-code detail for its log if the connection ends early, or ''. */
  readonly passedFault?: string
  /** The request is a CONNECT whose upstream connection failed: ending it early is told as that (RFC 9113 §8.5). H1: no use. */
  connectFailed: boolean
  /** How long that may take before the stream is reset; 0 = as long as it takes. */
  flushTimeoutMs: number
  /** 100, 102, 103. */
  encode1xxHeaders(headers: HeaderMap): void
  encodeHeaders(headers: HeaderMap, endStream: boolean): void
  encodeData(chunk: Buffer, endStream: boolean): void
  encodeTrailers(trailers: HeaderMap): void
}

/** Client side: what the codec calls with the parts of a response. */
export interface ResponseDecoder {
  decode1xxHeaders(headers: HeaderMap): void
  decodeHeaders(headers: HeaderMap, endStream: boolean): void
  decodeData(chunk: Buffer, endStream: boolean): void
  decodeTrailers(trailers: HeaderMap): void
}

/** Client side: what the router's upstream request calls. */
export interface RequestEncoder {
  readonly stream: Stream
  encodeHeaders(headers: HeaderMap, endStream: boolean): void
  encodeData(chunk: Buffer, endStream: boolean): void
  encodeTrailers(trailers: HeaderMap): void
}

/** A peer's fault on the wire: a value, not an exception. `details` is a response-code detail such as `http1.codec_error`. */
export interface CodecError {
  readonly details: string
  readonly message: string
  /** The stream that was at fault, whose details are others. */
  readonly stream?: { readonly id: number; readonly details: string }
}

/** A connection's codec, either side. */
export interface CodecConnection {
  readonly protocol: Protocol
  /** Feeds bytes. Returns null, or the error after which the connection must be closed (anything owed is written). */
  dispatch(chunk: Buffer): CodecError | null
  /** The peer half-closed: no more bytes. H1 clients end close-delimited bodies here. */
  onEndOfInput(): CodecError | null
  /** H2 GOAWAY without closing; H1: no-op. */
  goAway(): void
  /** First of the two GOAWAYs of a graceful drain (max stream id). H1: no-op. */
  shutdownNotice(): void
  /** Forwarded by the owner of the connection. */
  onUnderlyingConnectionAboveWriteBufferHighWatermark(): void
  onUnderlyingConnectionBelowWriteBufferLowWatermark(): void
}

export interface ServerCodecCallbacks {
  newStream(encoder: ResponseEncoder): RequestDecoder
  /** The client sent GOAWAY. */
  onGoAway(): void
}

export interface ClientCodecCallbacks {
  /** The server will take no further stream (GOAWAY, or H1 `connection: close`). */
  onGoAway(): void
  /**
   * A stream is over in both directions, or was reset. `reusable`: the connection can carry another one (H1: false
   * after `connection: close`, a close-delimited body or a reset; H2: true until GOAWAY).
   */
  onStreamComplete(reusable: boolean): void
  /** SETTINGS_MAX_CONCURRENT_STREAMS changed (H2). */
  onMaxStreamsChanged(max: number): void
  /** A stream was reset: by us, by the server, or with its connection (H2). */
  onStreamReset?(reason: StreamResetReason): void
  /** The connection closes as soon as the one stream that is left is over (H2). */
  endsWithStream?(): boolean
}

export interface ServerConnection extends CodecConnection {
  /**
   * The end of a stream has been noted (logs, counters): H1 reads on with a pipelined request, whose bytes it held
   * back. Returns what dispatch returns. H2: no-op.
   */
  resume(): CodecError | null
  /** Whether resume() has something to read. */
  readonly holdsRequest: boolean
  /** The connection is gone and its streams were told: what the codec counts of them ends. */
  onConnectionClosed(): void
}

export interface ClientConnection extends CodecConnection {
  /** The connection is gone: resets the streams that are left, without onStreamComplete. */
  onConnectionClosed(reason: StreamResetReason): void
  newStream(decoder: ResponseDecoder): RequestEncoder
}
