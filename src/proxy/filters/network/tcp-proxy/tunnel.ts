// tunneling_config: the bytes of a TCP connection as the body of an HTTP request (CONNECT or POST) to the cluster and of
// its answer. To the filter a tunnel looks like the connection it stands for.

import { type RequestEncoder, type ResponseDecoder, StreamResetReason } from '../../../http/codec.ts'
import { HeaderMap } from '../../../http/header-map.ts'
import { DetectedClose } from '../../../network/close.ts'
import {
  type CloseType,
  type Connection,
  type ConnectionCallbacks,
  ConnectionEvent,
} from '../../../network/connection.ts'
import type { FilterState } from '../../../network/filter.ts'
import { compileHeaderFormat, type HeaderFormat } from '../../../observe/format/text-format.ts'
import { HeaderMutations } from '../../../route/header-mutation.ts'
import type { StreamInfo } from '../../../stream-info.ts'
import {
  type Cancellable,
  type HttpConnPool,
  type HttpPoolCallbacks,
  PoolFailureReason,
} from '../../../upstream/cluster-manager.ts'
import type { HostDescription } from '../../../upstream/host.ts'
import type { TunnelingConfig } from './config.ts'

/** Filter state in which the answer's headers and trailers are left, as Envoy names it. */
const RESPONSE_HEADERS = 'envoy.tcp_proxy.propagate_response_headers'
const RESPONSE_TRAILERS = 'envoy.tcp_proxy.propagate_response_trailers'
/** Filter state by which an earlier filter turns tunneling off for its connection. */
export const DISABLE_TUNNELING = 'envoy.tcp_proxy.disable_tunneling'

/** What tcp_proxy uses of an upstream: a connection, or a tunnel. */
export type TcpUpstream = Pick<
  Connection,
  'write' | 'readDisable' | 'close' | 'open' | 'bufferedBytes' | 'detectedClose' | 'callbacks'
>

/** Told once how the tunnel's making ended. */
export interface TunnelCallbacks {
  onTunnelReady(tunnel: Tunnel, connection: Connection, host: HostDescription): void
  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void
}

/** A compiled tunneling_config. */
export class Tunneling {
  readonly config: TunnelingConfig
  private readonly hostname: HeaderFormat
  private readonly mutations: HeaderMutations

  constructor(config: TunnelingConfig) {
    this.config = config
    this.hostname = compileHeaderFormat(config.hostname, 'hostname')
    this.mutations = new HeaderMutations({ add: config.headersToAdd, remove: [] })
  }

  request(info: StreamInfo, secure: boolean): HeaderMap {
    const { usePost, postPath } = this.config
    const headers = new HeaderMap()
    headers.method = usePost ? 'POST' : 'CONNECT'
    headers.authority = this.hostname.format(null, null, info)
    if (usePost) {
      headers.path = postPath
      headers.scheme = secure ? 'https' : 'http'
    }
    this.mutations.apply(headers, info, headers, null)
    return headers
  }
}

export class Tunnel implements ResponseDecoder, HttpPoolCallbacks, Cancellable {
  callbacks: ConnectionCallbacks = IGNORE
  readonly detectedClose: DetectedClose = DetectedClose.Normal
  private readonly tunneling: Tunneling
  private readonly info: StreamInfo
  private readonly state: FilterState
  private readonly secure: boolean
  private maker: TunnelCallbacks | null
  private pending: Cancellable | null = null
  private encoder: RequestEncoder | null = null
  private connection: Connection | null = null
  private host: HostDescription | null = null
  private writeEnded = false
  private readEnded = false
  private closed = false

  constructor(tunneling: Tunneling, info: StreamInfo, state: FilterState, secure: boolean, maker: TunnelCallbacks) {
    this.tunneling = tunneling
    this.info = info
    this.state = state
    this.secure = secure
    this.maker = maker
  }

  start(pool: HttpConnPool): void {
    const pending = pool.newStream(this, this)
    if (this.encoder === null && !this.closed) this.pending = pending
  }

  cancel(): void {
    this.maker = null
    this.pending?.cancel()
    this.pending = null
    this.reset()
  }

  // As a connection.

  get open(): boolean {
    return !this.closed
  }

  /** The stream's share of its connection is not known: the connection flushes by itself. */
  get bufferedBytes(): number {
    return 0
  }

  write(chunk: Buffer, endStream: boolean): void {
    if (this.encoder === null || this.writeEnded) return
    this.writeEnded = endStream
    this.encoder.encodeData(chunk, endStream)
    if (endStream && this.readEnded) this.finish(ConnectionEvent.RemoteClose)
  }

  readDisable(disable: boolean): void {
    this.encoder?.stream.readDisable(disable)
  }

  close(_type: CloseType): void {
    this.reset()
  }

  // Pool.

  onPoolReady(encoder: RequestEncoder, host: HostDescription, connection: Connection): void {
    this.pending = null
    this.encoder = encoder
    this.connection = connection
    this.host = host
    encoder.stream.callbacks = this
    encoder.encodeHeaders(this.tunneling.request(this.info, this.secure), false)
  }

  onPoolFailure(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    this.pending = null
    this.closed = true
    this.fail(reason, transportFailureReason, host)
  }

  private fail(reason: PoolFailureReason, transportFailureReason: string, host: HostDescription | null): void {
    const { maker } = this
    this.maker = null
    maker?.onPoolFailure(reason, transportFailureReason, host)
  }

  // Response.

  decode1xxHeaders(): void {}

  decodeHeaders(headers: HeaderMap, endStream: boolean): void {
    const { status } = headers
    if (this.tunneling.config.propagateResponseHeaders) this.state.set(RESPONSE_HEADERS, fieldsOf(headers))
    // Envoy takes 200 alone for a tunnel; one that has ended is none.
    if (status !== 200 || endStream) {
      this.reset()
      this.fail(PoolFailureReason.RemoteConnectionFailure, '', this.host)
      return
    }
    const { maker } = this
    this.maker = null
    maker?.onTunnelReady(this, this.connection!, this.host!)
  }

  decodeData(chunk: Buffer, endStream: boolean): void {
    if (this.closed) return
    this.readEnded = endStream
    this.callbacks.onData(chunk, endStream)
    if (endStream && this.writeEnded) this.finish(ConnectionEvent.RemoteClose)
  }

  decodeTrailers(trailers: HeaderMap): void {
    if (this.tunneling.config.propagateResponseTrailers) this.state.set(RESPONSE_TRAILERS, fieldsOf(trailers))
    this.decodeData(EMPTY, true)
  }

  // Stream.

  onResetStream(): void {
    this.encoder = null
    this.closed = true
    if (this.maker !== null) this.fail(PoolFailureReason.RemoteConnectionFailure, '', this.host)
    else this.callbacks.onEvent(ConnectionEvent.LocalClose)
  }

  onAboveWriteBufferHighWatermark(): void {
    this.callbacks.onAboveWriteBufferHighWatermark()
  }

  onBelowWriteBufferLowWatermark(): void {
    this.callbacks.onBelowWriteBufferLowWatermark()
  }

  private reset(): void {
    this.closed = true
    const { encoder } = this
    this.encoder = null
    if (encoder === null || (this.readEnded && this.writeEnded)) return
    encoder.stream.callbacks = null
    encoder.stream.resetStream(StreamResetReason.LocalReset)
  }

  private finish(event: ConnectionEvent): void {
    if (this.closed) return
    this.closed = true
    this.encoder = null
    this.callbacks.onEvent(event)
  }
}

function fieldsOf(headers: HeaderMap): Record<string, string> {
  const fields: Record<string, string> = {}
  if (headers.status > 0) fields[':status'] = String(headers.status)
  const { list } = headers
  for (let i = 0; i < list.length; i += 2) fields[list[i]!] = list[i + 1]!
  return fields
}

const EMPTY = Buffer.alloc(0)

const IGNORE: ConnectionCallbacks = {
  onData() {},
  onEvent() {},
  onAboveWriteBufferHighWatermark() {},
  onBelowWriteBufferLowWatermark() {},
}
