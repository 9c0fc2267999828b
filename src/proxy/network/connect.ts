// Upstream connections: TCP or Unix socket, plain or TLS, with the options that a cluster asks for.

import { type NetConnectOpts, connect as netConnect, Socket } from 'node:net'
import { now } from '../../base/clock.ts'
import { ipAddress, pipePath } from './address.ts'
import { type Address, CloseType, type Connection } from './connection.ts'
import { SocketConnectionInfo } from './connection-info.ts'
import { reportFault } from './fault.ts'
import { ConnectRace, type FamilyOrder, interleaved } from './happy-eyeballs.ts'
import type { SecureTransport } from './secure-transport.ts'
import { SocketConnection } from './socket-connection.ts'
import { socketFd } from './socket-handle.ts'
import { type SocketOption, setSocketOptions, socketWithOptions } from './socket-options.ts'
import { sharedOnRead } from './socket-owner.ts'
import type { SslSocket } from './tls/ssl-socket.ts'
import { optionRefused } from './transport-error.ts'

export interface TcpKeepalive {
  /** Unanswered probes before the connection is dead; 0 = the system's default. */
  readonly probes: number
  /** Idle seconds before the first probe; 0 = the system's default. */
  readonly timeS: number
  /** Seconds between probes; 0 = the system's default. */
  readonly intervalS: number
}

/** A client's TLS for one connection; the context behind it serves many (see tls/client-context.ts). */
export interface ClientTls extends SecureTransport {
  /** '' = no SNI. */
  readonly serverName: string
  readonly alpnProtocols: readonly string[]
  /** Called once the TCP connection stands; null = its secrets have been taken away meanwhile. */
  createSocket(): SslSocket | null
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
  /** More addresses of the same host, tried one beside the other; absent = none. */
  readonly additionalAddresses?: readonly Address[]
  /** Of those addresses; absent = the first one's family. */
  readonly families?: FamilyOrder
  /** Bytes that go ahead of everything, TLS included (PROXY protocol); made when the addresses are known. */
  readonly preamble?: ((local: Address, remote: Address) => Buffer) | null
}

/** Opens a connection. Set `callbacks` at once: no event comes before this turn of the event loop ends. */
export function openConnection(address: Address, options: ConnectOptions): Connection {
  const info = new SocketConnectionInfo(options.bindSource ?? NO_ADDRESS, address)
  info.connectStart = now()
  const { additionalAddresses } = options
  if (options.preamble || (additionalAddresses !== undefined && additionalAddresses.length > 0))
    return openByRace(address, options, info)
  const socket = connectSocket(address, options)
  socket.setNoDelay(true)
  const connection = new SocketConnection(socket, info, true, options.tls)
  connection.setBufferLimits(options.bufferLimitBytes)
  if (options.connectTimeoutMs > 0) connection.startConnectTimer(options.connectTimeoutMs)
  if (options.tls !== null) info.transportProtocol = 'tls'
  socket.once('connect', onTcpConnect.bind(null, socket, connection, options))
  return connection
}

/** TCP first; what goes over it (preamble, TLS) begins when the socket that wins is known. */
function openByRace(address: Address, options: ConnectOptions, info: SocketConnectionInfo): Connection {
  const placeholder = new Socket()
  const connection = new SocketConnection(placeholder, info, true, options.tls)
  connection.setBufferLimits(options.bufferLimitBytes)
  if (options.connectTimeoutMs > 0) connection.startConnectTimer(options.connectTimeoutMs)
  if (options.tls !== null) info.transportProtocol = 'tls'
  const addresses = interleaved([address, ...(options.additionalAddresses ?? [])], options.families)
  const race = new ConnectRace(addresses, (to) => connectSocket(to, options), {
    onSocket(socket, reached) {
      socket.setNoDelay(true)
      info.remoteAddress = reached
      info.directRemoteAddress = reached
      if (!connection.adopt(socket)) {
        socket.destroy()
        return
      }
      if (options.preamble) {
        const local = ipAddress(socket.localAddress ?? '0.0.0.0', socket.localPort ?? 0)
        socket.write(options.preamble(local, reached))
      }
      onTcpConnect(socket, connection, options)
    },
    onFailure(error, tried) {
      info.remoteAddress = tried
      placeholder.destroy(error)
    },
  })
  placeholder.once('close', () => race.cancel())
  race.start()
  return connection
}

const NO_ADDRESS = ipAddress('0.0.0.0', 0)

function onTcpConnect(socket: Socket, connection: SocketConnection, options: ConnectOptions): void {
  if (options.keepalive !== null) setKeepalive(socket, options.keepalive)
  connection.info.connectEnd = now()
  if (socket.localAddress !== undefined)
    connection.info.localAddress = ipAddress(socket.localAddress, socket.localPort ?? 0)
  if (options.tls === null) connection.markConnected()
  else startTls(connection, options.tls)
}

function startTls(connection: SocketConnection, tls: ClientTls): void {
  try {
    const ssl = tls.createSocket()
    if (ssl === null) connection.close(CloseType.NoFlush)
    else connection.startTls(ssl, true)
  } catch (error) {
    reportFault(error, `handshake of connection ${connection.id}`)
    connection.close(CloseType.NoFlush)
  }
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

function connectSocket(address: Address, options: ConnectOptions): Socket {
  const where = target(address, options)
  if (options.socketOptions.length === 0 || address.pipe !== undefined)
    return netConnect({ ...where, onread: sharedOnRead })
  let fd: number
  try {
    fd = socketWithOptions(address.ip, options.socketOptions)
  } catch (error) {
    // It fails like any other connection, once its owner can hear of it: an exception would leave the owner's counts as they are.
    reportFault(error, `socket to ${address.text}`)
    return new Socket().destroy(optionRefused(error))
  }
  return new Socket({ fd, allowHalfOpen: true, onread: sharedOnRead }).connect(where)
}
