// A Connection over a net.Socket, plain or with TLS: an SslSocket between its bytes and the socket's.
//
// Reading: raw sockets read into one buffer that all connections of the thread share (see READ_BUFFER), so chunks are
// borrowed. Writing: small writes gather in a borrowed write buffer and leave in one system call at the end of the read
// callback. The system call is send(2) on the descriptor itself as long as nothing is queued in the stream: it takes
// the bytes before it returns, so the buffer can be used again at once, and it skips the stream machinery, which costs
// more than the call. What the kernel does not take is copied and queued in the stream.

import type { Socket } from 'node:net'
import { now } from '../../base/clock.ts'
import { DetectedClose } from './close.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from './connection.ts'
import type { SocketConnectionInfo } from './connection-info.ts'
import { reportFault } from './fault.ts'
import { acquireChunk, releaseChunk } from './queue-chunks.ts'
import { READ_BUFFER, readBytes } from './read-buffer.ts'
import type { SecureTransport } from './secure-transport.ts'
import { sendBytes } from './send.ts'
import { SslInfoSource } from './ssl-info.ts'
import { plainBytes, type SslSocket, SslState } from './tls/ssl-socket.ts'
import { brokenPipe, connectFailureText, socketFailureText } from './transport-error.ts'
import {
  acquireWriteBuffer,
  enterRead,
  leaveRead,
  markDirty,
  markDirtyForBatch,
  releaseWriteBuffer,
  WRITE_BUFFER_BYTES,
} from './write-buffer.ts'

/** Chunks of this size go to the socket without a copy. */
const DIRECT_WRITE_BYTES = 16 * 1024
const DEFAULT_BUFFER_LIMIT = 1024 * 1024
const EMPTY = Buffer.alloc(0)
const INTERNAL_ERROR = 'internal_error'

const OWNER = Symbol('connection')
interface OwnedSocket extends Socket {
  [OWNER]: SocketConnection
}
interface NativeHandle {
  readonly fd?: number
  /** Bytes of the write under way that the kernel has not taken. */
  readonly writeQueueSize?: number
}

/** Pass as `onread` when the socket is made; the connection attaches itself afterwards. */
export const sharedOnRead = { buffer: READ_BUFFER, callback: onRead }

/** Descriptor of a socket's handle, or -1. Node has no public access to it. */
export function socketFd(socket: Socket): number {
  const handle = (socket as unknown as { _handle: NativeHandle | null })._handle
  return handle?.fd ?? -1
}

/** Written to the socket and not taken by the kernel: what waits in the stream, less what went out of its first chunk. */
function unsentBytes(socket: Socket): number {
  const handle = (socket as unknown as { _handle: NativeHandle | null })._handle
  return socket.writableLength + (handle?.writeQueueSize ?? 0)
}

function hasHandle(socket: Socket): boolean {
  return (socket as unknown as { _handle: NativeHandle | null })._handle !== null
}

const State = { Connecting: 0, Open: 1, Closing: 2, Closed: 3 } as const
type State = (typeof State)[keyof typeof State]

const IGNORE: ConnectionCallbacks = {
  onData() {},
  onEvent() {},
  onAboveWriteBufferHighWatermark() {},
  onBelowWriteBufferLowWatermark() {},
}

export class SocketConnection implements Connection {
  readonly id: number
  readonly info: SocketConnectionInfo
  callbacks: ConnectionCallbacks = IGNORE
  bytesReceived = 0
  bytesSent = 0
  detectedClose: DetectedClose = DetectedClose.Normal
  transportFailureReason = ''
  connectTimedOut = false
  delayedCloseTimedOut = false
  localCloseReason = ''
  reserveOffset = 0
  aboveHighWatermark = false
  batchWrites = false

  private socket: Socket
  private readonly secure: SecureTransport | null
  private state: State
  /** -1 while connecting: then bytes go through the stream. */
  private fd = -1
  /** From the end of the TCP connect to the end of the connection, where there is TLS. */
  private ssl: SslSocket | null = null
  private buffer: Buffer | null = null
  private used = 0
  private dirty = false
  private endAfterFlush = false
  private closeWhenConnected: CloseType | -1 = -1
  private readEnded = false
  private writeEnded = false
  private disabledReads = 0
  private held: Buffer[] | null = null
  private heldEnd = false
  private bufferLimit = DEFAULT_BUFFER_LIMIT
  private delayedCloseMs = 0
  /** While closing: what had not left when the timer was set. */
  private unsentBytes = 0
  /** What the owner hears when the stream has closed. */
  private closeEvent: ConnectionEvent = ConnectionEvent.RemoteClose
  private timer: NodeJS.Timeout | null = null
  /** Both only for connections that ever queue. Oldest first; null = memory of its own. */
  private queuedChunks: (Buffer | null)[] | null = null
  private onQueuedWritten: ((error: Error | null | undefined) => void) | null = null

  /**
   * Takes over `socket`, made with `onread: sharedOnRead`; it is open, or `connecting`. With `secure` it counts as
   * connecting until the handshake that `startTls` begins is done.
   */
  constructor(socket: Socket, info: SocketConnectionInfo, connecting: boolean, secure: SecureTransport | null = null) {
    this.id = info.connectionId
    this.info = info
    this.socket = socket
    this.secure = secure
    this.state = connecting || secure !== null ? State.Connecting : State.Open
    this.attach(socket)
    if (!connecting) this.fd = socketFd(socket)
  }

  /**
   * Takes a connected socket in place of the unconnected one it was made with; false when the connection is closed
   * already. What follows a TCP connect (markConnected, startTls) comes next.
   */
  adopt(socket: Socket): boolean {
    if (this.state !== State.Connecting) return false
    this.socket.removeAllListeners()
    this.socket = socket
    this.attach(socket)
    if (this.disabledReads > 0 && this.secure === null) socket.pause()
    return true
  }

  private attach(socket: Socket): void {
    ;(socket as OwnedSocket)[OWNER] = this
    socket.on('end', onEnd)
    socket.on('error', onError)
    socket.on('close', onClose)
  }

  get open(): boolean {
    return this.state <= State.Open && this.closeWhenConnected === -1
  }

  get connecting(): boolean {
    return this.state === State.Connecting
  }

  get bufferedBytes(): number {
    return this.used + this.socket.writableLength
  }

  /** The TCP connection stands: `ssl` is this connection's from now on. A client speaks first. */
  startTls(ssl: SslSocket, client: boolean): void {
    if (this.state !== State.Connecting) {
      ssl.free()
      return
    }
    this.fd = socketFd(this.socket)
    this.ssl = ssl
    this.info.sslSource = new SslInfoSource(ssl)
    this.info.handshakeEnd = now()
    ssl.attach(this.fd)
    if (!client) return
    ssl.startHandshake(this.writesDirectly())
    this.queueOutput(ssl)
    if (ssl.state === SslState.Failed) this.failTransport(ssl)
  }

  /** The TCP connection stands and, with TLS, the handshake is done and the peer accepted. */
  markConnected(): void {
    if (this.state !== State.Connecting) return
    this.clearTimer()
    this.state = State.Open
    if (this.ssl === null) this.fd = socketFd(this.socket)
    else if (this.disabledReads > 0) this.socket.pause()
    enterRead()
    try {
      this.callbacks.onEvent(ConnectionEvent.Connected)
    } catch (error) {
      this.onFault(error)
    }
    if (this.used > 0 || this.endAfterFlush) this.flush()
    if (this.closeWhenConnected !== -1) this.close(this.closeWhenConnected)
    leaveRead()
  }

  /** Closes with LocalClose and `connectTimedOut` unless markConnected comes first. */
  startConnectTimer(timeoutMs: number): void {
    this.timer = setTimeout(onConnectTimeout, timeoutMs, this)
  }

  /** The socket's bytes are in READ_BUFFER. */
  receiveFromSocket(length: number): void {
    if (this.ssl === null) this.receive(readBytes(length))
    else this.receiveRecords(READ_BUFFER, 0, length)
  }

  /** Bytes that listener filters have peeked, before any of the socket's own. */
  receivePeeked(bytes: Buffer): void {
    if (this.ssl === null) this.receive(bytes)
    else {
      for (let at = 0; at < bytes.length; at += READ_BUFFER.length)
        this.receiveRecords(bytes, at, Math.min(READ_BUFFER.length, bytes.length - at))
    }
  }

  private receiveRecords(buffer: Buffer, from: number, length: number): void {
    const ssl = this.ssl
    if (ssl === null || this.state === State.Closed) return
    const handshaking = ssl.state === SslState.Handshake
    ssl.receive(buffer, from, length, this.writesDirectly())
    this.queueOutput(ssl)
    // The owner may close the connection at any of the steps below, and with it the SslSocket.
    const { plainLength, state } = ssl
    if (handshaking && state !== SslState.Handshake && (state !== SslState.Failed || ssl.handshakeDone))
      this.endHandshake(ssl)
    if (plainLength > 0) this.receive(plainBytes(plainLength))
    if (state === SslState.PeerClosed) this.receiveEnd()
    else if (state === SslState.Failed && this.ssl === ssl) this.failTransport(ssl)
  }

  private endHandshake(ssl: SslSocket): void {
    try {
      this.secure!.onHandshake(ssl, this.info)
    } catch (error) {
      this.onFault(error)
      return
    }
    this.markConnected()
  }

  private failTransport(ssl: SslSocket): void {
    this.secure!.onFailure(ssl)
    this.transportFailureReason = ssl.failureText
    this.info.downstreamTransportFailureReason = ssl.failureText
    // The alert is on its way.
    this.socket.destroySoon()
    this.finish(ConnectionEvent.RemoteClose)
  }

  /** Bytes may go to the descriptor: nothing waits in the stream, and the descriptor is still this socket's. */
  private writesDirectly(): boolean {
    return this.fd >= 0 && this.socket.writableLength === 0 && hasHandle(this.socket)
  }

  private queueOutput(ssl: SslSocket): void {
    const output = ssl.takeOutput()
    if (output !== null) this.queue(output, null)
  }

  private sayCloseNotify(): void {
    const { ssl } = this
    if (ssl === null) return
    ssl.shutdown(this.writesDirectly())
    this.queueOutput(ssl)
  }

  /**
   * Hands on bytes: of the socket, or peeked by listener filters before the connection existed. Borrowed as ever. A
   * pause does not stop what is read already (peeked bytes, what TLS has decrypted): that is kept until reading resumes.
   */
  receive(chunk: Buffer): void {
    if (this.state > State.Open) return
    if (this.disabledReads > 0 || this.held !== null) {
      this.held ??= []
      this.held.push(Buffer.from(chunk))
      return
    }
    this.deliver(chunk)
  }

  private deliver(chunk: Buffer): void {
    this.bytesReceived += chunk.length
    enterRead()
    try {
      this.callbacks.onData(chunk, false)
    } catch (error) {
      this.onFault(error)
    }
    leaveRead()
  }

  /** The peer has half-closed (or has said close_notify). */
  receiveEnd(): void {
    if (this.state === State.Closed) return
    if (this.ssl !== null && this.ssl.state === SslState.Handshake) {
      this.failTransport(this.ssl)
      return
    }
    if (this.readEnded) return
    if (this.state === State.Closing) {
      this.readEnded = true
      this.socket.destroy()
      return
    }
    if (this.held !== null) {
      this.heldEnd = true
      return
    }
    this.readEnded = true
    enterRead()
    try {
      this.callbacks.onData(EMPTY, true)
    } catch (error) {
      this.onFault(error)
    }
    leaveRead()
    if (this.writeEnded) this.closeWhenWritten(ConnectionEvent.RemoteClose)
  }

  /** Reading has resumed: first what was kept, in order, as long as nobody pauses again. */
  deliverHeld(): void {
    while (this.held !== null && this.disabledReads === 0 && this.state <= State.Open) {
      const chunk = this.held.shift()
      if (chunk === undefined) {
        this.held = null
        this.socket.resume()
        if (this.heldEnd) this.receiveEnd()
        return
      }
      this.deliver(chunk)
    }
  }

  write(chunk: Buffer, endStream: boolean): void {
    if (this.state > State.Open || this.writeEnded) return
    const length = chunk.length
    this.bytesSent += length
    if (length >= DIRECT_WRITE_BYTES && this.state === State.Open) {
      if (this.used > 0) this.flushBuffer()
      this.send(chunk, length)
      this.checkHighWatermark()
    } else if (length > 0) {
      chunk.copy(this.room(length), this.used)
      this.used += length
      this.schedule()
    }
    if (endStream) {
      this.writeEnded = true
      this.endAfterFlush = true
      this.schedule()
    }
  }

  reserve(size: number): Buffer {
    const buffer = this.room(size)
    this.reserveOffset = this.used
    return buffer
  }

  commit(used: number): void {
    if (this.state > State.Open || this.writeEnded) return
    this.bytesSent += used
    this.used += used
    this.schedule()
  }

  flush(): void {
    this.dirty = false
    if (this.state === State.Connecting) {
      if (this.used > this.bufferLimit) this.checkHighWatermark()
      return
    }
    if (this.state === State.Closed) return
    if (this.used > 0) this.flushBuffer()
    if (this.endAfterFlush) {
      this.endAfterFlush = false
      this.sayCloseNotify()
      this.socket.end()
      if (this.readEnded) this.closeWhenWritten(ConnectionEvent.LocalClose)
    }
    this.checkHighWatermark()
  }

  readDisable(disable: boolean): void {
    // A TLS handshake needs the socket read: what is asked meanwhile takes effect when it is done.
    const now = this.secure === null || this.state !== State.Connecting
    if (disable) {
      if (this.disabledReads++ === 0 && now) this.socket.pause()
    } else if (--this.disabledReads === 0) {
      // Not from within the caller: it may stand in the middle of its own onData.
      if (this.held !== null) process.nextTick(deliverHeld, this)
      else if (now) this.socket.resume()
    } else if (this.disabledReads < 0) throw new Error('readDisable(false) without its readDisable(true)')
  }

  close(type: CloseType, details = ''): void {
    if (this.state === State.Closed || (this.state === State.Closing && type < CloseType.NoFlush)) return
    if (details !== '' && this.info.connectionTerminationDetails === '')
      this.info.connectionTerminationDetails = details
    const connecting = this.state === State.Connecting
    if (connecting && type < CloseType.NoFlush && this.used > 0) {
      // What is written leaves once the connection stands; nothing more is taken.
      this.writeEnded = true
      this.closeWhenConnected = type
      return
    }
    if (!connecting && type < CloseType.NoFlush && this.used > 0) this.flushBuffer()
    if (type === CloseType.FlushWriteAndDelay && !connecting && !this.readEnded && this.delayedCloseMs > 0) {
      this.state = State.Closing
      this.sayCloseNotify()
      this.socket.end()
      this.socket.resume()
      this.startDelayedCloseTimer()
      return
    }
    if (type < CloseType.NoFlush && !connecting) {
      this.state = State.Closing
      this.closeWhenWritten(ConnectionEvent.LocalClose)
      if (this.delayedCloseMs > 0 && this.state === State.Closing) this.startDelayedCloseTimer()
      return
    }
    if (type === CloseType.AbortReset) {
      this.detectedClose = DetectedClose.LocalReset
      this.socket.resetAndDestroy()
    } else {
      this.sayCloseNotify()
      this.socket.destroy()
    }
    this.finish(ConnectionEvent.LocalClose)
  }

  setBufferLimits(bytes: number): void {
    this.bufferLimit = bytes > 0 ? bytes : Number.POSITIVE_INFINITY
  }

  setDelayedCloseTimeoutMs(timeoutMs: number): void {
    this.delayedCloseMs = timeoutMs
  }

  setNoDelay(on: boolean): void {
    this.socket.setNoDelay(on)
  }

  /** Called by the socket's listeners below. */
  onSocketError(error: NodeJS.ErrnoException): void {
    if (this.state === State.Closed) return
    if (this.state === State.Connecting && this.transportFailureReason === '') {
      this.transportFailureReason =
        this.ssl === null ? connectFailureText(error, this.info.remoteAddress) : socketFailureText(error)
    }
    this.closeEvent = ConnectionEvent.RemoteClose
    if (error.code === 'ECONNRESET' && this.state === State.Open) this.detectedClose = DetectedClose.RemoteReset
    this.info.downstreamTransportFailureReason = this.transportFailureReason
  }

  onSocketClosed(): void {
    this.finish(this.closeEvent)
  }

  onConnectTimeout(): void {
    if (this.state !== State.Connecting) return
    this.connectTimedOut = true
    this.close(CloseType.NoFlush)
  }

  private startDelayedCloseTimer(): void {
    this.clearTimer()
    this.unsentBytes = unsentBytes(this.socket)
    this.timer = setTimeout(onDelayedCloseTimeout, this.delayedCloseMs, this)
  }

  /** A peer that takes what is left slowly gets it all (as Envoy): only a whole period without a byte ends it. */
  onDelayedCloseTimeout(): void {
    if (this.state !== State.Closing) return
    if (unsentBytes(this.socket) < this.unsentBytes) {
      this.startDelayedCloseTimer()
      return
    }
    this.delayedCloseTimedOut = true
    this.socket.destroy()
    this.finish(ConnectionEvent.LocalClose)
  }

  onFault(error: unknown): void {
    reportFault(error, `connection ${this.id}`)
    this.localCloseReason = INTERNAL_ERROR
    this.close(CloseType.NoFlush, INTERNAL_ERROR)
  }

  /** The event is the last thing the owner hears. */
  private finish(event: ConnectionEvent): void {
    if (this.state === State.Closed) return
    this.state = State.Closed
    this.fd = -1
    this.clearTimer()
    if (this.buffer !== null) {
      releaseWriteBuffer(this.buffer)
      this.buffer = null
      this.used = 0
    }
    enterRead()
    try {
      this.callbacks.onEvent(event)
    } catch (error) {
      reportFault(error, `connection ${this.id}`)
    }
    leaveRead()
    this.freeTls()
  }

  private freeTls(): void {
    const { ssl } = this
    if (ssl === null) return
    this.ssl = null
    this.info.sslSource?.release()
    ssl.free()
  }

  private closeWhenWritten(event: ConnectionEvent): void {
    this.closeEvent = event
    this.sayCloseNotify()
    if (this.socket.writableLength > 0) {
      // The stream writes what it has; 'close' follows.
      this.socket.destroySoon()
      return
    }
    if (this.ssl === null) this.socket.destroy()
    else this.socket.destroySoon()
    this.finish(event)
  }

  /** The write buffer with at least `size` free bytes after `used`. */
  private room(size: number): Buffer {
    const buffer = this.buffer
    if (buffer !== null) {
      if (buffer.length - this.used >= size) return buffer
      if (this.state === State.Open && this.used > 0) {
        this.flushBuffer()
        return this.room(size)
      }
      return this.grow(buffer, this.used + size)
    }
    this.buffer = size <= WRITE_BUFFER_BYTES ? acquireWriteBuffer() : Buffer.allocUnsafeSlow(size)
    return this.buffer
  }

  /** While connecting nothing can leave: the buffer grows with what is written (bounded by the owner's watermarks). */
  private grow(buffer: Buffer, needed: number): Buffer {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, buffer.length * 2))
    buffer.copy(larger, 0, 0, this.used)
    releaseWriteBuffer(buffer)
    this.buffer = larger
    return larger
  }

  private schedule(): void {
    if (this.dirty) return
    this.dirty = true
    if (this.batchWrites) markDirtyForBatch(this)
    else markDirty(this)
  }

  private flushBuffer(): void {
    const buffer = this.buffer!
    const used = this.used
    this.buffer = null
    this.used = 0
    this.send(buffer, used)
    releaseWriteBuffer(buffer)
  }

  /** Gives the first `length` bytes to the kernel; refers to `buffer` no more when it returns. */
  private send(buffer: Buffer, length: number): void {
    const { socket, ssl } = this
    if (ssl !== null) {
      if (!ssl.write(buffer, 0, length, this.writesDirectly())) socket.destroy(brokenPipe())
      this.queueOutput(ssl)
      return
    }
    // A destroyed socket's descriptor may belong to another connection already.
    const direct = this.writesDirectly()
    // A broken socket takes nothing: the stream meets the same error and reports it the ordinary way.
    const taken = direct ? sendBytes(this.fd, buffer, length) : 0
    if (taken < length) this.enqueue(buffer, taken, length)
  }

  private enqueue(buffer: Buffer, from: number, to: number): void {
    const length = to - from
    const chunk = acquireChunk(length)
    const copy = chunk === null ? Buffer.allocUnsafeSlow(length) : chunk.subarray(0, length)
    buffer.copy(copy, 0, from, to)
    this.queue(copy, chunk)
  }

  /** To the stream. `chunk`: of queue-chunks.ts, where `bytes` are. */
  private queue(bytes: Buffer, chunk: Buffer | null): void {
    this.queuedChunks ??= []
    this.queuedChunks.push(chunk)
    this.onQueuedWritten ??= (error) => this.onBytesWritten(error)
    this.socket.write(bytes, this.onQueuedWritten)
  }

  /** The stream is done with the oldest of what was queued. After an error it may not be: then the chunk is left to it. */
  private onBytesWritten(error: Error | null | undefined): void {
    const chunk = this.queuedChunks!.shift()!
    if (chunk !== null && !error) releaseChunk(chunk)
    this.checkLowWatermark()
  }

  private checkHighWatermark(): void {
    if (this.aboveHighWatermark || this.bufferedBytes <= this.bufferLimit || this.state > State.Open) return
    this.aboveHighWatermark = true
    this.callbacks.onAboveWriteBufferHighWatermark()
  }

  private checkLowWatermark(): void {
    if (!this.aboveHighWatermark || this.bufferedBytes > this.bufferLimit / 2 || this.state > State.Open) return
    this.aboveHighWatermark = false
    enterRead()
    try {
      this.callbacks.onBelowWriteBufferLowWatermark()
    } catch (error) {
      this.onFault(error)
    }
    leaveRead()
  }

  private clearTimer(): void {
    if (this.timer === null) return
    clearTimeout(this.timer)
    this.timer = null
  }
}

// Module-level listeners: `this` is the socket, no closure for each connection.

function onRead(this: unknown, length: number, _buffer: Uint8Array): boolean {
  ;(this as OwnedSocket)[OWNER].receiveFromSocket(length)
  return true
}

function onEnd(this: Socket): void {
  ;(this as OwnedSocket)[OWNER].receiveEnd()
}

function onError(this: Socket, error: NodeJS.ErrnoException): void {
  ;(this as OwnedSocket)[OWNER].onSocketError(error)
}

function onClose(this: Socket): void {
  ;(this as OwnedSocket)[OWNER].onSocketClosed()
}

function deliverHeld(connection: SocketConnection): void {
  connection.deliverHeld()
}

function onConnectTimeout(connection: SocketConnection): void {
  connection.onConnectTimeout()
}

function onDelayedCloseTimeout(connection: SocketConnection): void {
  connection.onDelayedCloseTimeout()
}
