// The one buffer that all sockets of a thread read into.

/** libuv reads a socket and hands the bytes on before it reads the next one: one buffer serves all of a thread. */
export const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024)
