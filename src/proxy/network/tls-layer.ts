// TLS between a connection's bytes and its socket's, from the end of the TCP connect to the end of the connection.

import { now } from '../../base/clock.ts'
import type { SocketConnectionInfo } from './connection-info.ts'
import { READ_BUFFER } from './read-buffer.ts'
import type { SecureTransport } from './secure-transport.ts'
import { SslInfoSource } from './ssl-info.ts'
import { plainBytes, type SslSocket, SslState } from './tls/ssl-socket.ts'

/** The connection, as its TLS sees it. It may close at any of these calls, and free the layer with it. */
interface TlsOwner {
  /** Bytes may go to the descriptor now. */
  writesDirectly(): boolean
  /** To the stream: what the descriptor did not take. */
  queueRecords(bytes: Buffer): void
  /** The handshake is done and the peer accepted. */
  markConnected(): void
  /** Decrypted, borrowed. */
  receive(chunk: Buffer): void
  receiveEnd(): void
  /** The handshake or a record has failed; the alert is on its way. `text` is Envoy's. */
  onTransportFailure(text: string): void
  onFault(error: unknown): void
}

export class TlsLayer {
  private readonly ssl: SslSocket
  private readonly transport: SecureTransport
  private readonly info: SocketConnectionInfo
  private readonly owner: TlsOwner

  /** `ssl` is the layer's from now on; records go to the descriptor `fd` as long as nothing is queued. */
  constructor(ssl: SslSocket, transport: SecureTransport, info: SocketConnectionInfo, owner: TlsOwner, fd: number) {
    this.ssl = ssl
    this.transport = transport
    this.info = info
    this.owner = owner
    info.sslSource = new SslInfoSource(ssl)
    info.handshakeEnd = now()
    ssl.attach(fd)
  }

  get handshaking(): boolean {
    return this.ssl.state === SslState.Handshake
  }

  /** A client speaks first. */
  startClientHandshake(): void {
    this.ssl.startHandshake(this.owner.writesDirectly())
    this.queueOutput()
    if (this.ssl.state === SslState.Failed) this.fail()
  }

  /** Bytes of the socket, at most READ_BUFFER's length at a time. */
  receive(buffer: Buffer, from: number, length: number): void {
    const { ssl } = this
    if (ssl.freed) return
    const handshaking = ssl.state === SslState.Handshake
    ssl.receive(buffer, from, length, this.owner.writesDirectly())
    this.queueOutput()
    const { plainLength, state } = ssl
    if (handshaking && state !== SslState.Handshake && (state !== SslState.Failed || ssl.handshakeDone))
      this.endHandshake()
    if (plainLength > 0) this.owner.receive(plainBytes(plainLength))
    if (state === SslState.PeerClosed) this.owner.receiveEnd()
    else if (state === SslState.Failed && !ssl.freed) this.fail()
  }

  /** Bytes that listener filters have peeked, however many. */
  receivePeeked(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += READ_BUFFER.length)
      this.receive(bytes, at, Math.min(READ_BUFFER.length, bytes.length - at))
  }

  /** Encrypts the first `length` bytes; false = the connection is broken. Refers to `buffer` no more afterwards. */
  write(buffer: Buffer, length: number): boolean {
    const written = this.ssl.write(buffer, 0, length, this.owner.writesDirectly())
    this.queueOutput()
    return written
  }

  /** The peer ended the connection in the middle of the handshake, or TLS failed. */
  fail(): void {
    const { ssl } = this
    this.transport.onFailure(ssl)
    this.owner.onTransportFailure(ssl.failureText)
  }

  sayCloseNotify(): void {
    this.ssl.shutdown(this.owner.writesDirectly())
    this.queueOutput()
  }

  free(): void {
    this.info.sslSource?.release()
    this.ssl.free()
  }

  private endHandshake(): void {
    try {
      this.transport.onHandshake(this.ssl, this.info)
    } catch (error) {
      this.owner.onFault(error)
      return
    }
    this.owner.markConnected()
  }

  private queueOutput(): void {
    const output = this.ssl.takeOutput()
    if (output !== null) this.owner.queueRecords(output)
  }
}
