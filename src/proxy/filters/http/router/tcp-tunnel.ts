// CONNECT that ends here (route `connect_config`): the bytes of the request's body go to a plain connection, its bytes
// become the response's body. To the router it looks like any other pool.

import type { RequestEncoder, ResponseDecoder, Stream, StreamCallbacks } from '../../../http/codec.ts'
import { Protocol, StreamResetReason } from '../../../http/codec.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import type { ConnectionInfo } from '../../../network/connection.ts'
import { CloseType, type Connection, type ConnectionCallbacks, ConnectionEvent } from '../../../network/connection.ts'
import { proxyHeader } from '../../../network/proxy-protocol.ts'
import type { Cancellable, HttpConnPool, HttpPoolCallbacks, TcpConnPool } from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'

/** Plain CONNECT, or POST where the route takes that too. */
export function isTunnel(headers: HeaderMap, allowPost: boolean): boolean {
  return headers.method === 'CONNECT' || (allowPost && headers.method === 'POST')
}

/** The PROXY header of `version` for a connection made for `downstream`; null = none is asked for. */
export function tunnelHeader(version: 1 | 2 | null, downstream: ConnectionInfo | null): Buffer | null {
  if (version === null || downstream === null) return null
  const { remoteAddress: source, localAddress: destination } = downstream
  return proxyHeader({ version, ...NO_TLVS }, { source, destination, tlvs: [] }, destination, source)
}

const NO_TLVS = { passThrough: { all: false, types: [] }, added: [] }

/** Gives one TCP connection for each request. */
export class TcpTunnelPool implements HttpConnPool {
  readonly host: HostDescription
  private readonly pool: TcpConnPool
  private readonly header: Buffer | null

  /** `header` goes ahead of the request's bytes. */
  constructor(pool: TcpConnPool, header: Buffer | null) {
    this.pool = pool
    this.header = header
    this.host = pool.host
  }

  newStream(decoder: ResponseDecoder, callbacks: HttpPoolCallbacks): Cancellable | null {
    return this.pool.newConnection({
      onPoolReady: (connection, host) =>
        callbacks.onPoolReady(new TcpTunnel(connection, decoder, this.header), host, connection, Protocol.Http11),
      onPoolFailure: (reason, transportFailureReason, host) =>
        callbacks.onPoolFailure(reason, transportFailureReason, host),
    })
  }
}

class TcpTunnel implements RequestEncoder, Stream, ConnectionCallbacks {
  readonly protocol = Protocol.Http11
  readonly id = 1
  callbacks: StreamCallbacks | null = null
  wireBytesReceived = 0
  wireBytesSent = 0
  readonly headerBytes = null
  private readonly connection: Connection
  private readonly decoder: ResponseDecoder
  private readonly header: Buffer | null
  private ended = false

  constructor(connection: Connection, decoder: ResponseDecoder, header: Buffer | null) {
    this.connection = connection
    this.header = header
    this.decoder = decoder
    connection.callbacks = this
  }

  get stream(): Stream {
    return this
  }

  /** The connection stands, so the answer is known. */
  encodeHeaders(_headers: HeaderMap, endStream: boolean): void {
    if (endStream || this.header !== null) this.connection.write(this.header ?? EMPTY, endStream)
    const response = new HeaderMap()
    response.status = 200
    this.decoder.decodeHeaders(response, false)
  }

  encodeData(chunk: Buffer, endStream: boolean): void {
    this.wireBytesSent += chunk.length
    this.connection.write(chunk, endStream)
  }

  encodeTrailers(): void {
    this.connection.write(EMPTY, true)
  }

  resetStream(): void {
    this.ended = true
    this.callbacks = null
    this.connection.close(CloseType.NoFlush)
  }

  readDisable(disable: boolean): void {
    if (this.connection.open) this.connection.readDisable(disable)
  }

  onData(chunk: Buffer, endStream: boolean): void {
    if (this.ended) return
    this.wireBytesReceived += chunk.length
    if (endStream) this.ended = true
    this.decoder.decodeData(chunk, endStream)
    if (endStream) this.connection.close(CloseType.FlushWrite)
  }

  onEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.ended) return
    this.ended = true
    const { callbacks } = this
    this.callbacks = null
    callbacks?.onResetStream(StreamResetReason.ConnectionTermination, '')
  }

  onAboveWriteBufferHighWatermark(): void {
    this.callbacks?.onAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.callbacks?.onBelowWriteBufferLowWatermark()
  }
}

const EMPTY = Buffer.alloc(0)
