// Whom a socket tells what happens to it: module-level listeners that look the owner up, no closure for each connection.

import type { Socket } from 'node:net'
import { READ_BUFFER } from './read-buffer.ts'

export interface SocketOwner {
  /** The socket's bytes are in READ_BUFFER. */
  receiveFromSocket(length: number): void
  /** The peer has half-closed. */
  receiveEnd(): void
  onSocketError(error: NodeJS.ErrnoException): void
  /** The last of all. */
  onSocketClosed(): void
}

const OWNER = Symbol('owner')
interface OwnedSocket extends Socket {
  [OWNER]: SocketOwner
}

/** Pass as `onread` when the socket is made; ownSocket follows. */
export const sharedOnRead = { buffer: READ_BUFFER, callback: onRead }

/** `socket` was made with `onread: sharedOnRead`. */
export function ownSocket(socket: Socket, owner: SocketOwner): void {
  ;(socket as OwnedSocket)[OWNER] = owner
  socket.on('end', onEnd)
  socket.on('error', onError)
  socket.on('close', onClose)
}

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
