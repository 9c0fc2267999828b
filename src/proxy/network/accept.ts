// Makes connections of accepted sockets.

import { Socket } from 'node:net'
import type { SocketConnectionInfo } from './connection-info.ts'
import type { SecureTransport } from './secure-transport.ts'
import { SocketConnection } from './socket-connection.ts'
import { sharedOnRead } from './socket-owner.ts'

interface HandleHolder {
  _handle: object | null
}

/**
 * Takes an accepted socket over. net.Server gives sockets that allocate a buffer for every read; only a socket that is
 * made with `onread` reads into the shared one, so the handle moves into a new Socket. With `secure` startTls follows.
 */
export function acceptSocket(
  accepted: Socket,
  info: SocketConnectionInfo,
  secure: SecureTransport | null,
): SocketConnection {
  const holder = accepted as unknown as HandleHolder
  const handle = holder._handle
  holder._handle = null
  const socket = new Socket({ handle, allowHalfOpen: true, onread: sharedOnRead } as never)
  const connection = new SocketConnection(socket, info, false, secure)
  socket.setNoDelay(true)
  socket.resume()
  return connection
}
