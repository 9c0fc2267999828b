// Upstream connections: TCP or Unix socket, plain or TLS, with the options that a cluster asks for.

import { type NetConnectOpts, connect as netConnect, Socket } from 'node:net'
import {
  type ConnectionOptions,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls'
import { ipAddress, pipePath } from './address.ts'
import type { Address, Connection, SslInfo } from './connection.ts'
import { SocketConnectionInfo } from './connection-info.ts'
import { reportFault } from './fault.ts'
import { SocketConnection, sharedOnRead, socketFd } from './socket-connection.ts'
import { type SocketOption, setSocketOptions, socketWithOptions } from './socket-options.ts'

export interface TcpKeepalive {
  /** Unanswered probes before the connection is dead; 0 = the system's default. */
  readonly probes: number
  /** Idle seconds before the first probe; 0 = the system's default. */
  readonly timeS: number
  /** Seconds between probes; 0 = the system's default. */
  readonly intervalS: number
}

/** A client's TLS, ready to use: contexts are built once for a secret version (see tls/). */
export interface ClientTls {
  readonly secureContext: SecureContext
  /** '' = no SNI. */
  readonly serverName: string
  readonly alpnProtocols: readonly string[]
  /** A session of an earlier connection to resume, or undefined. */
  session(): Buffer | undefined
  onSession(session: Buffer): void
  /** Envoy's failure text, or '' when the peer is accepted. */
  verify(socket: TLSSocket): string
  /** After verify: what is known of the peer, also on a resumed session, whose socket has no certificate any more. */
  sslInfo(socket: TLSSocket): () => SslInfo
}

export interface ConnectOptions {
  /** Local address to bind: `127.0.0.6` for Istio's inbound passthrough; port 0 = any. */
  readonly bindSource: Address | null
  readonly tls: ClientTls | null
  /** Covers TCP connect and TLS handshake; 0 = none. */
  readonly connectTimeoutMs: number
  readonly keepalive: TcpKeepalive | null
  /** setsockopt before connect: SO_MARK and whatever the configuration lists. */
  readonly socketOptions: readonly SocketOption[]
  /** Soft limit of unsent bytes; 0 = none. */
  readonly bufferLimitBytes: number
}

/** Opens a connection. Set `callbacks` at once: no event comes before this turn of the event loop ends. */
export function openConnection(address: Address, options: ConnectOptions): Connection {
  const info = new SocketConnectionInfo(options.bindSource ?? NO_ADDRESS, address)
  const socket = options.tls === null ? connectPlain(address, options) : connectTls(address, options, options.tls)
  socket.setNoDelay(true)
  const connection = new SocketConnection(socket, info, true)
  connection.setBufferLimits(options.bufferLimitBytes)
  if (options.connectTimeoutMs > 0) connection.startConnectTimer(options.connectTimeoutMs)
  socket.once('connect', onTcpConnect.bind(null, socket, connection, options))
  if (options.tls !== null) {
    info.transportProtocol = 'tls'
    const tls = options.tls
    const secure = socket as TLSSocket
    secure.on('session', (session: Buffer) => tls.onSession(session))
    secure.once('secureConnect', () => {
      try {
        onSecureConnect(secure, connection, tls)
      } catch (error) {
        reportFault(error, `handshake of connection ${connection.id}`)
        connection.failTransport('')
      }
    })
  }
  return connection
}

const NO_ADDRESS = ipAddress('0.0.0.0', 0)

function onTcpConnect(socket: Socket, connection: SocketConnection, options: ConnectOptions): void {
  if (options.keepalive !== null) setKeepalive(socket, options.keepalive)
  if (socket.localAddress !== undefined)
    connection.info.localAddress = ipAddress(socket.localAddress, socket.localPort ?? 0)
  if (options.tls === null) connection.markConnected()
}

function onSecureConnect(socket: TLSSocket, connection: SocketConnection, tls: ClientTls): void {
  const failure = tls.verify(socket)
  if (failure !== '') {
    connection.failTransport(failure)
    return
  }
  connection.info.sslSource = tls.sslInfo(socket)
  connection.info.requestedServerName = tls.serverName
  connection.info.applicationProtocols = tls.alpnProtocols
  connection.info.negotiatedProtocol = socket.alpnProtocol || ''
  connection.markConnected()
}

function setKeepalive(socket: Socket, keepalive: TcpKeepalive): void {
  socket.setKeepAlive(true, keepalive.timeS * 1000)
  const options: SocketOption[] = []
  if (keepalive.intervalS > 0) options.push({ level: IPPROTO_TCP, name: TCP_KEEPINTVL, value: keepalive.intervalS })
  if (keepalive.probes > 0) options.push({ level: IPPROTO_TCP, name: TCP_KEEPCNT, value: keepalive.probes })
  if (options.length > 0) setSocketOptions(socketFd(socket), options)
}

const IPPROTO_TCP = 6
const TCP_KEEPINTVL = 5
const TCP_KEEPCNT = 6

function target(address: Address, options: ConnectOptions): NetConnectOpts {
  if (address.pipe !== undefined) return { path: pipePath(address.pipe), allowHalfOpen: true }
  const bind = options.bindSource
  return {
    host: address.ip,
    port: address.port,
    allowHalfOpen: true,
    ...(bind === null ? {} : { localAddress: bind.ip, ...(bind.port > 0 ? { localPort: bind.port } : {}) }),
  }
}

function connectPlain(address: Address, options: ConnectOptions): Socket {
  const where = target(address, options)
  if (options.socketOptions.length === 0 || address.pipe !== undefined)
    return netConnect({ ...where, onread: sharedOnRead })
  const socket = new Socket({
    fd: socketWithOptions(address.ip, options.socketOptions),
    allowHalfOpen: true,
    onread: sharedOnRead,
  })
  return socket.connect(where)
}

function connectTls(address: Address, options: ConnectOptions, tls: ClientTls): Socket {
  const where: ConnectionOptions = {
    secureContext: tls.secureContext,
    servername: tls.serverName,
    ALPNProtocols: [...tls.alpnProtocols],
    session: tls.session(),
    // Chain and names are checked by ClientTls.verify: node would check the host name against rules of its own.
    rejectUnauthorized: false,
    checkServerIdentity: acceptAnyName,
  }
  if (options.socketOptions.length === 0 || address.pipe !== undefined) {
    return tlsConnect({ ...where, ...target(address, options) })
  }
  const socket = new Socket({ fd: socketWithOptions(address.ip, options.socketOptions), allowHalfOpen: true })
  return tlsConnect({ ...where, socket: socket.connect(target(address, options)) })
}

function acceptAnyName(_host: string, _certificate: PeerCertificate): undefined {
  return undefined
}
