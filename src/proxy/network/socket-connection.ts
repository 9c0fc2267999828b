// A Connection over a net.Socket, plain or with TLS: a TlsLayer between its bytes and the socket's.
//
// Raw sockets read into one buffer that all connections of the thread share (see READ_BUFFER), so chunks are borrowed.
// How bytes leave is in writing-half.ts.

import type { Socket } from 'node:net'
import { DetectedClose } from './close.ts'
import { CloseType, type Connection, ConnectionEvent } from './connection.ts'
import type { SocketConnectionInfo } from './connection-info.ts'
import { reportFault } from './fault.ts'
import { HeldReads } from './held-reads.ts'
import { READ_BUFFER, readBytes } from './read-buffer.ts'
import type { SecureTransport } from './secure-transport.ts'
import { socketFd, unsentBytes } from './socket-handle.ts'
import { ownSocket, type SocketOwner } from './socket-owner.ts'
import type { SslSocket } from './tls/ssl-socket.ts'
import { TlsLayer } from './tls-layer.ts'
import { connectFailureText, isOptionRefused, socketFailureText } from './transport-error.ts'
import { enterRead, leaveRead } from './write-buffer.ts'
import { State, WritingHalf } from './writing-half.ts'

const EMPTY = Buffer.alloc(0)
const INTERNAL_ERROR = 'internal_error'

export class SocketConnection extends WritingHalf implements Connection, SocketOwner {
  readonly id: number
  readonly info: SocketConnectionInfo
  bytesReceived = 0
  detectedClose: DetectedClose = DetectedClose.Normal
  transportFailureReason = ''
  connectTimedOut = false
  bindFailed = false
  delayedCloseTimedOut = false
  localCloseReason = ''

  private readonly secure: SecureTransport | null
  private closeWhenConnected: CloseType | -1 = -1
  private readEnded = false
  private disabledReads = 0
  private held: HeldReads | null = null
  private delayedCloseMs = 0
  /** While closing: what had not left when the timer was set. */
  private unsentBytes = 0
  /** What the owner hears when the stream has closed. */
  private closeEvent: ConnectionEvent = ConnectionEvent.RemoteClose
  private timer: NodeJS.Timeout | null = null

  /**
   * Takes over `socket`, made with `onread: sharedOnRead`; it is open, or `connecting`. With `secure` it counts as
   * connecting until the handshake that `startTls` begins is done.
   */
  constructor(socket: Socket, info: SocketConnectionInfo, connecting: boolean, secure: SecureTransport | null = null) {
    super(socket, connecting || secure !== null ? State.Connecting : State.Open)
    this.id = info.connectionId
    this.info = info
    this.secure = secure
    ownSocket(socket, this)
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
    ownSocket(socket, this)
    if (this.disabledReads > 0 && this.secure === null) socket.pause()
    return true
  }

  get open(): boolean {
    return this.state <= State.Open && this.closeWhenConnected === -1
  }

  get connecting(): boolean {
    return this.state === State.Connecting
  }

  /** The TCP connection stands: `ssl` is this connection's from now on. A client speaks first. */
  startTls(ssl: SslSocket, client: boolean): void {
    if (this.state !== State.Connecting) {
      ssl.free()
      return
    }
    this.fd = socketFd(this.socket)
    this.tls = new TlsLayer(ssl, this.secure!, this.info, this, this.fd)
    if (client) this.tls.startClientHandshake()
  }

  /** The TCP connection stands and, with TLS, the handshake is done and the peer accepted. */
  markConnected(): void {
    if (this.state !== State.Connecting) return
    this.clearTimer()
    this.state = State.Open
    if (this.tls === null) this.fd = socketFd(this.socket)
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

  receiveFromSocket(length: number): void {
    if (this.tls === null) this.receive(readBytes(length))
    else this.tls.receive(READ_BUFFER, 0, length)
  }

  /** Bytes that listener filters have peeked, before any of the socket's own. */
  receivePeeked(bytes: Buffer): void {
    if (this.tls === null) this.receive(bytes)
    else this.tls.receivePeeked(bytes)
  }

  /** TLS has failed: what is written is on its way, and nothing else will follow. */
  onTransportFailure(text: string): void {
    this.transportFailureReason = text
    this.info.downstreamTransportFailureReason = text
    this.socket.destroySoon()
    this.finish(ConnectionEvent.RemoteClose)
  }

  /**
   * Hands on bytes: of the socket, or peeked by listener filters before the connection existed. Borrowed as ever.
   */
  receive(chunk: Buffer): void {
    if (this.state > State.Open) return
    if (this.disabledReads > 0 || this.held !== null) {
      this.held ??= new HeldReads()
      this.held.add(chunk)
      return
    }
    this.deliver(chunk)
  }

  private deliver(chunk: Buffer): void {
    this.bytesReceived += chunk.length
    this.buffered?.setReceived(chunk.length)
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
    if (this.tls?.handshaking) {
      this.tls.fail()
      return
    }
    if (this.readEnded) return
    if (this.state === State.Closing) {
      this.readEnded = true
      this.socket.destroy()
      return
    }
    if (this.held !== null) {
      this.held.ended = true
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
      const { held } = this
      const chunk = held.next()
      if (chunk === undefined) {
        this.held = null
        this.socket.resume()
        if (held.ended) this.receiveEnd()
        return
      }
      this.deliver(chunk)
    }
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
      this.tls?.sayCloseNotify()
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
      this.tls?.sayCloseNotify()
      this.socket.destroy()
    }
    this.finish(ConnectionEvent.LocalClose)
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
        this.tls === null ? connectFailureText(error, this.info.remoteAddress) : socketFailureText(error)
    }
    this.bindFailed = this.state === State.Connecting && error.syscall === 'bind'
    this.closeEvent =
      this.bindFailed || isOptionRefused(error) ? ConnectionEvent.LocalClose : ConnectionEvent.RemoteClose
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
    this.buffered?.release()
    this.clearTimer()
    this.dropBuffer()
    enterRead()
    try {
      this.callbacks.onEvent(event)
    } catch (error) {
      reportFault(error, `connection ${this.id}`)
    }
    leaveRead()
    const { tls } = this
    this.tls = null
    tls?.free()
  }

  protected onWriteEnded(): void {
    if (this.readEnded) this.closeWhenWritten(ConnectionEvent.LocalClose)
  }

  private closeWhenWritten(event: ConnectionEvent): void {
    this.closeEvent = event
    this.tls?.sayCloseNotify()
    if (this.socket.writableLength > 0) {
      // The stream writes what it has; 'close' follows.
      this.socket.destroySoon()
      return
    }
    if (this.tls === null) this.socket.destroy()
    else this.socket.destroySoon()
    this.finish(event)
  }

  private clearTimer(): void {
    if (this.timer === null) return
    clearTimeout(this.timer)
    this.timer = null
  }
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
