// The one buffer that all sockets of a thread read into.

import type { Socket } from 'node:net'

/** libuv reads a socket and hands the bytes on before it reads the next one: one buffer serves all of a thread. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024)

type OnRead = (this: unknown, length: number, buffer: Uint8Array) => boolean

/** What net.Socket keeps of the `onread` option. */
interface ReadSymbols {
  readonly buffer: symbol
  readonly callback: symbol
}

let readSymbols: ReadSymbols | null | undefined

/**
 * node:tls takes `onread` only for sockets that it connects itself. For accepted ones this does what net.Socket's
 * constructor does with the option; false (and nothing changed) on a Node that keeps it elsewhere.
 */
export function readIntoSharedBuffer(socket: Socket, onRead: OnRead): boolean {
  const handle = (socket as unknown as { _handle: { useUserBuffer?(buffer: Buffer): void } | null })._handle
  if (readSymbols === undefined) {
    const symbols = Object.getOwnPropertySymbols(socket)
    const find = (name: string): symbol | undefined => symbols.find((symbol) => symbol.description === name)
    const [buffer, callback] = [find('kBuffer'), find('kBufferCb')]
    readSymbols = buffer && callback ? { buffer, callback } : null
  }
  if (readSymbols === null || typeof handle?.useUserBuffer !== 'function') return false
  const fields = socket as unknown as Record<symbol, unknown>
  fields[readSymbols.buffer] = READ_BUFFER
  fields[readSymbols.callback] = onRead
  handle.useUserBuffer(READ_BUFFER)
  return true
}
