// Makes connections of accepted sockets.

import { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { SocketConnectionInfo } from './connection-info.ts'
import { SocketConnection, sharedOnRead } from './socket-connection.ts'

interface HandleHolder {
  _handle: object | null
}

/**
 * Takes a plain accepted socket over. net.Server gives sockets that allocate a buffer for every read; only a socket
 * that is made with `onread` reads into the shared one, so the handle moves into a new Socket.
 */
export function acceptPlain(accepted: Socket, info: SocketConnectionInfo): SocketConnection {
  const holder = accepted as unknown as HandleHolder
  const handle = holder._handle
  holder._handle = null
  const socket = new Socket({ handle, allowHalfOpen: true, onread: sharedOnRead } as never)
  const connection = new SocketConnection(socket, info, false)
  socket.setNoDelay(true)
  socket.resume()
  return connection
}

/** Takes over a TLS socket whose handshake has not ended; `markConnected` follows its `secure` event. */
export function acceptTls(socket: TLSSocket, info: SocketConnectionInfo): SocketConnection {
  return new SocketConnection(socket, info, true)
}
