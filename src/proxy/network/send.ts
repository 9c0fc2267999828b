// send(2) on a socket's descriptor, by libc through koffi. Of what fs.writeSync costs (0.3 µs) two thirds are Node's: it
// makes an exception of a full socket, too, and the file layer of the kernel is in the way of both.

import { createRequire } from 'node:module'

type Send = (fd: number, bytes: Buffer, length: number, flags: number) => number

let loaded: Send | undefined

/**
 * Loads the library now. The first bytes to send may come when the process has no descriptor left to read it with.
 */
export function prepareSend(): void {
  if (loaded === undefined) load()
}

function load(): Send {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  loaded = koffi.load(null).func('send', 'long', ['int', 'const void *', 'size_t', 'int']) as Send
  return loaded
}

/**
 * Gives the first `length` bytes to a socket that does not block. How many the kernel took: with 0 it took none for now,
 * or the socket is broken, which the next one to use it will find out.
 */
export function sendBytes(fd: number, bytes: Buffer, length: number): number {
  return Math.max((loaded ?? load())(fd, bytes, length, 0), 0)
}
