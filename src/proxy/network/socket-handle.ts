// What Node keeps behind a net.Socket and has no public access to: the handle with its descriptor.

import type { Socket } from 'node:net'

interface NativeHandle {
  readonly fd?: number
  /** Bytes of the write under way that the kernel has not taken. */
  readonly writeQueueSize?: number
}

interface HandleHolder {
  readonly _handle: NativeHandle | null
}

/** Descriptor of a socket's handle, or -1. */
export function socketFd(socket: Socket): number {
  return (socket as unknown as HandleHolder)._handle?.fd ?? -1
}

/** False once the socket is destroyed: its descriptor may then belong to another connection already. */
export function hasHandle(socket: Socket): boolean {
  return (socket as unknown as HandleHolder)._handle !== null
}

/** Written to the socket and not taken by the kernel: what waits in the stream, less what went out of its first chunk. */
export function unsentBytes(socket: Socket): number {
  return socket.writableLength + ((socket as unknown as HandleHolder)._handle?.writeQueueSize ?? 0)
}
